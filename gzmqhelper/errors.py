"""The exceptions of the package, the one table from errno to class and advice, and the one check.

Every call into the C core goes through `check`; whatever else has an errno in hand raises `error`.
Pure Python: it needs the C core neither to make an error nor to say what an errno means.
"""

from __future__ import annotations

import os
import sys
from errno import EACCES, EINTR, EMFILE, ENAMETOOLONG, ENFILE, ENODEV, ENOENT, ENOMEM
from typing import ClassVar, Final

from .constants import Errno

__all__ = [
    "Again",
    "ContextTerminated",
    "DraftFDWarning",
    "InterruptedSystemCall",
    "NotDone",
    "ZMQBaseError",
    "ZMQBindError",
    "ZMQError",
    "ZMQVersionError",
    "strerror",
    "zmq_errno",
]

# sockaddr_un.sun_path has 108 bytes on Linux, 104 on the BSDs and macOS; one is the NUL.
IPC_PATH_MAX_LEN: Final = 107 if sys.platform == "linux" else 103

# What the system cannot say: libzmq's own errnos, and one that ZeroMQ uses in a sense of its own.
_MEANINGS: Final[dict[int, str]] = {
    Errno.EFSM: "Not the socket's turn to do this",
    Errno.ENOCOMPATPROTO: "The transport does not suit the socket's type",
    Errno.ETERM: "Context was terminated",
    Errno.EMTHREAD: "No thread for this",
    Errno.EHOSTUNREACH: "Peer unreachable",
}

# How to mend it, or where to look. libzmq gives one errno to several causes: then each is named.
_ADVICE: Final[dict[int, str]] = {
    Errno.EAGAIN: "nothing could be received, or sent, within the time allowed",
    Errno.EINVAL: "libzmq does not take this endpoint, option or value here;"
    " a host name that cannot be resolved also says so",
    Errno.EFAULT: "the context, or the message, is gone",
    Errno.EFSM: "a REQ socket sends and receives by turns, a REP socket receives and sends;"
    " use DEALER or ROUTER for any other order, or set REQ_RELAXED to ask again without an answer",
    Errno.ETERM: "its sockets can only be closed now",
    Errno.EMTHREAD: "the context has no I/O thread for this (see IO_THREADS and AFFINITY),"
    " or the system gave no new thread: raise the limit with ulimit -u",
    Errno.ENOTSOCK: "the socket is closed",
    Errno.ENOTSUP: "the socket's type, or this libzmq, cannot do this",
    Errno.EPROTONOSUPPORT: "libzmq does not know the transport, or was built without it;"
    " has() says what it was built with",
    Errno.ENOCOMPATPROTO: "udp is for RADIO, DISH and DGRAM; pgm, epgm and norm for PUB and SUB",
    Errno.EADDRINUSE: "another socket, perhaps of another program, is bound to it:"
    " close that one, or choose another address; tcp port 0 takes any free port",
    Errno.EADDRNOTAVAIL: "no interface of this machine has the address; * stands for all interfaces",
    ENODEV: "no such interface or address on this machine; * stands for all interfaces",
    ENOENT: "an endpoint that is to be given up must have been bound or connected as spelled here"
    " (LAST_ENDPOINT tells); the directory of an ipc path must exist",
    EACCES: "tcp ports below 1024, and the directory of an ipc path, may need rights that the process lacks",
    ENAMETOOLONG: f"an ipc path may have {IPC_PATH_MAX_LEN} bytes (IPC_PATH_MAX_LEN):"
    " use a shorter directory",
    Errno.ECONNREFUSED: "nobody is bound to it",
    Errno.EHOSTUNREACH: "no peer with this routing id is connected, and ROUTER_MANDATORY is set",
    Errno.EMSGSIZE: "the message is longer than the transport can carry",
    EMFILE: "no more descriptors: raise the limit with ulimit -n, or close some;"
    " for a new socket the limit may also be the context's MAX_SOCKETS",
    ENFILE: "no more descriptors on this whole machine: raise fs.file-max",
    Errno.ENOBUFS: "the system has no memory left for the network",
    ENOMEM: "no more memory: send smaller messages, lower SNDHWM and RCVHWM, or raise the limit"
    " with ulimit -v",
    EINTR: "a signal broke the call off",
}


def strerror(errno: int) -> str:
    """Say in a few words what an errno, the system's or ZeroMQ's own, means. Raises nothing."""
    return _MEANINGS.get(errno) or os.strerror(errno)


_last = 0


def zmq_errno() -> int:
    """The errno of the last error that a call of this package met, in any greenlet; 0 if none did.

    An exception's own ``errno`` is better: another greenlet's error may have come in between.
    """
    return _last


class ZMQBaseError(Exception):
    """What all errors of this package have in common."""


class ZMQError(ZMQBaseError):
    """A call to ZeroMQ failed.

    ``errno``, an int, says why: compare it with the members of `Errno`, or with the standard module
    ``errno``; where none is given it is `zmq_errno`'s. ``strerror``, a str, is the message: ``msg``
    or else what the errno means. What is no int in the errno's place is taken for the message, and
    ``errno`` is then None.
    """

    # The defaults also keep both in __dict__, where pickle finds them, when OSError has such slots.
    errno: int | None = None
    strerror: str = ""

    def __init__(self, errno: int | str | None = None, msg: str | None = None) -> None:
        number = _last if errno is None else errno
        self.errno = number if isinstance(number, int) else None
        if msg is None:
            msg = strerror(number) if isinstance(number, int) else str(number)
        self.strerror = msg

    def __str__(self) -> str:
        return self.strerror

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.strerror!r})"


class Again(ZMQError):
    """What was asked for could not be done now (``NOBLOCK``), or not within the time allowed.

    The errno is EAGAIN, whatever is given in its place.
    """

    def __init__(self, errno: int | str | None = None, msg: str | None = None) -> None:
        super().__init__(Errno.EAGAIN, msg)


class ContextTerminated(ZMQError):
    """The context was terminated, before the call or during it.

    The errno is ETERM, whatever is given in its place.
    """

    def __init__(self, errno: int | str | None = None, msg: str | None = None) -> None:
        super().__init__(Errno.ETERM, msg)


class InterruptedSystemCall(ZMQError, InterruptedError):
    """A signal broke the call off. The C core tries again by itself, so this is rarely seen.

    The errno is EINTR, whatever is given in its place.
    """

    strerror: str  # for type checkers: OSError's may be None

    def __init__(self, errno: int | str | None = None, msg: str | None = None) -> None:
        super().__init__(EINTR, msg)


class ZMQBindError(ZMQBaseError):
    """``bind_to_random_port`` found no free port."""


class NotDone(ZMQBaseError):
    """``MessageTracker.wait`` ran out of time: ZeroMQ is still using the message."""


class ZMQVersionError(NotImplementedError):
    """The libzmq at hand is too old, or too plain, for what was asked.

    ``msg`` names what was asked for, ``min_version`` is what it needs ("4.3.5"), and ``version`` is
    what there is: libzmq's, unless whoever raised this says otherwise.
    """

    _there: ClassVar[str] = ""  # set by _libzmq.py, which can ask libzmq

    def __init__(self, min_version: str, msg: str = "Feature", version: str = "") -> None:
        super().__init__(min_version, msg, version)
        self.min_version = min_version
        self.msg = msg
        self.version = version or self._there

    def __str__(self) -> str:
        have = f", have {self.version}" if self.version else ""
        return f"{self.msg} requires libzmq >= {self.min_version}{have}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class DraftFDWarning(RuntimeWarning):
    """A thread-safe draft socket (SERVER, CLIENT, RADIO, ...) was asked for its descriptor."""

    def __init__(self, msg: str = "") -> None:
        super().__init__(
            msg or "thread-safe draft sockets have no descriptor of their own: this is that of a poller"
        )


class ContextClosed(ContextTerminated, RuntimeError):
    """A context that has ended was asked for something: a RuntimeError too, as elsewhere.

    The errno is the one given.
    """

    def __init__(self, errno: int, msg: str | None = None) -> None:
        super().__init__(errno, msg)
        self.errno = errno


class NoDrafts(ZMQError, RuntimeError):
    """libzmq, or this package, was built without its draft API; a RuntimeError too, as elsewhere."""

    def __init__(self, errno: int | str | None = None, msg: str | None = None) -> None:
        super().__init__(Errno.ENOTSUP, msg)


def no_drafts(about: str) -> NoDrafts:
    """Make the exception for what needs the draft API where there is none. about: the thing asked for."""
    return NoDrafts(
        msg=f"{strerror(Errno.ENOTSUP)} ({about}): it is of libzmq's draft API, and libzmq or this "
        "package was built without that; build both with -DENABLE_DRAFTS=ON"
    )


_CLASSES: Final[dict[int, type[ZMQError]]] = {
    Errno.EAGAIN: Again,
    Errno.ETERM: ContextTerminated,
    EINTR: InterruptedSystemCall,
}


def error(errno: int, about: str = "", advice: str | None = None) -> ZMQError:
    """Make, without raising it, the exception for an errno.

    ``about`` names the thing concerned, "tcp://*:5555" or "option LINGER", for the message: it says
    what is wrong, with what, and how to mend it; that is ``advice``, or else what the errno's usual
    causes call for.
    """
    global _last
    _last = errno
    about = f" ({about})" if about else ""
    mend = advice or _ADVICE.get(errno)
    return _CLASSES.get(errno, ZMQError)(errno, strerror(errno) + about + (f": {mend}" if mend else ""))


def check(rc: int, about: str = "", advice: str | None = None) -> int:
    """Hand through the result of a function of the C core, or raise what it means.

    Zero or more is a success, less is an errno, negated. ``about`` and ``advice`` are as for `error`. Raises
    `ZMQError`, or the subclass that the errno has.
    """
    if rc >= 0:
        return rc
    raise error(-rc, about, advice)
