"""The narrow waist: each call of this package that has to wait goes through `wait`, here, but for a receive,
which goes straight to what makes all waits, in C (csrc/base_wait.c).

This is the only module that gives a request to a companion, waits on a completion pipe (with
`gevent.socket.wait_read`; with poll(2) in an OS thread that has no hub, and so no other greenlet), takes a
request back, or knows gevent's hub. `_messages.py`, `_socket.py`, `_context.py`, `_poll.py`, `_proxy.py` and
`_tracker.py` enter, with two functions of the C core: one that begins and one that ends.

Guarantees: when `wait` returns or raises, the request is out of every queue and the greenlet's
companion is free again, or has been left to a call that it cannot leave. An exception from outside
(`kill`, `gevent.Timeout`, Ctrl-C) wins over a result; our own timeout loses to one.

This code assumes that a greenlet never changes its OS thread, and that Python code of another
greenlet runs only where this one waits; Python code of the same greenlet (a signal handler, a
finalizer) may run between any two lines.
"""

from __future__ import annotations

import os
import select
import sys
from collections import deque
from collections.abc import Callable, Iterable
from errno import EBADF
from math import ceil
from types import TracebackType
from typing import Any, Final, NoReturn
from weakref import ref

from gevent import Greenlet, Timeout, get_hub, getcurrent, sleep
from gevent._hub_local import get_hub_if_exists  # all else that tells of a hub makes one
from gevent.exceptions import BlockingSwitchOutError
from gevent.hub import MAIN_THREAD_IDENT, Waiter  # type: ignore[attr-defined]  # not in its stubs
from gevent.socket import wait_read as wait_read  # for C, which waits with it

from . import errors
from ._arguments import integer
from ._native import HelperBase, TurnsBase, ffi, lib, waits_as
from ._original import original
from ._pins import let_go
from .constants import POLLIN, POLLOUT, POLLPRI, Errno

_thread_number = original("_thread", "get_ident")
_close = original("os", "close")  # at once: gevent's closes when its loop has looked
_poller = original("select", "poll")

WAIT: Final[int] = lib.GZH_WAIT
YIELD: Final[int] = lib.GZH_YIELD
FORKED: Final[int] = lib.GZH_FORKED
NO_THREAD: Final[int] = lib.GZH_NO_THREAD

_descriptor_of = lib.gzh_companion_fd
_socket_linger = lib.gzh_socket_linger

# How long the greenlets of a hub may use the library before a blocking call makes the hub turn (on a clock
# that ticks every 4 ms, so until its next tick), and how long each, by turns, while several do. (The latter
# is some forty messages.)
_SLICE: Final = 3_000_000
_SHARE: Final = 20_000
# How long one stays awake for an answer; those by loopback take half of it. And after how many of them
# one waits all the same, so that the hub turns: about once in a millisecond. (It dozes only if its hub has
# turned in the last two milliseconds.)
_MOMENT: Final = 100_000
_ANSWERS: Final = 16
# How often one that waits for a message may try that, before it waits; and in how many seconds, at least.
LINGERS: Final[int] = lib.GZH_LINGERS
_LONG_ENOUGH: Final = 0.005
# To so many others that wait in this library one may give way as if one had not stayed: of more, that would
# cost as much processor time as all else. And how often in a row: what we never bring ourselves is for
# greenlets that wait elsewhere.
_FEW: Final = 3
_FOREIGN: Final = 16
# Before a poll that finds nothing so many others, at most, are let run.
_READY: Final = 16
# With one processor the answer could not come meanwhile.
_MAY_LINGER: Final = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
) > 1


def check(rc: int, about: str = "", advice: str | None = None) -> int:
    """`errors.check`, for the codes that are no errno too."""
    if rc >= 0:
        return rc
    if rc == FORKED:
        raise errors.ZMQError(
            Errno.ENOTSOCK,
            f"Made before a fork ({about}): it belongs to the parent process; "
            "make a new context and new sockets in the child",
        )
    if rc == NO_THREAD:
        raise errors.ZMQError(
            Errno.EMTHREAD,
            f"No thread for this ({about}): the system gave no new thread, "
            "raise the limit with ulimit -u (or the container's limit of processes)",
        )
    return errors.check(rc, about, advice)


# What libev and libuv call them, and epoll.
_READ: Final = 1
_WRITE: Final = 2
_PRI: Final = 2
try:
    _epoll: Any = original("select", "epoll")
except AttributeError:
    _epoll = None


class Helper(HelperBase):
    """A greenlet's end of the arrangement with its companion, a thread in C.

    A greenlet gets one by itself when it first has to wait. `helper` is the way to have it earlier,
    and to give it back earlier. Belongs to the greenlet that made it; another may not use it.
    """

    # Each greenlet that waits has one: a __dict__ would be a third of what it takes.
    __slots__ = ("__weakref__", "_greenlet", "_nesting", "_thread")

    def __init__(self) -> None:
        self._companion: Any = None
        self._greenlet = ref(getcurrent())
        self._may_wait = not on_hub()
        self._turns = turns_here()  # it never changes its thread
        self._thread = _thread_number()
        self._nesting = 0
        _all.add(ref(self, _all.discard))

    @staticmethod
    def current() -> Helper | None:
        """The helper of the current greenlet; None if it has none yet."""
        return getcurrent().__dict__.get(_OWN)

    @staticmethod
    def limit(threads: int) -> int:
        """Set how many companions of this process may live before a new one has to do without a thread.

        It gets its thread when it has a call of its own to make, or to go on watch; where many greenlets
        wait on sockets few ever have. 256 unless set; 0: each thread is started when it has work. Those
        that live stay. Any thread may call this. Returns the limit that was; raises ValueError if
        ``threads`` is negative.
        """
        if integer("threads", threads) < 0:
            raise ValueError(f"Helper.limit: threads must not be negative, got {threads!r}")
        return int(lib.gzh_companion_limit(threads))

    def start(self) -> None:
        """Give the greenlet its companion now.

        Raises `ZMQError`: EMFILE if there is no descriptor for it, EMTHREAD if there is no thread.
        """
        if self._companion is None:
            self._companion = open_companion()

    def _start_here(self) -> None:
        """The same, and C can wait with it."""
        self.start()
        self._descriptor = _descriptor_of(self._companion)
        self._address = int(ffi.cast("size_t", self._companion))  # last, as it says that both are there

    def close(self) -> None:
        """Give the companion up: it is parked for the next greenlet, or ends. Safe to say twice.

        Does nothing while the greenlet waits on it (when a signal handler says this).
        """
        if self._busy:
            return
        self._address = 0
        companion, self._companion = self._companion, None
        if companion is not None:
            lib.gzh_companion_close(companion)

    @property
    def number(self) -> int | None:
        """A number that tells companions apart, counted from 1; None without one."""
        return None if self._companion is None else lib.gzh_companion_number(self._companion)

    def __enter__(self) -> Helper:
        self.start()
        self._nesting += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._nesting -= 1
        if self._nesting == 0:
            self.close()

    def __repr__(self) -> str:
        number = self.number
        return f"<Helper, {'no companion' if number is None else f'companion {number}'}>"

    # A finalizer may run anywhere, also while modules are taken apart: it must not look names up.
    def __del__(self, _close: Callable[[Any], None] = lib.gzh_companion_close) -> None:
        # (Another finalizer of the same moment may close it again.)
        companion, self._companion, self._address = self._companion, None, 0
        if companion is not None:
            _close(companion)


# For `_report.py`. Of built-in types, so that a finalizer may change it anywhere.
_all: Final[set[ref[Helper]]] = set()


def helpers() -> list[Helper]:
    """Those of all greenlets of all OS threads, at this moment."""
    return [helper for known in list(_all) if (helper := known()) is not None]


# A greenlet's helper is an attribute of the greenlet: gevent.local would take four times as long to find
# it, once in each wait.
_OWN: Final = "_gzmqhelper"


def current() -> Helper:
    """The helper of the current greenlet, made if need be; without its companion, if new."""
    greenlet = getcurrent()
    return greenlet.__dict__.get(_OWN) or _first(greenlet)


def _first(greenlet: Any) -> Helper:
    made = Helper()
    helper: Helper = greenlet.__dict__.setdefault(_OWN, made)  # a signal handler may have been here
    if helper is made and isinstance(greenlet, Greenlet):
        greenlet.rawlink(_has_ended)
    return helper


def _has_ended(greenlet: Any) -> None:
    """It may be kept, for its value; its helper is not."""
    greenlet.__dict__.pop(_OWN, None)


def helper() -> Helper:
    """The helper of the current greenlet, for ``with helper() as h:``.

    Entering gives the greenlet its companion, leaving gives it up; within another such ``with`` of
    the same greenlet it is the same one. Raises on entering what `Helper.start` raises.
    """
    return current()


def open_companion() -> Any:
    out = ffi.new("gzh_companion **")
    try:
        check(lib.gzh_companion_open(out), "a companion: a thread and a descriptor")
        return out[0]
    except BaseException:  # Ctrl-C
        if out[0]:
            lib.gzh_companion_close(out[0])
        raise


def on_hub() -> bool:
    """Whether this is the hub's own greenlet, which may not wait."""
    return getcurrent() is get_hub_if_exists()


def may_not_wait() -> NoReturn:
    raise BlockingSwitchOutError(
        "a ZeroMQ call that must wait was made on the hub's own greenlet (a callback, a signal "
        "handler or a finalizer), which may not wait: use NOBLOCK, or gevent.spawn"
    )


class Expired(BaseException):
    """Our own timeout; never seen outside a wait."""

    __slots__ = ("over",)  # True, and there, when its wait has ended


def wait_alone(pipe: int, seconds: float | None = None, expired: Any = None) -> None:
    """What `wait_read` does, for a thread that has no greenlets: it makes no hub, whose descriptors gevent
    would keep when the thread ends."""
    if has_hub():
        wait_read(pipe, seconds, expired)
    else:
        _wait_for_any([(pipe, POLLIN)], seconds, expired)


def has_hub() -> bool:
    """Whether this thread is one of greenlets: it has a hub, or is the main one, whose signal handlers may
    begin some at any time."""
    turns = turns_here()
    if turns.alone and get_hub_if_exists() is not None:
        turns.alone = False
    return not turns.alone


_LONGEST: Final = 1_000_000  # seconds: poll(2) counts milliseconds, in an int
_SYSTEM_EVENTS: Final = ((POLLIN, select.POLLIN), (POLLOUT, select.POLLOUT), (POLLPRI, select.POLLPRI))


def _wait_for_any(wanted: Iterable[tuple[int, int]], seconds: float | None, expired: Any) -> None:
    poller = _poller()
    events: dict[int, int] = {}  # as one may be there more than once
    for descriptor, mask in wanted:
        for zmq, system in _SYSTEM_EVENTS:
            events[descriptor] = events.get(descriptor, 0) | (system if mask & zmq else 0)
    for descriptor, mask in events.items():
        poller.register(descriptor, mask)
    # (One that is longer is a wake-up, as those for nothing are.)
    ready = poller.poll(None if seconds is None else ceil(min(seconds, _LONGEST) * 1000))
    if not ready and seconds is not None and seconds <= _LONGEST:
        raise expired


def wait(
    begin: Callable[[Any, Any], int],
    end: Callable[[Any, Any, bool], int],
    ask: Any = None,
    timeout: float | None = None,
    others: Descriptors | None = None,
) -> int:
    """Make a call that cannot be completed at once, and wait for its result.

    begin(ask, companion) asks, and answers WAIT if the answer is yet to come; end(ask, companion,
    give_up) looks after a wake-up, and answers WAIT if that was not it. timeout: seconds, or None.
    others: what else is waited for; each of them is a wake-up.
    The result is end's or begin's: -EAGAIN when the time has passed.
    """
    return current()._wait(begin, end, ask, timeout, others)


class Descriptors:
    """Descriptors that are not ZeroMQ's, for `wait` to wait for beside the completion pipe.

    wanted: each with the `POLLIN`, ... to wait for; one that hangs up or fails is always a wake-up.
    Whether there is something must be looked at afterwards, as it must after gevent's `wait_read`.
    """

    def __init__(self, wanted: Iterable[tuple[int, int]]) -> None:
        self._watched: list[tuple[int, int]] = []
        self._odd: dict[int, int] = {}  # what the hub has no watchers for, and epoll's masks
        self._wanted = [*wanted]
        for descriptor, mask in self._wanted:
            events = (_READ if mask & POLLIN else 0) | (_WRITE if mask & POLLOUT else 0)
            if events:
                self._watched.append((descriptor, events))
            if mask & POLLPRI or not events:
                self._odd[descriptor] = self._odd.get(descriptor, 0) | (_PRI if mask & POLLPRI else 0)

    def __call__(self, pipe: int, seconds: float | None = None, expired: Any = None) -> None:
        """What `wait_read` does, for the pipe and all of them: its place in `wait` is here."""
        if not has_hub():
            _wait_for_any([(pipe, POLLIN), *self._wanted], seconds, expired)
            return
        hub = get_hub()
        waiter: Waiter[None] = Waiter(hub)
        watchers: list[Any] = []
        odd = None
        try:
            try:
                watched = [(pipe, _READ), *self._watched]
                if self._odd:
                    odd = self._open_odd()
                    watched.append((odd.fileno(), _READ))
                for descriptor, events in watched:
                    watchers.append(hub.loop.io(descriptor, events))
                    watchers[-1].start(waiter.switch, None)
            except OSError as e:
                if e.errno == EBADF:
                    return  # closed by another, or about to be: looking at it will tell
                raise errors.error(e.errno or 0, "poll on a descriptor") from None
            with Timeout(seconds, expired):
                waiter.get()
        finally:
            for watcher in watchers:
                watcher.stop()
                watcher.close()
            if odd is not None:
                odd.close()

    def _open_odd(self) -> Any:
        """A set of those, which the hub has a watcher for."""
        if _epoll is None:
            raise errors.error(Errno.ENOTSUP, "POLLPRI, or POLLERR alone, where there is no epoll")
        odd = _epoll()
        try:
            for descriptor, mask in self._odd.items():
                try:
                    odd.register(descriptor, mask)
                except PermissionError:
                    pass  # a file on a disk: nothing ever happens to it
        except BaseException:
            odd.close()
            raise
        return odd


_ready = -1  # a descriptor that is always readable


def _ready_descriptor() -> int:
    global _ready
    if _ready == -1:
        try:
            _ready, other = os.pipe()
        except OSError as e:
            raise errors.error(e.errno or 0, "a descriptor to yield with") from None
        os.write(other, b"\0")
        _close(other)
    return _ready


def _begin_slice(nanoseconds: int) -> None:
    let_go()
    lib.gzh_slice(nanoseconds)


class _Turns(TurnsBase):
    """Whether this OS thread's hub has turned since its greenlets were given a slice of time.

    To turn is to look at the descriptors. A callback that runs is no sign of it: gevent runs them by
    the fifty, and those that they add, before it looks; so greenlets that only sleep(0) in turn would
    keep timers and sockets waiting for a quarter of a second.
    """

    def __init__(self) -> None:
        self.hub: Any = None
        self.turned = True
        self.alone = _thread_number() != _main  # until it has a hub
        # Of `linger`: how many came in time; how often in a row none did; how often it was for the hub, and
        # not brought by us.
        self.answers = self.in_vain = self.gave_way = 0
        # Of `after_others`: how often in a row it brought nothing; and how often it is not to be tried.
        self.fruitless = self.pass_by = 0

    def enter(self, hub: Any) -> None:
        self._io = hub.loop.io(_ready_descriptor(), 1)
        self._check = hub.loop.check(ref=False)
        self._line: deque[Waiter[None]] = deque()
        self.hub, self.turned = hub, True

    def begin(self) -> None:
        if self.turned:
            self.turned = False
            self._check.start(self._mark)
        _begin_slice(_SHARE if self._line else _SLICE)

    def wait(self) -> None:
        # Not each in a wait_read: of several on one descriptor, libuv's loop wakes some four times
        # as often as others.
        waiter: Waiter[None] = Waiter(self.hub)
        self._line.append(waiter)
        if not self._io.active:
            self._io.start(self._go_on, _SLICE)
        try:
            waiter.get()
        except BaseException:
            if waiter in self._line:  # not where all goes well: the line may be long
                self._line.remove(waiter)
            raise


# An OS thread's own, patched or not.
_thread = original("_thread", "_local")()


def turns_here() -> _Turns:
    try:
        turns: _Turns = _thread.turns
    except AttributeError:
        turns = _thread.turns = _Turns()
    return turns


# Which thread handles signals; another may be the first to import this.
_main = MAIN_THREAD_IDENT
_parents: Final[list[_Turns]] = []


def _in_child() -> None:
    """The copies of greenlets that waited wait for ever: they keep the count that they are in."""
    global _main
    _main = _thread_number()
    if not hasattr(_thread, "turns"):
        return
    # Kept: to free its watchers now, before gevent's loop is told of the fork, is a crash on libuv.
    _parents.append(_thread.turns)
    del _thread.turns
    for helper in helpers():
        if helper._thread == _thread_number():
            helper._turns = turns_here()


os.register_at_fork(after_in_child=_in_child)


def linger(seconds: float | None, look: Callable[..., int], *what: Any) -> bool:
    """Wait on this thread for the moment that a quick message takes, where its hub has nothing else to do
    and the caller has time: seconds, None is for ever. look: lib.gzh_socket_linger, of a socket, or
    lib.gzh_poll_linger, of several.

    After something was sent on the socket, awake; else, as to stay awake for what just comes would cost a
    processor, asleep, for a millisecond at most. True: libzmq has news, so that the call may be tried again;
    False: wait. A wait goes through three threads, which takes longer than most answers do, and where many
    messages come, and now and then none, as much processor time as all else.

    Other greenlets may wait meanwhile, if this one is awake: what the hub is told of for one of them ends it
    at once. So of many that wait hardly any stays, and soon few try.
    """
    turns = turns_here()
    if not _MAY_LINGER or (seconds is not None and seconds <= _LONG_ENOUGH):
        return False
    if turns.skip:
        turns.skip -= 1
        return False
    if turns.answers >= _ANSWERS:
        turns.answers = 0
        return False
    hub: Any = get_hub_if_exists()
    descriptor = -1 if hub is None else hub.loop.fileno()  # which poll(2) takes for none
    if descriptor is None:  # libev's select and poll have none, so what the hub waits for could not be seen
        return False
    if hub is not None and (hub.loop._callbacks or getcurrent() is hub):
        return False
    others = turns.waiting
    # A loop's descriptor tells nothing of what they have begun to wait for since it slept last; but libev's
    # keeps a companion's from one wait to the next, libuv's none.
    if others and hub is not None and "libuv" in type(hub.loop).__module__:
        turns.skip = 16
        return False
    rc = look(*what, descriptor, _MOMENT, not others)
    if rc == lib.GZH_NEWS or (rc == lib.GZH_HELPED and others):
        turns.gave_way = 0
        turns.in_vain = max(turns.in_vain - 1, 0) if others else 0
        turns.answers += rc == lib.GZH_NEWS
    elif rc == lib.GZH_GAVE_WAY and 0 < others <= _FEW and turns.gave_way < _FOREIGN:
        turns.gave_way += 1  # whoever waits is served as soon
    elif rc >= 0:
        turns.in_vain = min(turns.in_vain + 1, 9 if others else 6)
        turns.skip = 1 << turns.in_vain
    return bool(rc == lib.GZH_NEWS)


def after_others(seconds: float | None, look: Callable[[], int]) -> int:
    """Let those greenlets of this hub run that are ready to, if the caller has time: seconds, None is for
    ever; and look again. What look says.

    What is waited for may come of what they do, and needs no other thread then. 0: there are none; or too
    many, as all of them would come before a timer and the network; or the last times were in vain.
    """
    turns = turns_here()
    hub: Any = get_hub_if_exists()
    if hub is None or (seconds is not None and seconds <= _LONG_ENOUGH):
        return 0
    if not 0 < len(hub.loop._callbacks) <= _READY or getcurrent() is hub:
        return 0
    if turns.pass_by:
        turns.pass_by -= 1
        return 0
    sleep(0)
    found = look()
    turns.fruitless = 0 if found else min(turns.fruitless + 1, 6)
    turns.pass_by = (1 << turns.fruitless) - 1
    return found


def linger_for(socket: Any, seconds: float | None = None) -> bool:
    """`linger`, for a message of one socket; C asks this for a receive without a timeout."""
    return linger(seconds, _socket_linger, socket._ptr)


def hub_state() -> tuple[int, bool]:
    """For another event loop in this OS thread: what is readable when the hub has something to do, and
    whether it has something to do already."""
    loop: Any = get_hub().loop
    return loop.fileno(), bool(loop._callbacks)


def turn(anyway: bool = False) -> None:
    """Let the hub turn, unless it has: what a blocking call does on YIELD, before it tries again.

    anyway: even if it has.
    """
    turns = turns_here()
    if not has_hub():
        _begin_slice(_SLICE)
        return
    hub = get_hub()
    if turns.hub is not hub:
        turns.enter(hub)
    if (anyway or not turns.turned) and getcurrent() is not hub:
        turns.wait()
    turns.begin()


def leave_hub() -> None:
    """This OS thread has no more use for its hub, if it has one, and the greenlets in it."""
    if (hub := get_hub_if_exists()) is not None:
        hub.destroy(destroy_loop=True)


waits_as(sys.modules[__name__])
