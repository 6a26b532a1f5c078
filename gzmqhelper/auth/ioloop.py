"""`IOLoopAuthenticator`, by which programs written for old pyzmq know theirs. It answers on a greenlet."""

from __future__ import annotations

import warnings
from typing import Any

from .._context import Context
from .green import GreenAuthenticator

__all__ = ["IOLoopAuthenticator"]


class IOLoopAuthenticator(GreenAuthenticator):
    """A `GreenAuthenticator`. It needs no event loop: io_loop is deprecated, and ignored."""

    def __init__(
        self,
        context: Context | None = None,
        encoding: str = "utf-8",
        log: Any = None,
        io_loop: Any = None,
    ) -> None:
        if io_loop is not None:
            name = type(self).__name__
            warnings.warn(f"{name}(io_loop) is deprecated and ignored", DeprecationWarning, stacklevel=2)
        super().__init__(context, encoding, log)
