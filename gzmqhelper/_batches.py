"""`Batches`: messages that a flood brought before they were asked for, several in one call.

csrc/batch.c takes them, `_messages.py`, which builds on this, asks for them and receives them from here
first; so does `_many.py`. Guarantees: whoever receives, in whichever thread, gets them in order; where
Ctrl-C ends a call before it has handed them out, the next call has them; a proxy gets them back in C.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any, Final
from weakref import WeakSet

from ._frame import message_of
from ._helper import check, turn
from ._native import lib
from ._parts import Parts
from ._slots import messages_in
from .constants import NOBLOCK

_slice_is_over = lib.gzh_slice_is_over
# Where in a batch a receiver looks whether its slice of time is over: each message may take long.
_MARK: Final = 8

# So that a forked child does not receive what its parent has received.
sockets_here: Final[WeakSet[Batches]] = WeakSet()


def _in_child() -> None:
    for socket in sockets_here:
        socket._ready.clear()
        socket._partial.clear()


os.register_at_fork(after_in_child=_in_child)


class Batches(Parts):
    """The part of `Socket` that keeps what was received for whoever receives next; see there."""

    # Slots, as an attribute in a __dict__ that was ever looked at costs each receive 20 ns more.
    __slots__ = ("_ptr", "_ready", "_topics")
    _ptr: Any
    # What is received next, by whomever; of one part, or a list of several. None is a mark: see
    # _take_ready. The last is none.
    _ready: deque[Any]
    _topics: list[bytes]  # what a SUB has subscribed to

    def _rescue(self, pair: tuple[Any, Any]) -> None:
        """Whoever was to have the messages of this slot did not get them: leave them to the next."""
        slot, view = pair
        if slot.several:
            if not self._ready:
                self._ready.extend(messages_in(slot, view))
            slot.several = 0
            if lib.gzh_socket_shared(self._ptr) < 0:
                self._ready.clear()  # closed meanwhile

    def _share(self, pair: tuple[Any, Any]) -> None:
        """Put a batch where each receiver looks first, this one too."""
        slot, view = pair
        messages = [*messages_in(slot, view)]
        for at in range((len(messages) - 1) // _MARK * _MARK, 0, -_MARK):
            messages.insert(at, None)
        self._ready.extend(messages)
        slot.several = 0  # nothing is left to rescue: neither here, nor by the slot's next user
        if lib.gzh_socket_shared(self._ptr) < 0:  # closed meanwhile: all but what was asked for goes
            self._ready.clear()
            self._ready.append(messages[0])

    def _take_ready(self, flags: int = NOBLOCK) -> list[Any]:
        while True:
            try:
                message = self._ready.popleft()
            except IndexError:
                return []
            if message is not None:
                return [message] if type(message) is bytes else message
            self._heed_mark(flags)

    def _put_back(self) -> None:
        """Leave all of it to the C core, which is to receive for itself: a proxy's."""
        while self._ready:
            message = self._ready.pop()
            if message is not None:
                self._put_back_one(message)

    def _put_back_one(self, message: Any) -> None:
        """It comes first again."""
        parts = [message] if type(message) is bytes else message
        whole, _ = message_of(parts, True, False, 0, 0)
        check(lib.gzh_socket_put_back(self._ptr, whole), f"{self!r}")

    @staticmethod
    def _heed_mark(flags: int) -> None:
        if not flags & NOBLOCK and _slice_is_over():
            turn()

    def _drop_unwanted(self, inverted: bool) -> None:
        """What comes by no subscription is not received any more, also if it is here already."""
        topics = tuple(self._topics)
        for message in list(self._ready):
            first = message[0] if type(message) is list else message
            if first is None or first.startswith(topics) == inverted:
                try:
                    self._ready.remove(message)
                except ValueError:
                    pass  # another thread has it
