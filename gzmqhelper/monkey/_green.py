"""`zmq.green`'s classes: this library's own, once more.

pyzmq has each twice, and programs that use both tell them apart: by ``instance()``, of which each
Context has its own, and by ``isinstance``. What they do is the same: see `Context`, `Socket`.
"""

from __future__ import annotations

from .._context import Context as _Context
from .._poll import Poller as _Poller
from .._socket import Socket as _Socket

__all__ = ["Context", "Poller", "Socket"]


class Socket(_Socket):
    __doc__ = _Socket.__doc__
    _repr_cls = "zmq.green.Socket"


class Context(_Context):
    __doc__ = _Context.__doc__
    _repr_cls = "zmq.green.Context"
    _socket_class = Socket
    _instance = None


class Poller(_Poller):
    __doc__ = _Poller.__doc__
