"""Endpoints as callers give them: what C gets of one, and what may be wrong with one that was refused.

`_socket.py` and `_monitored.py` ask. libzmq has one errno for nearly all that can be wrong with an endpoint.
"""

from __future__ import annotations

from errno import ENODEV
from typing import Any, Final

from . import errors
from .constants import Errno

# Where libzmq asks who may connect: see auth/base.py.
ZAP: Final = "inproc://zeromq.zap.01"

_NO_ADDRESS: Final = frozenset({Errno.EINVAL, ENODEV})
_HAVE_PORTS: Final = frozenset({"tcp", "udp", "ws", "wss", "pgm", "epgm", "norm", "vsock"})


def endpoint(call: str, addr: Any) -> bytes:
    """An endpoint, as C has it but for the NUL at its end.

    Raises TypeError, and `ZMQError`, EINVAL, for one of which libzmq would take only a part: with a NUL in
    it, or a port that is too large.
    """
    raw = addr.encode(errors="surrogateescape") if isinstance(addr, str) else addr  # as the names of files
    if not isinstance(raw, bytes):
        raise TypeError(f"{call}: expected str, got {type(addr).__name__}: {addr!r}")
    about = f"{call}: addr={addr!r}"
    if b"\0" in raw:
        raise errors.error(Errno.EINVAL, about, "there is a NUL in it")
    port = _port_of(raw.decode(errors="replace")) if raw.startswith(b"tcp:") else ""
    digits = port.lstrip("0")  # int() takes no thousands of them
    if port.isdecimal() and (len(digits) > 5 or int(digits or 0) > 65_535):
        raise errors.error(Errno.EINVAL, about, "a port has at most 65535")
    return raw


def advice(errno: int, addr: str | bytes) -> str | None:
    """How to mend an endpoint that libzmq refused; None if it is all the same which one it was."""
    text = addr if isinstance(addr, str) else addr.decode(errors="replace")
    transport, mark, address = text.partition("://")
    if errno == Errno.EADDRINUSE and text == ZAP:
        return "an authenticator of this context runs already: stop that one first"
    if errno == Errno.EADDRINUSE and transport not in _HAVE_PORTS:
        return (
            "another socket is bound to it, or something else has its name:"
            " close that one, or choose another name"
        )
    if errno not in _NO_ADDRESS:
        return None
    if not mark:
        return (
            "an endpoint is a transport and an address,"
            " as tcp://127.0.0.1:5555, ipc:///tmp/name or inproc://name"
        )
    if not address:
        return f"what comes after {transport}:// is missing"
    if transport in _HAVE_PORTS and not _port_of(text):
        return f"its port is missing, as in {transport}://{address}:5555"
    if errno == Errno.EINVAL:
        return (
            "libzmq can make no address of it; it says so, too, of a host name that cannot be resolved,"
            " and of a transport that this type of socket, or bind, or connect cannot use"
        )
    return None


def _port_of(text: str) -> str:
    address = text.partition("://")[2].partition("/")[0]
    _, colon, port = address.rpartition(":")
    return port.strip() if colon and "]" not in port else ""
