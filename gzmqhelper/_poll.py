"""`Poller` and `select`: one wait for several sockets, and for descriptors that are not ZeroMQ's.

Users call them, from any greenlet of any thread. Sockets are the C core's to wait for (csrc/poll.c),
other descriptors the hub's (`_helper.Descriptors`); both end the same wait. What is ready is always
seen by looking, after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from operator import length_hint
from typing import Any, Final

from . import errors
from ._helper import LINGERS, YIELD, Descriptors, after_others, check, linger, turn, wait
from ._native import ffi, lib
from ._socket import Socket
from .constants import NOBLOCK, POLLERR, POLLIN, POLLOUT, Errno

__all__ = ["Poller", "select", "zmq_poll"]

_EAGAIN: Final = -int(Errno.EAGAIN)
_ITEMS: Final = ffi.typeof("gzh_poll_item[]")
_ITEM_BYTES: Final = ffi.sizeof("gzh_poll_item")
_poll_look = lib.gzh_poll_look
_poll_linger = lib.gzh_poll_linger


class _Plan:
    """What one poll or many ask for, ready for C. Never changes, so any number may use it at once."""

    def __init__(self, wanted: Iterable[tuple[Any, int]]) -> None:
        self.wanted = tuple(wanted)
        self.count = len(self.wanted)
        self.items = ffi.new(_ITEMS, self.count)
        self.sockets: list[tuple[int, Socket]] = []
        self.read: list[tuple[int, Socket]] = []  # those among them that are asked for messages
        self.others: list[int] = []
        for index, (thing, flags) in enumerate(self.wanted):
            self.items[index].mask = flags
            if isinstance(thing, Socket):
                self.items[index].socket = thing._ptr
                self.sockets.append((index, thing))
                if flags & POLLIN:
                    self.read.append((index, thing))
            elif hasattr(type(thing), "underlying"):  # its descriptor is ready at other times than it
                raise TypeError(f"a socket of another binding: give Socket.shadow(it) in place of {thing!r}")
            else:
                self.others.append(index)
        # Of sockets, of which messages are all that is asked for: one may linger for those.
        only_messages = not self.others and all(flags == POLLIN for _, flags in self.wanted)
        self.lingers = LINGERS if only_messages and self.count else 0

    def poll(self, seconds: float | None) -> list[tuple[int, Any, int]]:
        """Wait; the index of each that is ready, its socket or descriptor, and its events.

        seconds: None is for ever; 0 only looks.
        """
        count = self.count
        items = ffi.new(_ITEMS, count)
        ffi.memmove(items, self.items, count * _ITEM_BYTES)
        for index, socket in self.sockets:
            if socket._closed:  # since the plan was made: a shadow leads elsewhere from then on
                raise errors.error(Errno.ENOTSOCK, f"poll on {socket!r}")
            if socket._unread and socket._must_read_first():
                items[index].mask &= ~POLLOUT
        others = []
        for index in self.others:
            items[index].fd = _descriptor_of(self.wanted[index][0])
            others.append((items[index].fd, items[index].mask))
        # Of nothing there will never be news.
        only_look = not (count or seconds)
        found = self._wait(items, others, seconds, only_look)
        ready: list[tuple[int, Any, int]] = []
        for index in range(count if found else 0):
            item = items[index]
            if events := item.events:
                ready.append((index, self.wanted[index][0] if item.socket else item.fd, events))
                if len(ready) == found:
                    break
        return ready

    def _wait(self, items: Any, others: list[tuple[int, int]], seconds: float | None, only_look: bool) -> int:
        """Fill in the events; how many have some."""
        flags = 0 if seconds is None or seconds > 0 else NOBLOCK
        deadline = None if seconds is None else time.monotonic() + seconds
        beside = Descriptors(others) if others else None
        woken = False
        lingers = self.lingers
        found = self._look(items, flags)
        if not (found or flags or only_look):
            found = after_others(seconds, lambda: self._look(items, flags))
        while not (found or flags or only_look):
            left = None if deadline is None else deadline - time.monotonic()
            if woken:
                # For nothing: by one of gevent's sockets perhaps, which wakes everybody and then closes.
                turn(anyway=True)
                woken = False
            elif lingers and linger(left, _poll_linger, items, self.count):
                lingers -= 1
            else:
                rc = wait(_begin, _end, (items, self, beside is not None), left, beside)
                if rc < 0 and rc != _EAGAIN:
                    check(rc, self._name(items))
                woken = beside is not None
                if deadline is not None and time.monotonic() >= deadline:
                    flags = NOBLOCK
            found = self._look(items, flags)
        return found

    def _look(self, items: Any, flags: int) -> int:
        while (rc := _poll_look(items, self.count, flags)) == YIELD:
            turn()
        check(rc, "" if rc >= 0 else self._name(items))
        # After that: while others ran, or another thread, one of them may have been left something.
        for index, socket in self.read:
            if (length_hint(socket._batch) or socket._unread) and socket._has_unread():
                rc += items[index].events == 0
                items[index].events |= POLLIN
        return int(rc)

    def _name(self, items: Any) -> str:
        """What a poll that failed is about."""
        for index, socket in self.sockets:
            if items[index].events < 0:
                return f"poll on {socket!r}"
        return f"a poll of {self.count}"


def _descriptor_of(thing: Any) -> int:
    if isinstance(thing, int):
        descriptor = int(thing)
    elif hasattr(thing, "fileno"):
        try:
            descriptor = int(thing.fileno())
        except Exception as e:
            raise ValueError(f"fileno() must return a valid descriptor: {thing!r}: {e}") from e
    else:
        raise TypeError(f"expected a Socket, a descriptor, or an object with fileno(): {thing!r}")
    if descriptor < 0:
        raise ValueError(f"not a valid descriptor, perhaps of a file that is closed: {thing!r}")
    return descriptor


# The two halves of the wait. ask: items, what for, and whether any wake-up is reason enough to look.


def _begin(ask: tuple[Any, _Plan, bool], companion: Any) -> int:
    items, plan, _ = ask
    return int(lib.gzh_poll_begin(items, plan.count, companion))


def _end(ask: tuple[Any, _Plan, bool], companion: Any, give_up: bool) -> int:
    items, plan, any_wakeup = ask
    return int(lib.gzh_poll_end(items, plan.count, companion, give_up or any_wakeup))


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None or milliseconds < 0 else milliseconds / 1000


class Poller:
    """Waits until any of several sockets and descriptors is ready (zmq_poll).

    What is registered is a `Socket`, a descriptor, or an object with ``fileno()``, of which
    `poll` gives the descriptor. Any greenlet of any thread may use a Poller, several at a time;
    a poll goes by what was registered when it began.

    A descriptor that is not ZeroMQ's must not be closed while somebody polls it, as the system may
    give its number to another file, unless it belongs to one of gevent's sockets. A Socket may.
    """

    def __init__(self) -> None:
        self._map: dict[Any, int] = {}
        # A place for the plan, and a new place after each change: what another thread puts into the
        # old one is never seen.
        self._plan: list[_Plan] = []

    @property
    def sockets(self) -> list[tuple[Any, int]]:
        """What is registered, and its flags."""
        return list(self._map.items())

    def __contains__(self, socket: Any) -> bool:
        return socket in self._map

    def register(self, socket: Any, flags: int = POLLIN | POLLOUT) -> None:
        """Poll this too, or for other flags than before.

        socket: a `Socket`, a descriptor, or an object with ``fileno()``. flags: `POLLIN`, `POLLOUT`,
        and for descriptors `POLLPRI`; `POLLERR` of a descriptor is told without asking. 0: do not
        poll it any more.
        """
        if flags:
            self._map[socket] = flags
        else:
            self._map.pop(socket, None)
        self._plan = []

    def modify(self, socket: Any, flags: int = POLLIN | POLLOUT) -> None:
        """The same as `register`."""
        self.register(socket, flags)

    def unregister(self, socket: Any) -> None:
        """Do not poll it any more. Raises KeyError if it was not registered."""
        del self._map[socket]
        self._plan = []

    def poll(self, timeout: float | None = None) -> list[tuple[Any, int]]:
        """Wait until something is ready (zmq_poll); other greenlets run meanwhile.

        timeout: milliseconds; None or negative for ever; 0 only looks. Returns pairs, of which
        ``dict`` makes a mapping: a `Socket`, or else a descriptor, and its events; none when the time
        has passed, or if nothing is registered and there is no timeout.

        Raises `ZMQError`: ENOTSOCK if one of the sockets is, or meanwhile gets, closed,
        `ContextTerminated` if its context ends, ValueError or TypeError for what is no descriptor.
        """
        place = self._plan
        if not place:
            place.append(_Plan(self._map.items()))
        return [(thing, events) for _, thing, events in place[0].poll(_seconds(timeout))]

    @staticmethod
    def dispatch(
        handlers: Mapping[Any, Callable[[Any], object] | tuple[int, Callable[[Any], object]]],
        timeout: float | None = None,
        on_timeout: Callable[[], object] | None = None,
    ) -> int:
        """Wait until something is ready, and call its handler; the same for all that is ready then.

        handlers: by `Socket`, descriptor, or object with ``fileno()``: what to call, with that, when
        it is ready for `POLLIN`; or a pair, flags and what to call. They are called in the order of
        the mapping; an exception ends it. timeout: seconds, as everywhere but in `poll`; None is for
        ever. on_timeout is called when the time has passed. Returns how many handlers were called.
        Raises what `poll` does.
        """
        calls = []
        wanted = []
        for thing, what in handlers.items():
            flags, handler = what if isinstance(what, tuple) else (int(POLLIN), what)
            calls.append((handler, thing))
            wanted.append((thing, flags))
        ready = _Plan(wanted).poll(timeout)
        for index, _, _ in ready:
            handler, thing = calls[index]
            handler(thing)
        if not ready and on_timeout is not None:
            on_timeout()
        return len(ready)


def zmq_poll(sockets: Iterable[tuple[Any, int]], timeout: float | None = -1) -> list[tuple[Any, int]]:
    """`Poller.poll` of pairs, each a `Socket` or descriptor and its flags. timeout: milliseconds."""
    return [(thing, events) for _, thing, events in _Plan(sockets).poll(_seconds(timeout))]


def select(
    rlist: Iterable[Any], wlist: Iterable[Any], xlist: Iterable[Any], timeout: float | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """What the standard library's ``select.select`` does, for Sockets too (zmq_poll).

    rlist, wlist, xlist: what is to be ready for `POLLIN`, for `POLLOUT`, or to have failed; a
    `Socket`, a descriptor, or an object with ``fileno()``, of which the descriptor is returned.
    timeout: seconds; None or negative for ever. Returns the same three lists, of those that are.
    Raises what `Poller.poll` does.
    """
    wanted: dict[Any, int] = {}
    for things, flag in ((rlist, POLLIN), (wlist, POLLOUT), (xlist, POLLERR)):
        for thing in things:
            wanted[thing] = wanted.get(thing, 0) | flag
    ready = _Plan(wanted.items()).poll(None if timeout is None or timeout < 0 else timeout)
    return (
        [thing for _, thing, events in ready if events & POLLIN],
        [thing for _, thing, events in ready if events & POLLOUT],
        [thing for _, thing, events in ready if events & POLLERR],
    )
