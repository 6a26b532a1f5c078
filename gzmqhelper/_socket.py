"""`Socket`: its life, its endpoints and its options. Messages are `_messages.py`'s.

`_context.py` makes Sockets; users call them, from any greenlet of any thread. Blocking calls, such as
`bind`, are made by the greenlet's companion (`_helper.wait`), all others at once.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from warnings import warn
from weakref import WeakValueDictionary, ref

from gevent.exceptions import BlockingSwitchOutError

from . import _addresses, _options, errors
from ._arguments import address_of, integer
from ._attributes import OptionAttributes
from ._batches import sockets_here
from ._endpoints import Endpoint, OfWhatIsReceived
from ._formats import Formats
from ._frame import group_of
from ._helper import WAIT, check, wait
from ._monitored import Monitored
from ._native import ffi, lib
from ._overridden import heed_overriding
from ._pins import let_go
from .constants import (
    EVENTS,
    LAST_ENDPOINT,
    POLLIN,
    POLLOUT,
    RCVHWM,
    RCVMORE,
    SNDHWM,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Errno,
    SocketOption,
    SocketType,
)

if TYPE_CHECKING:
    from typing_extensions import Self, TypeVar

    from ._context import Context

    _Received_co = TypeVar("_Received_co", covariant=True, default=bytes)

__all__ = ["Socket"]

_NULL: Final = ffi.NULL
# Draft types, for which csrc/wire.c finds a descriptor.
_THREAD_SAFE: Final = frozenset(map(SocketType, (12, 13, 14, 15, 16, 17, 19, 20)))


_SOCKET_TYPES: Final = {kind.value: kind for kind in SocketType}
_TOPICS: Final = frozenset({SUBSCRIBE, UNSUBSCRIBE})
# Attributes that are options too, though the class has others of their names.
_SET_OTHERWISE: Final = frozenset({"subscribe", "SUBSCRIBE", "unsubscribe", "UNSUBSCRIBE", "type"})

# So that the address of a Socket of ours leads back to it: of one of libzmq's only one of ours may be owner.
_by_address: WeakValueDictionary[int, Socket[Any]] = WeakValueDictionary()


_closed_one: Any = None


def _closed_socket() -> Any:
    """A socket of C's that is closed, one for all: what a shadow leads to from its own close on."""
    global _closed_one
    if _closed_one is None:
        context, out = ffi.new("gzh_context **"), ffi.new("gzh_socket **")
        try:
            check(lib.gzh_context_new(1, context), "a shadow socket")
            check(lib.gzh_socket_open(context[0], SocketType.PAIR, out), "a shadow socket")
        finally:
            if out[0]:
                lib.gzh_socket_close(out[0], _NULL)
            if context[0]:
                lib.gzh_context_drop(context[0])
        _closed_one = out[0]
    return _closed_one


def _in_child() -> None:
    global _closed_one
    _closed_one = None  # it would say that it was made before the fork


os.register_at_fork(after_in_child=_in_child)


def _of_ours(shadow: Socket[Any] | int) -> Socket[Any] | int:
    """The Socket that a new one is to shadow, or the address of one of libzmq's that nobody here made."""
    if isinstance(shadow, Socket):
        return shadow
    address = address_of(shadow)
    own = _by_address.get(address)
    return address if own is None or own._closed else own


def _option(option: SocketOption) -> property:
    def get(self: Any) -> Any:
        try:
            return self.get(option)
        except errors.ZMQError as e:
            if e.errno in (Errno.EINVAL, Errno.EFAULT):
                raise AttributeError(f"{_options.describe(option)}: cannot be read") from e
            raise

    def set(self: Any, value: Any) -> None:
        self.set(option, value)

    return property(get, set)


def _options_as_properties() -> dict[str, property]:
    """Each in capital and in small letters; but not TYPE in small ones, which a Socket keeps."""
    named: dict[str, property] = {}
    for name, option in SocketOption.__members__.items():
        named[name] = named[name.lower()] = _option(option)
    del named["type"]
    return named


# Properties, and not __getattr__: with that, the interpreter would look up every attribute of a
# Socket the slow way, `_ptr` in each recv too (measured: 280 ns of a send's 430).
if TYPE_CHECKING:

    class _Options(OptionAttributes):
        def __getattr__(self, name: str) -> Any: ...

else:
    _Options = type("_Options", (OptionAttributes,), _options_as_properties())


class Socket(Formats, Monitored, _Options, OfWhatIsReceived["_Received_co"]):
    """A ZeroMQ socket, for any number of greenlets of any number of OS threads at once.

    Made by `Context.socket`. A call that has to wait lets other greenlets run; those that wait for
    the same thing are served in the order in which they came. Each message arrives whole. A greenlet
    that is killed, or leaves by a Timeout, while it waits loses nothing: what it would have received
    is the next message received.

    flags, wherever they are taken: `NOBLOCK` raises `Again` instead of waiting, and never lets others
    run. timeout, wherever it is taken: seconds to wait before `Again`, 0 or less for not at all; None
    for what ``RCVTIMEO`` or ``SNDTIMEO`` say.
    Every call raises `ZMQError`: ENOTSOCK if the socket is, or meanwhile gets, closed, and
    `ContextTerminated` if the context ends.

    Options are attributes: ``sock.linger = 0``.
    """

    context: Context[Any]
    _shadow: bool = False
    _shadow_obj: Any = None
    _repr_cls = "zmq.Socket"

    def __init__(
        self,
        ctx_or_socket: Context[Any] | Socket[Any] | None = None,
        socket_type: int = 0,
        *,
        shadow: Socket[Any] | int = 0,
        copy_threshold: int | None = None,
    ) -> None:
        self._ptr = None
        self._closed = False
        self._unread = {}
        self._unsent = {}
        self._forget()
        self._topics = []
        if copy_threshold is not None:
            self.copy_threshold = copy_threshold
        if isinstance(ctx_or_socket, Socket):
            shadow = ctx_or_socket
            ctx_or_socket = None
        if isinstance(shadow, Socket) or shadow:
            self._shadow = True
            shadow = _of_ours(shadow)
        if isinstance(shadow, Socket):
            _closed_socket()  # as a close may not fail
            self._shadow_obj = shadow
            self.context = shadow.context
            self._use(shadow._ptr)
            lib.gzh_socket_one_by_one(self._ptr)  # a batch would be known to one of the two alone
            shadow._put_back()
            self._topics = shadow._topics
        elif shadow:
            self._shadow_obj = shadow
            self.__dict__["context"] = ctx_or_socket  # None, unless the caller knows it
            out = ffi.new("gzh_socket **")
            check(lib.gzh_socket_wrap(ffi.cast("void *", shadow), True, out), "a shadow socket")
            self._use(out[0], own=True)
        elif ctx_or_socket is None:
            raise TypeError("a Socket needs a Context, or a socket to shadow")
        elif not hasattr(ctx_or_socket, "_open_socket"):
            raise TypeError(f"a Socket needs a Context, got {type(ctx_or_socket).__name__}")
        else:
            self._open(ctx_or_socket, socket_type)
        sockets_here.add(ref(self, sockets_here.discard))
        number = self.get(SocketOption.TYPE) if self._shadow else integer("socket_type", socket_type)
        self.type = _SOCKET_TYPES.get(number, number)

    def _open(self, context: Context[Any], socket_type: int) -> None:
        self.context = context
        out = ffi.new("gzh_socket **")
        try:
            context._open_socket(socket_type, out)
            self._use(out[0], own=True)
            context._add_socket(self)
        except BaseException:
            # Ctrl-C comes between any two lines: a socket that nobody knew would keep its context
            # from ending.
            if out[0]:
                self._use(out[0], own=True)
                self._closed = True
                lib.gzh_socket_close(out[0], _NULL)
            raise

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        heed_overriding(cls)

    # A finalizer may run anywhere, also while modules are taken apart: it must not look names up. And what
    # else goes in the same moment may have one that uses this socket, and comes after this: so it stays
    # usable until SocketBase goes, which closes it.
    def __del__(self, _warn: Any = warn) -> None:
        try:
            unclosed = self._ptr is not None and self._shadow_obj is None and not self._closed
        except AttributeError:
            return  # not even begun
        if unclosed:
            # (Without `source`: whoever records warnings would keep it, and so keep it open.)
            _warn(f"Unclosed socket {self!r}", ResourceWarning, stacklevel=2)

    def __repr__(self) -> str:
        cls = self.__class__
        kind = self.__dict__.get("type")
        name = f"zmq.{kind.name}" if isinstance(kind, SocketType) else kind
        closed = " closed" if self._closed else ""
        shown = cls.__dict__.get("_repr_cls", f"{cls.__module__}.{cls.__qualname__}")
        return f"<{shown}({name}) at {id(self):#x}{closed}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @classmethod
    def shadow(cls, address: int | Socket[Any]) -> Self:
        """Another object for the same socket; address: a Socket, or the address of libzmq's own."""
        return cls(shadow=address)

    def __copy__(self, memo: object = None) -> Self:
        return self.shadow(self)

    __deepcopy__ = __copy__

    @property
    def underlying(self) -> int:
        """The address of libzmq's socket; 0 once it is closed, and in a forked child."""
        if isinstance(self._shadow_obj, Socket) and not self._closed:
            return self._shadow_obj.underlying
        address = self._address()
        if address and self._shadow_obj is None and not self._closed:
            _by_address[address] = self  # who knows it may ask for a shadow by it
        return address

    def _address(self) -> int:
        return int(ffi.cast("size_t", lib.gzh_socket_underlying(self._ptr)))

    @property
    def closed(self) -> bool:
        """Whether it was closed: by `close`, here or of what this is a shadow of, or by its context."""
        return bool(self._closed) or (self._shadow and not self._address())

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
        milliseconds = _NULL if linger is None else ffi.new("int *", linger)
        if self._shadow_obj is None:
            # First, as Ctrl-C comes between any two lines: C's may be said again, and all else can wait.
            lib.gzh_socket_close(self._ptr, milliseconds)
            self._forget()  # now, as nobody can add to it any more
            self.context._rm_socket(self)
        elif isinstance(self._shadow_obj, Socket):
            # The other stays open. (One that was made before a fork says so, here too.)
            self._use(_closed_one or self._ptr)
        else:
            lib.gzh_socket_close(self._ptr, _NULL)  # of ours; libzmq's stays open
        self._forget_parts()  # what was received and not taken goes too
        self._closed = True
        let_go()

    # ---- endpoints -------------------------------------------------------------------------------

    def bind(self, addr: str | bytes) -> Endpoint[Self]:
        """Take connections at an endpoint (zmq_bind), on the greenlet's companion.

        addr: "tcp://*:5555", "ipc:///path", "inproc://name". The result may be used in a ``with``,
        which unbinds. Raises `ZMQError`, which names the endpoint: EADDRINUSE, EINVAL, ENODEV, ...
        """
        return Endpoint(self, "bind", self._endpoint(lib.GZH_BIND, "bind", addr))

    def connect(self, addr: str | bytes) -> Endpoint[Self]:
        """Connect to an endpoint (zmq_connect): at once, or on the greenlet's companion for udp.

        Succeeds before anybody is there. The result may be used in a ``with``, which disconnects.
        libzmq resolves the host name of a tcp endpoint on its own thread, which carries no other
        message of the context until that is done. Raises `ZMQError`, which names the endpoint.
        """
        return Endpoint(self, "connect", self._endpoint(lib.GZH_CONNECT, "connect", addr))

    def unbind(self, addr: str | bytes) -> None:
        """Take a `bind` back (zmq_unbind), on the greenlet's companion. Raises `ZMQError`, ENOENT."""
        self._endpoint(lib.GZH_UNBIND, "unbind", addr)

    def disconnect(self, addr: str | bytes) -> None:
        """Take a `connect` back (zmq_disconnect), on the greenlet's companion.

        Raises `ZMQError`, ENOENT.
        """
        self._endpoint(lib.GZH_DISCONNECT, "disconnect", addr)

    def bind_to_random_port(
        self, addr: str, min_port: int = 49152, max_port: int = 65536, max_tries: int = 100
    ) -> int:
        """Bind to a free port, and return it. addr: the endpoint without it, "tcp://*".

        With the default range the system chooses; else a port in [min_port, max_port) is tried, up
        to max_tries times. Raises `ZMQBindError` if none was free, and `ZMQError`, EINVAL, for a
        transport that has no ports.
        """
        if str(addr).startswith(("ipc:", "inproc:", "vmci:")):
            raise errors.error(Errno.EINVAL, f"bind_to_random_port: addr={addr!r} has no port")
        if (min_port, max_port) == (49152, 65536):
            return int(self.bind(f"{addr}:*").addr.rpartition(":")[2])
        ports = range(min_port, max_port)
        if not ports:
            raise ValueError(f"bind_to_random_port: no port is in [{min_port}, {max_port})")
        for _ in range(max_tries):
            # (The random module takes as long to import as a tenth of this package.)
            port = ports[int.from_bytes(os.urandom(4), "big") % len(ports)]
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

    def _endpoint(self, operation: int, name: str, addr: str | bytes) -> str:
        """Make the call; returns the endpoint, of a bind as LAST_ENDPOINT has it."""
        raw = _addresses.endpoint(name, addr)
        room = len(raw) + 1
        if operation == lib.GZH_BIND:
            room = max(room, _options.size(LAST_ENDPOINT))
        data = ffi.new("char[]", room)
        data[0 : len(raw)] = raw
        rc = self._call(operation, 0, data, ffi.new("size_t *", room))
        if rc < 0:
            # (Of a transport that it knows only by name libzmq says nothing: that is an older errno.)
            rc = -int(Errno.EINVAL) if rc == -int(Errno.EAGAIN) else rc
            check(rc, f"{name}: addr={addr!r}", _addresses.advice(-rc, addr))
        endpoint = str(ffi.string(data).decode(errors="surrogateescape"))
        if operation == lib.GZH_BIND or operation == lib.GZH_CONNECT:
            self.__dict__["_last"] = endpoint  # for `_report.py`: a proxy keeps all others out of C
        return endpoint

    def _call(self, operation: int, option: int, data: Any, size: Any) -> int:
        """A call of csrc/calls.h: at once, or on the companion if it may block or must queue."""
        pointer = self._ptr
        rc: int = lib.gzh_call(pointer, _NULL, operation, option, data, size)
        if rc != WAIT:
            return rc
        return wait(
            lambda _, companion: lib.gzh_call(pointer, companion, operation, option, data, size),
            lambda _, companion, give_up: lib.gzh_end_call(companion, data, size),
        )

    # ---- groups, of libzmq's draft API ------------------------------------------------------------

    def join(self, group: str | bytes) -> None:
        """Receive what is sent to a group: for DISH sockets (zmq_join). group: up to 255 bytes.

        Raises `ZMQError`, EINVAL; and without the draft API, what is a `ZMQError`, ENOTSUP, and a
        RuntimeError.
        """
        self._group(lib.GZH_JOIN, "join", group)

    def leave(self, group: str | bytes) -> None:
        """Take a `join` back (zmq_leave). Raises what that raises."""
        self._group(lib.GZH_LEAVE, "leave", group)

    def _group(self, operation: int, name: str, group: str | bytes) -> None:
        raw = group_of(group)
        if not lib.GZH_DRAFTS and self._address():
            raise errors.no_drafts(f"Socket.{name}")
        rc = self._call(operation, 0, ffi.new("char[]", raw), ffi.new("size_t *", len(raw)))
        check(rc, f"{name}: group={group!r} on {self!r}")

    # ---- options ---------------------------------------------------------------------------------

    def get(self, option: int) -> Any:
        """An option's value: int or bytes, as the option has it (zmq_getsockopt).

        ``RCVMORE`` speaks of the part that this greenlet received last. ``EVENTS``, asked in the hub
        while another greenlet is inside a `bind` of this socket, says what can be done meanwhile.
        Raises `ZMQError`, EINVAL, for an option that is unknown or cannot be read.
        """
        if option == RCVMORE and not self._closed and self._address():  # (also 0 after a fork)
            return int(self._in_message())
        option = integer("option", option)
        room = _options.size(option)
        while True:
            size = ffi.new("size_t *", room)
            data = ffi.new("char[]", room)
            try:
                rc = self._call(lib.GZH_GET, option, data, size)
            except BlockingSwitchOutError:
                # A program's own watcher of FD asks this in the hub, which cannot wait until another's
                # bind is over: while it lasts nothing can be sent, nor received from libzmq.
                if option != EVENTS:
                    raise
                return int(POLLIN) if self._has_unread() else 0
            if rc != -int(Errno.EINVAL) or option != LAST_ENDPOINT or room > 1 << 20:
                break
            room *= 8  # endpoints know no limit, and libzmq does not say how long they are
        if rc < 0:
            check(rc, _options.describe(option), _options.advice(-rc, option, setting=False))
        value = _options.decode(option, ffi.unpack(data, size[0]))
        if option == SocketOption.FD and self.type in _THREAD_SAFE:
            warn(errors.DraftFDWarning(), stacklevel=2)
        if option == EVENTS and self._has_unread():
            return int(value) & ~int(POLLOUT if self._must_read_first() else 0) | int(POLLIN)
        return value

    def set(self, option: int, optval: int | bytes) -> None:
        """Set an option (zmq_setsockopt).

        Raises TypeError or ValueError for a value of the wrong type or size, `ZMQError`, EINVAL, for
        one that libzmq does not take.
        """
        option = integer("option", option)
        raw = _options.encode(option, optval)
        rc = self._call(lib.GZH_SET, option, ffi.from_buffer(raw), ffi.new("size_t *", len(raw)))
        if rc < 0:
            check(rc, _options.describe_set(option, optval), _options.advice(-rc, option, setting=True))
        if option in _TOPICS:
            self._heed_topic(option, raw)

    def _heed_topic(self, option: int, topic: bytes) -> None:
        if option == SUBSCRIBE:
            self._topics.append(topic)
        elif topic in self._topics:
            self._topics.remove(topic)
        if self._has_ready():
            self._drop_unwanted(bool(self.get(SocketOption.INVERT_MATCHING)))

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
            raise TypeError(f"{_options.describe(option)}: expected str, got {type(optval).__name__}")
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

    @property
    def hwm(self) -> int:
        """`get_hwm` and `set_hwm`, as an attribute."""
        return self.get_hwm()

    @hwm.setter
    def hwm(self, value: int) -> None:
        self.set_hwm(value)

    def fileno(self) -> int:
        """The descriptor that libzmq signals (``FD``): edge-triggered, with all that follows."""
        return int(self.get(SocketOption.FD))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SET_OTHERWISE and (name in self.__dict__) == (name == "type"):
            self._set_option(name, value)  # TYPE, which can only be read; or what a method has the name of
        else:
            # (No super(): a new socket sets some ten of its own.)
            OptionAttributes.__setattr__(self, name, value)

    def _set_option(self, name: str, value: Any) -> bool:
        option = _options.socket_option(name)
        if option is None:
            return False
        if option in _TOPICS:
            getattr(self, name.lower())(value)
        else:
            self.set(option, value)
        return True
