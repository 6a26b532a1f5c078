"""`Parts`: what a Socket keeps of messages that are sent or received part by part.

`_messages.py` builds on it. The parts that a greenlet has yet to send, or to take, are its own: they lie
in its `Helper`, and go when it goes.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any
from weakref import WeakKeyDictionary, ref

from ._helper import NOTHING_KEPT, Helper, current
from ._native import SocketBase


class Parts(SocketBase):
    """The part of `Socket` that knows which greenlets are in the middle of a message; see there."""

    __slots__ = ()
    _partial: set[ref[Helper]]  # those of such greenlets

    def _in_message(self) -> bool:
        return bool(self._partial and current()._unread.get(self))

    def _take(self, kept: MutableMapping[Any, list[Any]], helper: Helper) -> list[Any]:
        parts = kept.pop(self, [])
        if not (self in helper._unread or self in helper._unsent):
            self._partial.discard(ref(helper))
        return parts

    def _take_unread(self) -> list[Any]:
        if not self._partial:
            return []
        helper = current()
        return self._take(helper._unread, helper)

    def _take_unsent(self) -> list[Any]:
        if not self._partial:
            return []
        helper = current()
        return self._take(helper._unsent, helper)

    def _put_unread(self, parts: list[Any]) -> None:
        helper = current()
        if helper._unread is NOTHING_KEPT:
            helper._unread = WeakKeyDictionary()
        helper._unread[self] = parts
        self._partial.add(ref(helper, self._partial.discard))

    def _put_unsent(self, helper: Helper) -> None:
        """The current greenlet's; it begins a message."""
        if helper._unsent is NOTHING_KEPT:
            helper._unsent = WeakKeyDictionary()
        helper._unsent[self] = []
        self._partial.add(ref(helper, self._partial.discard))
