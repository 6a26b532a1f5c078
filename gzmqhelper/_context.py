"""`Context`: what sockets are made of and end with.

Its options and its sockets' defaults are set at once; `term` is made by the greenlet's companion
(`_helper.wait`). `_socket.py` does not know this module; a Context knows the Socket class.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast, overload
from warnings import warn
from weakref import WeakSet, WeakValueDictionary

from . import _options, errors
from ._arguments import address_of, integer
from ._attributes import OptionAttributes
from ._endpoints import OfASocket
from ._helper import FORKED, check, wait
from ._native import ffi, lib, untracked
from ._original import original
from ._pins import let_go
from ._socket import Socket
from .constants import LINGER, ContextOption, Errno, SocketType

if TYPE_CHECKING:
    from typing_extensions import Self, TypeVar

    _Socket_co = TypeVar("_Socket_co", bound=Socket[Any], covariant=True, default=Socket[bytes])
    _Any_socket = TypeVar("_Any_socket", bound=Socket[Any])

__all__ = ["Context", "socket"]

_new_lock = original("_thread", "allocate_lock")
_exiting: Final[list[bool]] = []

_NO_SUCH_TYPE: Final = frozenset({-int(Errno.EINVAL), -int(Errno.ENOTSUP)})
_DRAFT_TYPES: Final = frozenset(range(SocketType.SERVER, SocketType.CHANNEL + 1))


@atexit.register
def _exit() -> None:
    # From here on nothing is ended any more: the process ends it all at once.
    _exiting.append(True)


# It may run anywhere, also while modules are taken apart: it must not look names up.
def _drop(out: Any, _end: Callable[[Any], None] = lib.gzh_context_drop, _exiting: Any = _exiting) -> None:
    # libzmq would wait for unsent messages here: a companion does that.
    if out[0] and not _exiting:
        _end(out[0])


# So that the address of a Context of ours leads back to it: libzmq's own memory behind that address
# goes when the context has ended.
_by_address: WeakValueDictionary[int, Context[Any]] = WeakValueDictionary()


class Context(OptionAttributes, OfASocket["_Socket_co"]):
    """The part of ZeroMQ that sockets share: its threads and its inproc names (zmq_ctx_new).

    Any greenlet of any thread may use it. Options of the context and defaults for the options of
    its sockets are attributes: ``ctx.max_sockets = 10``, ``ctx.linger = 0``.

    io_threads: how many threads libzmq has for the network. shadow: another Context, or the address
    of one of libzmq's; it is used, and ended by whoever made it.
    Raises `ZMQError`: EMFILE, EINVAL.
    """

    _instance: ClassVar[Any] = None
    _instance_lock: ClassVar[Any] = _new_lock()
    _socket_class: type[_Socket_co] = cast("type[_Socket_co]", Socket)
    _shadow_obj: Any = None
    _repr_cls = "zmq.Context"
    sockopts: dict[int, Any]

    def __init__(self, io_threads: int | Context[Any] = 1, shadow: Context[Any] | int = 0) -> None:
        values = self.__dict__
        values["_ptr"] = None
        if isinstance(io_threads, Context):
            io_threads, shadow = 1, io_threads
        if not isinstance(shadow, Context):
            shadow = address_of(shadow)
            shadow = _by_address.get(shadow, shadow)
        values["_shadow"] = bool(shadow)
        if shadow:
            values["_shadow_obj"] = shadow  # keeps it alive
        values["_left"] = False
        values["sockopts"] = {}
        values["_sockets"] = WeakSet()
        if isinstance(shadow, Context):
            values["_ptr"] = shadow._ptr
            return
        out = values["_out"] = untracked(ffi.gc(ffi.new("gzh_context **"), _drop))  # whatever comes between
        if shadow:
            check(lib.gzh_context_shadow(ffi.cast("void *", shadow), out), "a shadow context")
        else:
            io_threads = integer("io_threads", io_threads)
            _check(lib.gzh_context_new(io_threads, out), f"a context with {io_threads} I/O threads")
        values["_ptr"] = out[0]
        if not shadow:
            _by_address[self.underlying] = self

    # What else goes in the same moment may have a finalizer that uses this one, and comes after this:
    # so it stays usable until `_drop`.
    def __del__(self, _warn: Any = warn, _exiting: Any = _exiting) -> None:
        # (Ctrl-C may have come before it had a pointer.)
        if self.__dict__.get("_ptr") and not self._shadow and not self.closed and not _exiting:
            # (Without `source`: whoever records warnings would keep it, and so keep it open.)
            _warn(f"Unclosed context {self!r}", ResourceWarning, stacklevel=2)

    def __repr__(self) -> str:
        cls = self.__class__
        count = len(self._sockets)
        sockets = f"{count} socket{'s' if count > 1 else ''}" if count else ""
        closed = " closed" if self.closed else ""
        shown = cls.__dict__.get("_repr_cls", f"{cls.__module__}.{cls.__qualname__}")
        return f"<{shown}({sockets}) at {id(self):#x}{closed}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._destroy(None, warns=True)

    @classmethod
    def instance(cls, io_threads: int = 1) -> Self:
        """The Context of the process for this class: made when first asked for, and made anew if it
        has been closed, or in a forked child.

        A subclass has that of its base class, if that was asked for one first; to have its own in any
        case it says ``_instance = None``.
        """
        found = cls._instance
        if found is None or found.closed:
            # Not under the lock: a subclass's own __init__ may let other greenlets run.
            made = cls(io_threads=io_threads)
            with cls._instance_lock:
                found = cls._instance
                if found is None or found.closed:
                    found = cls._instance = made
            if found is not made:
                made.__dict__["_left"] = True  # another was quicker: nobody knows of this one
        return cast("Self", found)

    @classmethod
    def shadow(cls, address: int | Context[Any]) -> Self:
        """A Context for one that somebody else made and will end; address: that, or its address."""
        return cls(shadow=address)

    def __copy__(self) -> Self:
        """A shadow: the end of the context itself is left to the original."""
        return self.shadow(self)

    def __deepcopy__(self, memo: Any) -> Self:
        return self.shadow(self)

    @property
    def underlying(self) -> int:
        """The address of libzmq's context; 0 once it has ended."""
        return 0 if self._ended() else int(ffi.cast("size_t", lib.gzh_context_underlying(self._ptr)))

    @property
    def closed(self) -> bool:
        """Whether it ended, or has begun to; also in a forked child."""
        return self._left or bool(lib.gzh_context_ended(self._ptr))

    def _ended(self) -> bool:
        """Whether libzmq's context is gone, and not only going."""
        return bool(lib.gzh_context_ended(self._ptr)) and lib.gzh_context_term(self._ptr, ffi.NULL) == 0

    def _check_open(self, call: str) -> None:
        """Raise what says that, and why, this can be asked for nothing more."""
        if not self.closed:
            return
        if lib.gzh_context_get(self._ptr, 0) == FORKED:
            check(FORKED, call)
        if self._left or self._ended():
            # The errno that programs know: of a shadow, libzmq would have said so.
            errno = Errno.EFAULT if self._shadow and not self._left else Errno.ENOTSUP
            raise errors.ContextClosed(errno, f"{call}: the context is closed; make another")
        check(lib.gzh_context_get(self._ptr, 0), call)

    @overload
    def socket(
        self, socket_type: int, socket_class: Callable[[Self, int], _Any_socket], **kwargs: Any
    ) -> _Any_socket: ...
    @overload
    def socket(self, socket_type: int, socket_class: None = None, **kwargs: Any) -> _Socket_co: ...

    def socket(self, socket_type: int, socket_class: Any = None, **kwargs: Any) -> Any:
        """Make a socket (zmq_socket). kwargs go to the class.

        Raises `ZMQError`: `ContextTerminated` while the context ends, and once it has (what is a
        RuntimeError too, and has another errno), EMFILE, EMTHREAD, EINVAL for a type that libzmq
        does not know.
        """
        self._check_open("Context.socket")
        made = (socket_class or self._socket_class)(self, socket_type, **kwargs)
        for option, value in self.sockopts.items():
            try:
                made.set(option, value)
            except errors.ZMQError:
                pass  # a default that does not apply to this type, as SUBSCRIBE
        return made

    def _open_socket(self, socket_type: int, out: Any) -> None:
        """For `Socket`: put a new C socket into ``out``."""
        rc = lib.gzh_socket_open(self._ptr, integer("socket_type", socket_type), out)
        if rc < 0:
            known = socket_type in SocketType._value2member_map_
            about = f"a socket of type {SocketType(socket_type).name if known else socket_type}"
            if rc in _NO_SUCH_TYPE and socket_type in _DRAFT_TYPES:
                raise errors.no_drafts(about)
            check(rc, about, "libzmq has no such type" if rc in _NO_SUCH_TYPE else None)

    def _add_socket(self, socket: Any) -> None:
        self._sockets.add(socket)

    def _rm_socket(self, socket: Any) -> None:
        self._sockets.discard(socket)

    def term(self) -> None:
        """End the context (zmq_ctx_term), and wait until it has ended.

        Whoever waits on one of its sockets gets `ContextTerminated`, and so does every later call
        but close. It has ended when all its sockets are closed and their messages sent, or their
        linger periods over. Other greenlets run meanwhile; one that calls this too waits along. If
        this greenlet is killed, or a Timeout ends its wait, the context goes on ending. Safe to say
        twice. A shadow ends alone.
        """
        if self._shadow:
            self.__dict__["_left"] = True
            return
        for socket in list(self._sockets):
            socket._forget()  # or they would be received before anybody hears of the end
        if lib.gzh_context_term(self._ptr, ffi.NULL) == 0:
            return
        check(
            wait(
                lambda _, companion: lib.gzh_context_term(self._ptr, companion),
                lambda _, companion, give_up: lib.gzh_context_end_term(companion),
            ),
            "Context.term",
        )
        let_go()  # none of its messages is left

    def destroy(self, linger: int | None = None) -> None:
        """Close all sockets of the context, and end it. linger: milliseconds; None leaves it."""
        self._destroy(linger, warns=False)

    def _destroy(self, linger: int | None, warns: bool) -> None:
        for socket in list(self._sockets):
            if socket.closed:
                continue
            if warns:
                text = f"Destroying context with unclosed socket {socket!r}"
                warn(text, ResourceWarning, stacklevel=3, source=socket)
            if linger is None:
                socket.close()
            elif type(socket).close is Socket.close:
                socket.close(linger)
            else:  # a subclass's own, which may know no linger
                socket.set(LINGER, linger)
                socket.close()
        self.term()

    def get(self, option: int) -> int:
        """An option of the context (zmq_ctx_get). Raises `ZMQError`, EINVAL."""
        self._check_open("Context.get")
        option = integer("option", option)
        return _check(lib.gzh_context_get(self._ptr, option), _options.describe_context(option))

    def set(self, option: int, optval: int) -> None:
        """Set an option of the context (zmq_ctx_set). Raises `ZMQError`, EINVAL."""
        self._check_open("Context.set")
        option, optval = integer("option", option), integer("optval", optval)
        about = f"{_options.describe_context(option)} = {optval}"
        _check(lib.gzh_context_set(self._ptr, option, optval), about)

    def getsockopt(self, opt: int) -> Any:
        """The default for an option of its sockets. Raises KeyError if none was set."""
        return self.sockopts[opt]

    def setsockopt(self, opt: int, value: Any) -> None:
        """Set a default for an option of the sockets that it makes from now on."""
        self.sockopts[opt] = value

    def _set_option(self, name: str, value: Any) -> bool:
        if (option := _options.context_option(name)) is not None:
            self.set(option, value)
        elif (default := _options.socket_option(name)) is not None:
            self.sockopts[default] = value
        else:
            return False
        return True

    def __getattr__(self, name: str) -> Any:
        if (option := _options.context_option(name)) is not None:
            try:
                return self.get(option)
            except errors.ZMQError as e:
                if e.errno in (Errno.EINVAL, Errno.EFAULT):
                    raise AttributeError(f"context option {option.name}: cannot be read") from e
                raise
        default = _options.socket_option(name)
        if default is not None and default in self.sockopts:
            return self.sockopts[default]
        raise AttributeError(f"{type(self).__name__} has no attribute or option {name!r}")

    def __delattr__(self, name: str) -> None:
        default = _options.socket_option(name)
        if name in self.__dict__:
            object.__delattr__(self, name)
        elif default is not None and default in self.sockopts:
            del self.sockopts[default]
        else:
            raise AttributeError(name)

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *(option.name for option in ContextOption)]


def _check(rc: int, about: str) -> int:
    no_option = "libzmq has no such option of a context, or does not take this value"
    return check(rc, about, no_option if rc == -int(Errno.EINVAL) else None)


def _in_child() -> None:
    Context._instance_lock = _new_lock()  # another thread may have held it, which is not here


os.register_at_fork(after_in_child=_in_child)


@overload
def socket(
    socket_type: int, socket_class: Callable[[Context, int], _Any_socket], **kwargs: Any
) -> _Any_socket: ...
@overload
def socket(socket_type: int, socket_class: None = None, **kwargs: Any) -> Socket: ...


def socket(socket_type: int, socket_class: Any = None, **kwargs: Any) -> Any:
    """A socket of ``Context.instance()``, as its `Context.socket` makes it."""
    return Context.instance().socket(socket_type, socket_class, **kwargs)
