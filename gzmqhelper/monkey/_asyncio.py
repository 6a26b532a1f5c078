"""`zmq.asyncio`'s classes: programs import them, and look whether an object is one; none is made."""

from __future__ import annotations

from typing import Any

from .._context import Context as _Context
from .._socket import Socket as _Socket


class _NotForGevent:
    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            f"zmq.asyncio.{cls.__name__} waits in asyncio's event loop, and gzmqhelper, which answers "
            "for pyzmq in this process, in gevent's: run the program without gzmqhelper.monkey, or use "
            f"zmq.{cls.__name__} in greenlets"
        )


class Context(_NotForGevent, _Context):
    """Cannot be made."""


class Socket(_NotForGevent, _Socket):
    """Cannot be made."""


class Poller(_NotForGevent):
    """Cannot be made."""
