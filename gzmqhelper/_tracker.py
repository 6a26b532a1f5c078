"""`MessageTracker`, and `pin`, with which `_frame.py` pins what a Frame holds without a copy.

Nothing here waits but `MessageTracker.wait`. `_pins.py` holds the pins.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from . import errors
from ._arguments import duration
from ._helper import check, wait
from ._native import lib
from ._pins import let_go as _let_go
from ._pins import pins as _pins
from .constants import Errno

if TYPE_CHECKING:
    from ._frame import Frame

__all__ = ["MessageTracker"]

_numbers: Final[Iterator[int]] = itertools.count(1)


class MessageTracker:
    """Tells whether libzmq has done with the memory of one or more messages.

    Takes Frames that were made with ``track=True``, and other trackers. Any thread may ask.
    """

    def __init__(self, *towatch: MessageTracker | Frame) -> None:
        self._watched: set[int] = set()
        for thing in towatch:
            tracker = getattr(thing, "tracker", thing)  # a Frame's
            if tracker is None:
                raise ValueError("Not a tracked message: make the Frame with track=True")
            if not isinstance(tracker, MessageTracker):
                raise TypeError(f"expected a Frame or a MessageTracker, got {type(thing).__name__}")
            self._watched |= tracker._watched

    @classmethod
    def _of(cls, number: int) -> MessageTracker:
        tracker = cls()
        tracker._watched.add(number)
        return tracker

    @property
    def done(self) -> bool:
        """Whether libzmq has done with all of it."""
        _let_go()
        return not any(number in _pins for number in self._watched)

    def wait(self, timeout: float = -1) -> None:
        """Wait until libzmq has done; other greenlets run.

        timeout: seconds; negative, or False, for ever. Raises `NotDone` when the time has passed.
        """
        for_ever = isinstance(timeout, bool) and not timeout
        end = None if for_ever or duration("timeout", timeout) < 0 else time.monotonic() + timeout
        for number in tuple(self._watched):
            left = None if end is None else max(end - time.monotonic(), 0.0)
            if self.done:
                return
            rc = wait(_begin_pin_wait, _end_pin_wait, number, left)
            if rc == -Errno.EAGAIN:
                raise errors.NotDone(f"libzmq still reads the message after {timeout} s")
            check(rc, "a message tracker")


def _begin_pin_wait(number: int, companion: Any) -> int:
    return int(lib.gzh_pin_wait(companion, number))


def _end_pin_wait(number: int, companion: Any, give_up: bool) -> int:
    return int(lib.gzh_pin_end(companion, give_up))


# Of what libzmq never had to read in place.
FINISHED: Final = MessageTracker()
_FINISHED_TRACKER: Final = FINISHED  # as programs know it


def pin(message: Any, memory: Any) -> int:
    """Add a part to a C message that is the caller's memory, held from now on; the pin's number.

    memory: as ``ffi.from_buffer`` has it, which holds whose it is. Raises `ZMQError`, ENOMEM.
    """
    _let_go()
    number = next(_numbers)
    _pins[number] = memory
    rc = lib.gzh_message_pin(message, memory, len(memory), number)
    if rc < 0:
        del _pins[number]
    return check(rc, "a Frame") or number
