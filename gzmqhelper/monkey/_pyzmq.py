"""What pyzmq has and this library has no use for: its version, its build, a stopwatch.

`_modules.py` gives these names to programs that were written for pyzmq.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from .. import _libzmq
from .._context import Context
from .._frame import FINISHED as _FINISHED_TRACKER
from .._frame import _let_go, _pins
from .._native import ffi
from .._poll import Poller
from .._socket import Socket

# In pyzmq's type hints: those that wait, in contrast to asyncio's.
SyncContext, SyncSocket = Context, Socket

# The release of pyzmq whose names, arguments and errors this library has. Programs compare it.
__version__: Final = "27.2.0"
__revision__: Final = ""
VERSION_MAJOR, VERSION_MINOR, VERSION_PATCH = map(int, __version__.split("."))
VERSION_EXTRA: Final = ""
version_info: Final = (VERSION_MAJOR, VERSION_MINOR, VERSION_PATCH)

# pyzmq's is true only if both it and its libzmq were built with the draft API.
DRAFT_API = PYZMQ_DRAFT_API = _libzmq.has("draft")


def pyzmq_version() -> str:
    """The release of pyzmq that this library answers for."""
    return __version__


def pyzmq_version_info() -> tuple[int, int, int]:
    """The same, as three ints."""
    return version_info


def zmq_errno() -> int:
    """The errno of this OS thread. Results of this library carry their own: it says little."""
    return int(ffi.errno)


def get_includes() -> list[str]:
    """Folders of headers for Cython code that is built on pyzmq: this library has none in them."""
    return [folder := get_library_dirs()[0], str(Path(folder, "utils"))]


def get_library_dirs() -> list[str]:
    """The folder where pyzmq keeps a libzmq of its own: this library has none there."""
    return [str(Path(__file__).resolve().parents[2] / "zmq")]


class Stopwatch:
    """Deprecated in pyzmq: use time.monotonic."""

    def __init__(self) -> None:
        warnings.warn("zmq.Stopwatch is deprecated, use time.monotonic", DeprecationWarning, stacklevel=2)
        self._start = 0.0

    def start(self) -> None:
        """Begin to count."""
        self._start = time.monotonic()

    def stop(self) -> int:
        """The microseconds since `start`."""
        return int((time.monotonic() - self._start) * 1e6)


def cast_int_addr(n: Any) -> int:
    """An address, given as an int or as a pointer of cffi's, as an int."""
    if isinstance(n, int):
        return n
    if isinstance(n, ffi.CData):
        return int(ffi.cast("size_t", n))
    raise ValueError(f"an address is an int or a pointer of cffi, not {n!r}")


class allow_interrupt:
    """For Ctrl-C on Windows, where this library does not run: does nothing."""

    def __init__(self, action: Callable[[], Any] | None = None) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *args: object) -> None:
        pass


class _Pins:
    """What pyzmq calls its garbage collector: it holds the buffers that libzmq still reads."""

    @property
    def refs(self) -> Mapping[int, Any]:
        """Those buffers, each by a number of its own."""
        _let_go()
        return _pins


gc: Final = _Pins()


def zmq_poll(sockets: Iterable[tuple[Any, int]], timeout: float = -1) -> list[tuple[Any, int]]:
    """Wait for the events of these sockets and descriptors. timeout: milliseconds, negative for ever."""
    poller = Poller()
    for socket, flags in sockets:
        poller.register(socket, flags)
    return poller.poll(timeout)


# Which names pyzmq's compiled part has.
public_api: Final = [
    "Context",
    "Socket",
    "Frame",
    "Message",
    "proxy",
    "proxy_steerable",
    "zmq_poll",
    "strerror",
    "zmq_errno",
    "has",
    "curve_keypair",
    "curve_public",
    "zmq_version_info",
    "IPC_PATH_MAX_LEN",
    "PYZMQ_DRAFT_API",
]
