"""`Parts`: what a Socket keeps of messages that are sent or received part by part.

`_messages.py` builds on it. The parts that a greenlet has yet to send, or to take, are its own: they lie
under its `Helper`, and go when it goes.

A signal handler may use the same Socket on the same greenlet, and Ctrl-C may come, between any two lines; so
each is put there, or taken, in one step.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from ._helper import Helper, current
from ._native import SocketBase, lib


class Unsent(list[Any]):
    """The parts of a message that were given, but for the last, and go with it.

    flags: of the call that gave the first. was_tried: the last one was given too, and there was no room; it
    may be given again.
    """

    __slots__ = ("flags", "was_tried")

    def __init__(self, parts: list[Any], flags: int) -> None:
        super().__init__(parts)
        self.flags = flags
        self.was_tried = False


class Parts(SocketBase):
    """The part of `Socket` that knows which greenlets are in the middle of a message; see there."""

    __slots__ = ()
    # By greenlet, without those that have none: the parts that it has yet to take, and those, but for the
    # last, that it has yet to send.
    _unread: dict[ref[Helper], list[Any]]
    _unsent: dict[ref[Helper], Unsent]
    _ptr: Any  # the C core's socket

    def _forget_parts(self) -> None:
        self._unread.clear()
        self._unsent.clear()

    def _in_message(self) -> bool:
        return bool(self._unread) and ref(current()) in self._unread

    def _take_unread(self) -> list[Any]:
        return self._unread.pop(ref(current()), []) if self._unread else []

    def _take_unsent(self) -> Unsent | None:
        return self._unsent.pop(ref(current()), None) if self._unsent else None

    def _must_read_first(self) -> bool:
        """Whether the current greenlet may not send, as it has parts to take of what the other end said (REQ,
        REP)."""
        return self._in_message() and lib.gzh_socket_order(self._ptr) == lib.GZH_BY_TURNS

    def _has_begun(self) -> bool:
        """Whether the current greenlet is in the middle of a message that it sends."""
        begun = self._unsent.get(ref(current())) if self._unsent else None
        return begun is not None and not begun.was_tried

    def _put_unread(self, parts: list[Any]) -> None:
        self._unread[self._key()] = parts

    def _put_unsent(self, parts: list[Any], flags: int) -> None:
        key = ref(current())
        try:
            self._unsent[key].extend(parts)  # (Between the two steps of this no handler comes.)
        except KeyError:
            self._unsent[self._key()] = Unsent(parts, flags)

    def _put_unsent_back(self, begun: Unsent) -> None:
        begun.was_tried = True
        self._unsent[self._key()] = begun

    def _key(self) -> ref[Helper]:
        """The current greenlet, until it goes; and then what is kept of it goes."""
        this = ref(self)  # nothing that leads to the dicts: parts go at once with a socket that is dropped

        def gone(key: ref[Helper]) -> None:
            if (socket := this()) is not None:
                socket._unread.pop(key, None)
                socket._unsent.pop(key, None)

        return ref(current(), gone)
