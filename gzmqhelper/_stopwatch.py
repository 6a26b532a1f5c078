"""`Stopwatch`: of libzmq's own tools, for programs that still have one."""

from __future__ import annotations

import time
from warnings import warn


class Stopwatch:
    """Measures time. Deprecated: use `time.monotonic`. Any greenlet of any thread may use it."""

    def __init__(self) -> None:
        warn("Stopwatch is deprecated, use time.monotonic", DeprecationWarning, stacklevel=2)
        self._start = 0.0

    def start(self) -> None:
        """Begin to count."""
        self._start = time.monotonic()

    def stop(self) -> int:
        """How many microseconds have passed since `start`."""
        return int(1e6 * (time.monotonic() - self._start))
