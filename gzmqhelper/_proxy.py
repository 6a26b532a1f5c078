"""`proxy`, `proxy_steerable`, `device`, `monitored_queue`: sockets that forward to one another, in C.

A proxy runs on the companion of the greenlet that calls it, as the owner of its sockets
(csrc/proxy.h); that greenlet waits in `_helper.wait` meanwhile. Users enter, and `devices`.
"""

from __future__ import annotations

from typing import Any, Final

from . import errors
from ._helper import check, wait
from ._native import ffi, lib
from ._socket import Socket
from .constants import Errno

__all__ = ["device", "monitored_queue", "proxy", "proxy_steerable"]

_NULL: Final = ffi.NULL


def _begin(ask: tuple[Any, ...], companion: Any) -> int:
    return int(lib.gzh_proxy(companion, *ask))


def _end(ask: tuple[Any, ...], companion: Any, give_up: bool) -> int:
    return int(lib.gzh_proxy_end(companion))


def _run(name: str, *sockets: Socket | None, prefixes: tuple[bytes, bytes] | None = None) -> int:
    pointers = []
    for position, (role, socket) in enumerate(
        zip(("frontend", "backend", "capture", "control"), sockets, strict=False)
    ):
        if socket is None and position > 1:
            pointers.append(_NULL)
        elif not isinstance(socket, Socket):
            cls = type(socket)
            got = f"{cls.__module__}.{cls.__qualname__}"  # pyzmq's has the same name
            raise TypeError(f"{name}: {role} must be a gzmqhelper.Socket, got {got}")
        elif socket.closed:
            raise errors.error(Errno.ENOTSOCK, f"{name}: {role}={socket!r}")
        else:
            pointers.append(socket._ptr)
    data, sizes = _NULL, _NULL
    if prefixes is not None:
        data = ffi.new("char *[]", [ffi.from_buffer(prefix) for prefix in prefixes])
        sizes = ffi.new("size_t[]", list(map(len, prefixes)))
    for socket in sockets:
        if socket is not None:
            socket._put_back()
    ask = (ffi.new("gzh_socket *[]", pointers), data, sizes)
    return check(wait(_begin, _end, ask), f"{name} between {sockets[0]!r} and {sockets[1]!r}")


def proxy(frontend: Socket, backend: Socket, capture: Socket | None = None) -> int:
    """Forward all messages between two sockets, in both directions (as zmq_proxy does).

    Runs, in C, until it is ended: by killing this greenlet or a Timeout around it, which raise here
    what they raise; by closing one of the sockets, which raises `ZMQError`, ENOTSOCK; by the end of
    the context, which raises `ContextTerminated`. Other greenlets run meanwhile.

    The proxy is its sockets' owner while it runs: what others ask of them waits until it has ended
    (with `NOBLOCK`: `Again`), but for `close`. So does another proxy with one of them. Afterwards the
    sockets can be used as before. Messages are forwarded whole and in order, without a copy of their
    data; nothing is received that the other side cannot take, and what had been received and not
    forwarded when the proxy was ended is the next message received.

    frontend, backend: may be the same. capture: is sent each message too, from either side; where it
    cannot take more, the proxy waits for it. Not affected by ``RCVTIMEO`` and ``SNDTIMEO``.
    Raises TypeError for what is no Socket; `ZMQError`, ENOTSOCK, EMFILE, EMTHREAD, or EHOSTUNREACH if
    a ROUTER with ``ROUTER_MANDATORY`` has no such peer (the message is dropped, as by libzmq's own).
    """
    return _run("proxy", frontend, backend, capture, None)


def proxy_steerable(
    frontend: Socket, backend: Socket, capture: Socket | None = None, control: Socket | None = None
) -> int:
    """`proxy`, with a socket that steers it (as zmq_proxy_steerable does; with any libzmq).

    control: receives ``PAUSE``, ``RESUME``; ``TERMINATE``, upon which this returns 0; or
    ``STATISTICS``, to which it answers with eight parts of 8 bytes, unsigned ints in the machine's
    order: messages and bytes received from the frontend, and sent to it; the same of the backend. If
    it is a REP socket, it answers all else with an empty message. Other commands do nothing.
    """
    return _run("proxy_steerable", frontend, backend, capture, control)


def device(device_type: int, frontend: Socket, backend: Socket | int) -> int:
    """Deprecated: use `proxy`. device_type: ignored. backend: -1 for the frontend itself."""
    other = frontend if isinstance(backend, int) and backend == -1 else backend
    return _run("device", frontend, other, None, None)  # type: ignore[arg-type]  # it looks for itself


def monitored_queue(
    in_socket: Socket,
    out_socket: Socket,
    mon_socket: Socket,
    in_prefix: bytes = b"in",
    out_prefix: bytes = b"out",
) -> int:
    """`proxy`, with what goes to mon_socket marked by where it came from.

    in_prefix, out_prefix: the part that is put before messages from in_socket and out_socket there.
    Between two ROUTERs the first two parts of each message, the names of sender and receiver, are
    swapped, so that peers of the one can talk to peers of the other.
    """
    prefixes = (bytes(memoryview(in_prefix)), bytes(memoryview(out_prefix)))
    if mon_socket is None:
        raise TypeError("monitored_queue: mon_socket must be a Socket, got None")
    return _run("monitored_queue", in_socket, out_socket, mon_socket, None, prefixes=prefixes)
