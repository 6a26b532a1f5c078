"""`Socket`: every call on one is made here, at once where it can be, else through `_helper.wait`.

`_context.py` makes Sockets; users call them, from any greenlet of any thread. A call is one function
of the C core, tried at once; only if that says WAIT does the greenlet's companion come in.

Messages sent or received part by part (``SNDMORE``, ``RCVMORE``) are put together and taken apart
here: the C core knows whole messages only. The parts that a greenlet has yet to send or to take are
its own, kept in its `Helper`, and go when it goes; so nobody else's message is ever torn by them.
"""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload
from warnings import warn

from . import _options, errors
from ._frame import COPY_THRESHOLD, Frame, MessageTracker, message_of, not_a_buffer
from ._helper import WAIT, YIELD, check, current, turn, wait
from ._native import ffi, lib
from .constants import (
    EVENTS,
    LAST_ENDPOINT,
    NOBLOCK,
    POLLIN,
    POLLOUT,
    RCVHWM,
    RCVMORE,
    SNDHWM,
    SNDMORE,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Errno,
    SocketOption,
    SocketType,
)

if TYPE_CHECKING:
    from ._context import Context

__all__ = ["Socket"]

_Self = TypeVar("_Self", bound="Socket")
_T = TypeVar("_T")

_NULL: Final = ffi.NULL
_PARTS: Final[int] = lib.GZH_PARTS
_KEEP: Final[int] = lib.GZH_KEEP
_EAGAIN: Final = -int(Errno.EAGAIN)
_SLOT_BYTES: Final[int] = lib.GZH_SLOT_BYTES
_MORE: Final = int(SNDMORE)
# These cannot send (or take turns), so whether they could is no question to ask of POLLOUT.
_NOT_ASKED: Final = frozenset({SocketType.REQ, SocketType.REP})
_RECEIVE_ONLY: Final = frozenset({SocketType.PULL, SocketType.SUB})

# Slots that no call uses at this moment. Each call takes its own: a signal handler that receives
# may run between another receive and the line that copies its bytes out.
_slots: Final[list[tuple[Any, Any]]] = []
_take_slot = _slots.pop
_return_slot = _slots.append
_recv = lib.gzh_recv
_send = lib.gzh_send


def _new_slot() -> tuple[Any, Any]:
    slot = ffi.new("gzh_slot *")
    return slot, ffi.buffer(ffi.addressof(slot[0], "data"), _SLOT_BYTES)


class _Endpoint:
    """What `Socket.bind` and `Socket.connect` return: leaving its ``with`` takes them back."""

    def __init__(self, socket: Socket, leave: Callable[[str], None], addr: str) -> None:
        self.socket = socket
        self.addr = addr
        self._leave = leave

    def __enter__(self) -> Socket:
        return self.socket

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.socket.closed:
            self._leave(self.addr)

    def __repr__(self) -> str:
        return f"<{self._leave.__name__} {self.addr!r} of {self.socket!r}>"


class Socket:
    """A ZeroMQ socket, for any number of greenlets of any number of OS threads at once.

    Made by `Context.socket`. A call that has to wait lets other greenlets run; those that wait for
    the same thing are served in the order in which they came. Each message arrives whole. A greenlet
    that is killed, or leaves by a Timeout, while it waits loses nothing: what it would have received
    is the next message received.

    flags, wherever they are taken: `NOBLOCK` raises `Again` instead of waiting. timeout, wherever it
    is taken: seconds to wait before `Again`; None for what ``RCVTIMEO`` or ``SNDTIMEO`` say.
    Every call raises `ZMQError`: ENOTSOCK if the socket is, or meanwhile gets, closed, and
    `ContextTerminated` if the context ends.

    Options are attributes: ``sock.linger = 0``.
    """

    context: Context
    copy_threshold: int = COPY_THRESHOLD
    _shadow_obj: Any = None

    def __init__(
        self,
        ctx_or_socket: Context | Socket | None = None,
        socket_type: int = 0,
        *,
        shadow: Socket | int = 0,
        copy_threshold: int | None = None,
    ) -> None:
        values = self.__dict__
        values["_ptr"] = None
        values["_closed"] = False
        values["_partial"] = 0  # how many greenlets are in the middle of a message
        if copy_threshold is not None:
            values["copy_threshold"] = copy_threshold
        if isinstance(ctx_or_socket, Socket):
            shadow = ctx_or_socket
        if isinstance(shadow, Socket):
            values["_shadow_obj"] = shadow
            values["context"] = shadow.context
            values["_ptr"] = shadow._ptr
        elif shadow:
            values["_shadow_obj"] = shadow
            values["context"] = ctx_or_socket
            out = ffi.new("gzh_socket **")
            check(lib.gzh_socket_wrap(ffi.cast("void *", shadow), True, out), "a shadow socket")
            values["_ptr"] = ffi.gc(out[0], lib.gzh_socket_drop)
        elif ctx_or_socket is None:
            raise TypeError("a Socket needs a Context, or a socket to shadow")
        else:
            values["context"] = ctx_or_socket
            values["_ptr"] = ctx_or_socket._open_socket(socket_type)
            ctx_or_socket._add_socket(self)
        number = self.get(SocketOption.TYPE)
        values["type"] = SocketType(number) if number in SocketType._value2member_map_ else number

    # A finalizer may run anywhere, also while modules are taken apart: it must not look names up.
    def __del__(self, _drop: Callable[[Any], None] = lib.gzh_socket_drop, _warn: Any = warn) -> None:
        values = self.__dict__
        if values.get("_ptr") is None or values.get("_shadow_obj") is not None:
            return
        if not values["_closed"]:
            _warn(f"Unclosed socket {self!r}", ResourceWarning, stacklevel=2, source=self)
        _drop(values["_ptr"])

    def __repr__(self) -> str:
        kind = self.__dict__.get("type")
        name = kind.name if isinstance(kind, SocketType) else kind
        closed = " closed" if self.__dict__.get("_closed") else ""
        return f"<{type(self).__module__}.{type(self).__qualname__}({name}) at {id(self):#x}{closed}>"

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @classmethod
    def shadow(cls: type[_Self], address: int | Socket) -> _Self:
        """Another object for the same socket; address: a Socket, or the address of libzmq's own."""
        return cls(shadow=address)

    def __copy__(self: _Self) -> _Self:
        return type(self)(shadow=self)

    def __deepcopy__(self: _Self, memo: Any) -> _Self:
        return type(self)(shadow=self)

    @property
    def underlying(self) -> int:
        """The address of libzmq's socket; 0 once it is closed."""
        return int(ffi.cast("size_t", lib.gzh_socket_underlying(self._ptr)))

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its context ended with it open."""
        return bool(self._closed)

    @property
    def socket_type(self) -> int:
        """Deprecated: use ``type``."""
        warn("Socket.socket_type is deprecated, use Socket.type", DeprecationWarning, stacklevel=2)
        return int(self.type)

    def close(self, linger: int | None = None) -> None:
        """Close the socket (zmq_close). Never waits; safe to say twice; from anywhere.

        linger: milliseconds that unsent messages may still take, -1 for ever; None for what the
        option says. Greenlets that wait on the socket get `ZMQError`, ENOTSOCK. If another is inside
        a slow `bind` of this socket, it closes when that returns.
        """
        if self._closed:
            return
        self._closed = True
        if self._shadow_obj is not None:
            return
        self.context._rm_socket(self)
        lib.gzh_socket_close(self._ptr, _NULL if linger is None else ffi.new("int *", linger))

    # ---- endpoints -------------------------------------------------------------------------------

    def bind(self, addr: str) -> _Endpoint:
        """Take connections at an endpoint (zmq_bind), on the greenlet's companion.

        addr: "tcp://*:5555", "ipc:///path", "inproc://name". The result may be used in a ``with``,
        which unbinds. Raises `ZMQError`, which names the endpoint: EADDRINUSE, EINVAL, ENODEV, ...
        """
        self._endpoint(lib.GZH_BIND, "bind", addr)
        bound = self.get(LAST_ENDPOINT)
        return _Endpoint(self, self.unbind, bound.decode() if bound else addr)

    def connect(self, addr: str) -> _Endpoint:
        """Connect to an endpoint (zmq_connect): at once, or on the greenlet's companion for udp.

        Succeeds before anybody is there. The result may be used in a ``with``, which disconnects.
        libzmq resolves the host name of a tcp endpoint on its own thread, which carries no other
        message of the context until that is done. Raises `ZMQError`, which names the endpoint.
        """
        self._endpoint(lib.GZH_CONNECT, "connect", addr)
        return _Endpoint(self, self.disconnect, addr)

    def unbind(self, addr: str) -> None:
        """Take a `bind` back (zmq_unbind), on the greenlet's companion. Raises `ZMQError`, ENOENT."""
        self._endpoint(lib.GZH_UNBIND, "unbind", addr)

    def disconnect(self, addr: str) -> None:
        """Take a `connect` back (zmq_disconnect), on the greenlet's companion.

        Raises `ZMQError`, ENOENT.
        """
        self._endpoint(lib.GZH_DISCONNECT, "disconnect", addr)

    def bind_to_random_port(
        self, addr: str, min_port: int = 49152, max_port: int = 65536, max_tries: int = 100
    ) -> int:
        """Bind to a free port, and return it. addr: the endpoint without it, "tcp://*".

        With the default range the system chooses; else a port in [min_port, max_port) is tried, up
        to max_tries times. Raises `ZMQBindError` if none was free.
        """
        if (min_port, max_port) == (49152, 65536):
            self.bind(f"{addr}:*")
            return int(self.get(LAST_ENDPOINT).decode().rpartition(":")[2])
        for _ in range(max_tries):
            port = random.randrange(min_port, max_port)
            try:
                self.bind(f"{addr}:{port}")
            except errors.ZMQError as e:
                if e.errno != Errno.EADDRINUSE:
                    raise
            else:
                return port
        raise errors.ZMQBindError(
            f"no free port for {addr} between {min_port} and {max_port} in {max_tries} tries"
        )

    def _endpoint(self, operation: int, name: str, addr: str | bytes) -> None:
        if isinstance(addr, str):
            raw = addr.encode()
        elif isinstance(addr, bytes):
            raw = addr
        else:
            raise TypeError(f"{name}: expected str, got {type(addr).__name__}: {addr!r}")
        if b"\0" in raw:
            raise errors.error(Errno.EINVAL, f"{name}: addr={addr!r} has a NUL in it")
        data = ffi.from_buffer(raw + b"\0")
        check(self._call(operation, 0, data, ffi.new("size_t *", len(data))), f"{name}: addr={addr!r}")

    def _call(self, operation: int, option: int, data: Any, size: Any) -> int:
        """A call of csrc/calls.h: at once, or on the companion if it may block or must queue."""
        pointer = self._ptr
        rc: int = lib.gzh_call(pointer, _NULL, operation, option, data, size)
        if rc != WAIT:
            return rc
        return wait(
            lambda companion: lib.gzh_call(pointer, companion, operation, option, data, size),
            lambda companion, give_up: lib.gzh_end_call(companion, data, size),
        )

    # ---- options ---------------------------------------------------------------------------------

    def get(self, option: int) -> Any:
        """An option's value: int or bytes, as the option has it (zmq_getsockopt).

        ``RCVMORE`` speaks of the part that this greenlet received last.
        Raises `ZMQError`, EINVAL, for an option that is unknown or cannot be read.
        """
        if option == RCVMORE and not self._closed:
            return int(self._has_unread())
        size = ffi.new("size_t *", _options.size(option))
        data = ffi.new("char[]", size[0])
        check(self._call(lib.GZH_GET, option, data, size), _options.describe(option))
        value = _options.decode(option, ffi.unpack(data, size[0]))
        if option == EVENTS and self._has_unread():
            return int(value) | int(POLLIN)
        return value

    def set(self, option: int, value: int | bytes) -> None:
        """Set an option (zmq_setsockopt).

        Raises TypeError or ValueError for a value of the wrong type or size, `ZMQError`, EINVAL, for
        one that libzmq does not take.
        """
        raw = _options.encode(option, value)
        rc = self._call(lib.GZH_SET, option, ffi.from_buffer(raw), ffi.new("size_t *", len(raw)))
        check(rc, f"{_options.describe(option)} = {value!r}")

    getsockopt = get
    setsockopt = set

    def get_string(self, option: int, encoding: str = "utf-8") -> str:
        """An option's value as text. Raises TypeError for one whose values are numbers."""
        if not _options.is_bytes(option):
            raise TypeError(f"{_options.describe(option)}: its value is no text")
        return str(self.get(option).decode(encoding))

    def set_string(self, option: int, optval: str, encoding: str = "utf-8") -> None:
        """Set an option to text. Raises TypeError for what is no str."""
        if not isinstance(optval, str):
            raise TypeError(f"{_options.describe(option)}: expected str, got {optval!r}")
        self.set(option, optval.encode(encoding))

    getsockopt_string = getsockopt_unicode = get_string
    setsockopt_string = setsockopt_unicode = set_string

    def subscribe(self, topic: str | bytes) -> None:
        """Receive what begins with topic: for SUB sockets (``SUBSCRIBE``)."""
        self.set(SUBSCRIBE, topic.encode() if isinstance(topic, str) else topic)

    def unsubscribe(self, topic: str | bytes) -> None:
        """Take a `subscribe` back (``UNSUBSCRIBE``)."""
        self.set(UNSUBSCRIBE, topic.encode() if isinstance(topic, str) else topic)

    def get_hwm(self) -> int:
        """``SNDHWM``, or ``RCVHWM`` where that cannot be read."""
        try:
            return int(self.get(SNDHWM))
        except errors.ZMQError:
            return int(self.get(RCVHWM))

    def set_hwm(self, value: int) -> None:
        """Set both ``SNDHWM`` and ``RCVHWM``, for endpoints bound or connected from now on."""
        self.set(SNDHWM, value)
        self.set(RCVHWM, value)

    hwm = property(get_hwm, set_hwm)

    def fileno(self) -> int:
        """The descriptor that libzmq signals (``FD``): edge-triggered, with all that follows."""
        return int(self.get(SocketOption.FD))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__:
            object.__setattr__(self, name, value)
        elif name.lower() in ("subscribe", "unsubscribe"):
            getattr(self, name.lower())(value)
        elif hasattr(type(self), name) or name in _annotated(type(self)):
            object.__setattr__(self, name, value)
        else:
            option = _options.socket_option(name)
            if option is None:
                raise AttributeError(f"{type(self).__name__} has no attribute or option {name!r}")
            self.set(option, value)

    def __getattr__(self, name: str) -> Any:
        option = _options.socket_option(name)
        if option is None:
            raise AttributeError(f"{type(self).__name__} has no attribute or option {name!r}")
        try:
            return self.get(option)
        except errors.ZMQError as e:
            if e.errno in (Errno.EINVAL, Errno.EFAULT):
                raise AttributeError(f"{_options.describe(option)}: cannot be read") from e
            raise

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *SocketOption.__members__]

    # ---- receiving -------------------------------------------------------------------------------

    @overload
    def recv(
        self, flags: int = ..., copy: Literal[True] = ..., track: bool = ..., *, timeout: float | None = ...
    ) -> bytes: ...
    @overload
    def recv(
        self, flags: int = ..., *, copy: Literal[False], track: bool = ..., timeout: float | None = ...
    ) -> Frame: ...
    @overload
    def recv(
        self, flags: int, copy: Literal[False], track: bool = ..., *, timeout: float | None = ...
    ) -> Frame: ...
    @overload
    def recv(
        self, flags: int = ..., copy: bool = ..., track: bool = ..., *, timeout: float | None = ...
    ) -> bytes | Frame: ...

    def recv(
        self, flags: int = 0, copy: bool = True, track: bool = False, *, timeout: float | None = None
    ) -> bytes | Frame:
        """Receive one part (zmq_msg_recv): bytes, copied, or with ``copy=False`` a `Frame`.

        After the first part of a message the others are this greenlet's to receive (see ``RCVMORE``,
        or ``Frame.more``); other greenlets receive other messages meanwhile.
        """
        if copy and timeout is None and not self._partial:
            # Nearly every call of a busy program ends in these lines.
            try:
                pair = _take_slot()
            except IndexError:
                pair = _new_slot()
            n = _recv(self._ptr, _NULL, pair[0], flags)
            if n >= 0:
                data: bytes = pair[1][:n]
                _return_slot(pair)
                return data
            parts = self._finish(pair, n, flags, None)
        else:
            parts = self._take_unread()
            if not parts:
                pair = _slots.pop() if _slots else _new_slot()
                n = _recv(self._ptr, _NULL, pair[0], self._flags(flags, copy, timeout))
                parts = self._finish(pair, n, self._flags(flags, copy, timeout), timeout)
        first = parts[0]
        if len(parts) > 1:
            self._put_unread(parts[1:])
        return _as(first, copy, len(parts) > 1)

    @overload
    def recv_multipart(
        self, flags: int = ..., copy: Literal[True] = ..., track: bool = ..., *, timeout: float | None = ...
    ) -> list[bytes]: ...
    @overload
    def recv_multipart(
        self, flags: int = ..., *, copy: Literal[False], track: bool = ..., timeout: float | None = ...
    ) -> list[Frame]: ...
    @overload
    def recv_multipart(
        self, flags: int, copy: Literal[False], track: bool = ..., *, timeout: float | None = ...
    ) -> list[Frame]: ...
    @overload
    def recv_multipart(
        self, flags: int = ..., copy: bool = ..., track: bool = ..., *, timeout: float | None = ...
    ) -> list[bytes] | list[Frame]: ...

    def recv_multipart(
        self, flags: int = 0, copy: bool = True, track: bool = False, *, timeout: float | None = None
    ) -> list[bytes] | list[Frame]:
        """Receive a whole message: the list of its parts, as `recv` gives each.

        In the middle of a message that this greenlet receives part by part: the rest of that.
        """
        parts = self._take_unread() if self._partial else []
        if not parts:
            pair = _slots.pop() if _slots else _new_slot()
            flags = self._flags(flags, copy, timeout)
            parts = self._finish(pair, _recv(self._ptr, _NULL, pair[0], flags), flags, timeout)
            if copy or type(parts[0]) is Frame:
                return parts
        last = len(parts) - 1
        return [_as(part, copy, index < last) for index, part in enumerate(parts)]  # type: ignore[return-value]

    @staticmethod
    def _flags(flags: int, copy: bool, timeout: float | None) -> int:
        if timeout is not None and timeout <= 0:
            flags |= NOBLOCK
        return flags if copy else flags | _KEEP

    def _finish(
        self, pair: tuple[Any, Any], rc: int, flags: int, timeout: float | None
    ) -> list[Any]:
        """From what the first try said to the parts of a message: bytes or, kept, Frames."""
        slot, view = pair
        pointer = self._ptr
        while rc == YIELD:
            turn()
            rc = _recv(pointer, _NULL, slot, flags)
        if rc == WAIT or (rc == _EAGAIN and timeout is not None and not flags & NOBLOCK):
            rc = wait(
                lambda companion: _recv(pointer, companion, slot, flags),
                lambda companion, give_up: lib.gzh_end(companion, slot, flags, give_up),
                self._timeout(0, timeout),
            )
        if rc >= 0:
            parts = [view[:rc]]
        elif rc == _PARTS:
            parts = []
            at = 0
            for size in ffi.unpack(slot.size, slot.parts):
                parts.append(view[at : at + size])
                at += size
        elif rc == lib.GZH_WHOLE:
            message = ffi.gc(slot.whole, lib.gzh_message_free)
            parts = _frames(message) if flags & _KEEP else _copies(message)
        else:
            _return_slot(pair)
            raise _failed(rc, "recv", self)
        _return_slot(pair)
        return parts

    def _timeout(self, direction: int, timeout: float | None) -> float | None:
        if timeout is not None:
            return timeout
        milliseconds = lib.gzh_socket_timeout(self._ptr, direction)
        return None if milliseconds < 0 else milliseconds / 1000

    # ---- part by part ----------------------------------------------------------------------------

    def _has_unread(self) -> bool:
        return bool(self._partial and current().unread.get(self))

    def _take_unread(self) -> list[Any]:
        if not self._partial:
            return []
        parts: list[Any] = current().unread.pop(self, [])
        if parts:
            self._partial -= 1
        return parts

    def _put_unread(self, parts: list[Any]) -> None:
        current().unread[self] = parts
        self._partial += 1

    def _begin_or_go_on(self, part: Any, flags: int, copy: bool, timeout: float | None) -> None:
        """Take a part of a message that is not its last. The first one waits until there is room."""
        if not isinstance(part, Frame):
            try:
                # As the caller may change it before the message goes.
                part = bytes(memoryview(part)) if copy else Frame(part)
            except TypeError:
                raise not_a_buffer(part) from None
        unsent = current().unsent
        if self not in unsent:
            if self.type in _RECEIVE_ONLY:
                raise errors.error(Errno.ENOTSUP, f"send on {self!r}")
            if self.type not in _NOT_ASKED:
                at_once = flags & NOBLOCK or (timeout is not None and timeout <= 0)
                limit = 0 if at_once else self._timeout(1, timeout)
                if not self._poll(limit, POLLOUT):
                    raise errors.error(Errno.EAGAIN, f"send on {self!r}")
            unsent[self] = []
            self._partial += 1
        elif self._closed:
            raise errors.error(Errno.ENOTSOCK, f"send on {self!r}")
        unsent[self].append(part)

    # ---- sending ---------------------------------------------------------------------------------

    def send(
        self,
        data: Any,
        flags: int = 0,
        copy: bool = True,
        track: bool = False,
        routing_id: int | None = None,
        group: str | None = None,
        *,
        timeout: float | None = None,
    ) -> MessageTracker | None:
        """Send one part (zmq_msg_send).

        data: a `Frame` or any buffer; copied, or with ``copy=False`` read in place by libzmq if it
        has at least ``copy_threshold`` bytes: it must not change until then, and ``track=True``
        returns the `MessageTracker` that tells. ``SNDMORE``: more parts follow; they are sent as one
        when the last one is given. When `Again` is raised nothing was sent, and never will be.
        Raises TypeError for what is no buffer. routing_id, group: for draft sockets.
        """
        if type(data) is bytes and flags < _MORE and copy and timeout is None and not self._partial:
            if not _send(self._ptr, data, len(data), flags):
                return None
        if routing_id is not None or group is not None:
            raise errors.error(Errno.ENOTSUP, "routing_id and group are for draft sockets")
        if flags & SNDMORE:
            self._begin_or_go_on(data, flags, copy, timeout)
            return None
        parts = [data]
        if self._partial:
            parts = [*current().unsent.get(self, ()), data]
        return self._send_parts(parts, flags, copy, track, timeout)

    def send_multipart(
        self,
        msg_parts: Sequence[Any],
        flags: int = 0,
        copy: bool = True,
        track: bool = False,
        *,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> MessageTracker | None:
        """Send a whole message: parts as `send` takes them. All of it is sent, or nothing.

        Raises TypeError, which names the part, for what is no buffer, before any is sent.
        """
        if flags < _MORE and copy and timeout is None and not self._partial:
            try:
                data = b"".join(msg_parts)
                sizes = list(map(len, msg_parts))
            except TypeError:
                pass  # Frames, or an error for below to explain
            else:
                # (An item of a memoryview may have more bytes than one: then len is not its size.)
                if len(data) <= _SLOT_BYTES and sizes and sum(sizes) == len(data):
                    if not lib.gzh_send_parts(self._ptr, data, sizes, len(sizes), flags):
                        return None
        parts = list(msg_parts)
        if not parts:
            raise ValueError("a message has at least one part")
        if flags & SNDMORE:
            for part in parts:
                self._begin_or_go_on(part, flags, copy, timeout)
            return None
        if self._partial:
            parts = [*current().unsent.get(self, ()), *parts]
        return self._send_parts(parts, flags, copy, track, timeout)

    def _send_parts(
        self, parts: list[Any], flags: int, copy: bool, track: bool, timeout: float | None
    ) -> MessageTracker | None:
        pointer = self._ptr
        if timeout is not None and timeout <= 0:
            flags |= NOBLOCK
        message, tracker = message_of(parts, copy, track, self.copy_threshold)
        while (rc := lib.gzh_send_message(pointer, _NULL, message, flags)) == YIELD:
            turn()
        if rc == WAIT or (rc == _EAGAIN and timeout is not None and not flags & NOBLOCK):
            rc = wait(
                lambda companion: lib.gzh_send_message(pointer, companion, message, flags),
                lambda companion, give_up: lib.gzh_end(companion, _NULL, 0, give_up),
                self._timeout(1, timeout),
            )
        if rc < 0:
            raise _failed(rc, "send", self)
        if self._partial and current().unsent.pop(self, None) is not None:
            self._partial -= 1
        return tracker

    # ---- text, JSON, pickles, your own ---------------------------------------------------------------

    def send_string(
        self, u: str, flags: int = 0, copy: bool = True, encoding: str = "utf-8", **kwargs: Any
    ) -> MessageTracker | None:
        """Send text. kwargs as for `send`. Raises TypeError for what is no str."""
        if not isinstance(u, str):
            raise TypeError(f"expected str, got {type(u).__name__}: use send for bytes")
        return self.send(u.encode(encoding), flags, copy, **kwargs)

    def recv_string(
        self, flags: int = 0, encoding: str = "utf-8", *, timeout: float | None = None
    ) -> str:
        """Receive text. Raises UnicodeDecodeError for what is none; the message is then gone."""
        return self.recv(flags, timeout=timeout).decode(encoding)

    send_unicode = send_string
    recv_unicode = recv_string

    def send_pyobj(
        self, obj: object, flags: int = 0, protocol: int = pickle.DEFAULT_PROTOCOL, **kwargs: Any
    ) -> MessageTracker | None:
        """Send a pickle of an object. kwargs as for `send`."""
        return self.send(pickle.dumps(obj, protocol), flags, **kwargs)

    def recv_pyobj(self, flags: int = 0, *, timeout: float | None = None) -> Any:
        """Receive a pickled object. A pickle can run any code: only from peers that you trust."""
        return pickle.loads(self.recv(flags, timeout=timeout))

    def send_json(self, obj: object, flags: int = 0, **kwargs: Any) -> None:
        """Send JSON. kwargs go to `json.dumps`, but timeout, routing_id and group to `send`."""
        to_send = {k: kwargs.pop(k) for k in ("timeout", "routing_id", "group") if k in kwargs}
        kwargs.setdefault("separators", (",", ":"))
        kwargs.setdefault("ensure_ascii", False)
        self.send(json.dumps(obj, **kwargs).encode(), flags, **to_send)

    def recv_json(self, flags: int = 0, *, timeout: float | None = None, **kwargs: Any) -> Any:
        """Receive JSON. kwargs go to `json.loads`."""
        return json.loads(self.recv(flags, timeout=timeout), **kwargs)

    def send_serialized(
        self,
        msg: _T,
        serialize: Callable[[_T], Sequence[Any]],
        flags: int = 0,
        copy: bool = True,
        **kwargs: Any,
    ) -> MessageTracker | None:
        """Send ``serialize(msg)``, the parts of a message. kwargs as for `send_multipart`."""
        return self.send_multipart(serialize(msg), flags, copy, **kwargs)

    def recv_serialized(
        self,
        deserialize: Callable[[list[Any]], _T],
        flags: int = 0,
        copy: bool = True,
        *,
        timeout: float | None = None,
    ) -> _T:
        """Receive a message, and return ``deserialize(parts)``."""
        return deserialize(self.recv_multipart(flags, copy, timeout=timeout))

    def __iter__(self) -> Iterator[bytes]:
        """Receive messages until the socket or its context is closed."""
        while True:
            try:
                yield self.recv()
            except errors.ContextTerminated:
                return
            except errors.ZMQError as e:
                if e.errno == Errno.ENOTSOCK:
                    return
                raise

    # ---- watching --------------------------------------------------------------------------------

    def poll(self, timeout: float | None = None, flags: int = POLLIN) -> int:
        """Wait until the socket is ready; returns the events of ``flags`` that are there.

        timeout: milliseconds; None or negative for ever. flags: `POLLIN`, `POLLOUT`, or both. 0 when
        the time has passed.
        """
        seconds = None if timeout is None or timeout < 0 else timeout / 1000
        return self._poll(seconds, flags)

    def _poll(self, seconds: float | None, mask: int) -> int:
        pointer = self._ptr
        if mask & POLLIN and self._has_unread():
            return check(lib.gzh_poll(pointer, _NULL, mask, NOBLOCK), f"poll on {self!r}") | POLLIN
        flags = NOBLOCK if seconds is not None and seconds <= 0 else 0
        while (rc := lib.gzh_poll(pointer, _NULL, mask, flags)) == YIELD:
            turn()
        if rc == WAIT:
            rc = wait(
                lambda companion: lib.gzh_poll(pointer, companion, mask, 0),
                lambda companion, give_up: lib.gzh_end(companion, _NULL, 0, give_up),
                seconds,
            )
            if rc == _EAGAIN:
                return 0
        return check(rc, f"poll on {self!r}")


def _frames(message: Any) -> list[Frame]:
    last = lib.gzh_message_parts(message) - 1
    return [
        Frame._received(lib.gzh_message_take(message, index), index < last) for index in range(last + 1)
    ]


def _copies(message: Any) -> list[bytes]:
    return [
        bytes(ffi.buffer(lib.gzh_message_data(message, i), lib.gzh_message_size(message, i)))
        for i in range(lib.gzh_message_parts(message))
    ]


def _as(part: bytes | Frame, copy: bool, more: bool) -> bytes | Frame:
    """What was received one way, as the caller wants it now."""
    if copy:
        return part if type(part) is bytes else bytes(part)
    frame = part if isinstance(part, Frame) else Frame(part, copy=True)
    frame.more = more
    return frame


def _failed(rc: int, call: str, socket: Socket) -> Exception:
    try:
        check(rc, f"{call} on {socket!r}")
    except errors.ZMQError as e:
        return e
    raise AssertionError(f"{call}: unexpected result {rc}")


def _annotated(cls: type) -> set[str]:
    """The names that a subclass declares without giving them a value: attributes too."""
    return {name for base in cls.__mro__ for name in base.__dict__.get("__annotations__", ())}
