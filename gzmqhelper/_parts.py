"""`Parts`: what a Socket keeps of messages that are sent or received part by part.

`_messages.py` builds on it. The parts that a greenlet has yet to send, or to take, are its own: they lie
under its `Helper`, and go when it goes.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from ._helper import Helper, current
from ._native import SocketBase


class Kept:
    """What one greenlet has in hand."""

    __slots__ = ("unread", "unsent")
    unread: list[Any]  # the parts that it has yet to take
    unsent: list[Any] | None  # those before the last, which it has yet to send; None: it has begun none

    def __init__(self) -> None:
        self.unread = []
        self.unsent = None


class Parts(SocketBase):
    """The part of `Socket` that knows which greenlets are in the middle of a message; see there."""

    __slots__ = ()
    _partial: dict[ref[Helper], Kept]  # of such greenlets

    def _kept(self) -> Kept | None:
        """The current greenlet's, if it has any."""
        return self._partial.get(ref(current())) if self._partial else None

    def _keep(self) -> Kept:
        helper = current()
        kept = self._partial.get(ref(helper))
        if kept is None:
            kept = self._partial[ref(helper, self._partial.pop)] = Kept()
        return kept

    def _in_message(self) -> bool:
        kept = self._kept()
        return kept is not None and bool(kept.unread)

    def _take_unread(self) -> list[Any]:
        kept = self._kept()
        if kept is None:
            return []
        parts, kept.unread = kept.unread, []
        if kept.unsent is None:
            self._partial.pop(ref(current()), None)
        return parts

    def _take_unsent(self) -> list[Any]:
        kept = self._kept()
        if kept is None:
            return []
        parts, kept.unsent = kept.unsent, None
        if not kept.unread:
            self._partial.pop(ref(current()), None)
        return parts or []

    def _put_unread(self, parts: list[Any]) -> None:
        self._keep().unread = parts
