"""`Batches`: messages that a flood brought before they were asked for, several in one call.

csrc/batch.c takes them, `_messages.py`, which builds on this, asks for them and receives them from here
first; so does `_many.py`. Guarantees: whoever receives, in whichever thread, gets them in order; where
Ctrl-C ends a call before it has handed them out, the next call has them; a proxy gets them back in C.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, filterfalse, islice, repeat
from operator import is_, length_hint
from typing import Any, Final
from weakref import ref

from ._frame import message_of
from ._helper import check, turn
from ._native import ffi, lib
from ._parts import Parts
from .constants import NOBLOCK

_slice_is_over = lib.gzh_slice_is_over
_MARK: Final = False
_is_mark: Final = partial(is_, _MARK)

# So that a forked child does not receive what its parent has received.
sockets_here: Final[set[ref[Batches]]] = set()


def _in_child() -> None:
    for known in list(sockets_here):
        if (socket := known()) is not None:
            socket._forget()
            socket._forget_parts()


os.register_at_fork(after_in_child=_in_child)


class Batches(Parts):
    """The part of `Socket` that keeps what was received for whoever receives next; see there."""

    # Slots, as an attribute in a __dict__ that was ever looked at costs each receive 20 ns more.
    __slots__ = ("_ptr", "_topics")
    # What is received next, by whomever: bytes, a list of several parts, or a mark, behind each eight of
    # them: there a receiver looks whether its slice of time is over. An iterator over a list, as to take the
    # next from it costs half of what it costs to take it from a deque, also where there is none; what it
    # has given stays in that list until the next receive finds it used up.
    _batch: Iterator[Any]
    _ready: Iterator[Any]  # it, or one that takes from it and has marks of its own
    _topics: list[bytes]  # what a SUB has subscribed to

    def _use(self, pointer: Any, own: bool = False) -> None:
        """The C core's socket that this one is from now on, or, if it is its own, as long as it lives."""
        self._c_own = own  # first: Ctrl-C comes between any two lines
        self._ptr = pointer
        self._c_address = int(ffi.cast("size_t", pointer))

    def _forget(self) -> None:
        self._have(())

    def _lying(self) -> list[Any]:
        """What is in it, marks too. Takes nothing."""
        messages, index = _behind(self._batch)
        return [*messages[index:]]

    def _has_ready(self) -> bool:
        # (Not by _lying: whoever polls before each receive would have all of it copied each time.)
        return length_hint(self._batch) > 0 and any(message is not _MARK for message in self._lying())

    def _share(self, batch: Iterator[Any], asked: int) -> None:
        """Put a batch where each receiver looks first; asked: as `_say_shared` has it.

        If Ctrl-C ends it, C calls it again.
        """
        self._add(batch)
        self._say_shared(asked)

    def _say_shared(self, asked: int) -> None:
        """asked: how many of them the caller was asked for, so that a close comes too late for those."""
        rc = lib.gzh_socket_shared(self._ptr)
        if rc < 0:
            self._have([*islice(self._batch, asked)])
        elif rc:  # it has a shadow meanwhile
            self._put_back()

    def _take_ready(self, flags: int = NOBLOCK) -> list[Any]:
        while True:
            for message in self._ready:
                if message is not _MARK:
                    return [message] if type(message) is bytes else message
                if self._heed_mark(flags):
                    break  # others have run: there may be another batch
            else:
                return []

    def _put_back(self, before: Iterable[Any] = ()) -> None:
        """Leave all of it to the C core, which is to receive for itself: a proxy's.

        before: messages that come before those.
        """
        messages = [*before]
        in_c: list[Any] = []
        try:
            check(lib.gzh_socket_recall(self._ptr), f"{self!r}")
            messages += self._batch
            # (No loop that ends in a condition: tests/test_layout.py, about Ctrl-C, says why.)
            in_c += map(_in_c, filterfalse(_is_mark, messages))
            check(lib.gzh_socket_put_back(self._ptr, in_c, len(in_c)), f"{self!r}")
        except BaseException:  # Ctrl-C, or no memory
            if not in_c or lib.gzh_message_parts(in_c[0]):  # they are not there
                self._add(iter(messages))
                if lib.gzh_socket_shared(self._ptr) < 0:
                    self._forget()  # closed meanwhile
                lib.gzh_socket_put_back(self._ptr, [], 0)  # nothing: but nobody waits for us any more
            raise

    def _heed_mark(self, flags: int) -> bool:
        """Whether others were let run, as the slice of time is over."""
        over = not flags & NOBLOCK and bool(_slice_is_over())
        if over:
            batch = self._batch
            if self._ready is batch:
                # Each message may take long from now on: a mark behind each of those that are left.
                self._ready = chain.from_iterable(zip(batch, repeat(_MARK)))
                if self._batch is not batch:  # another thread has used it up and has the next one
                    self._ready = self._batch
            turn()
        return over

    def _drop_unwanted(self, inverted: bool) -> None:
        """What comes by no subscription is not received any more, also if it is here already."""
        topics = tuple(self._topics)
        messages, index = _behind(self._batch)
        # In its place, as another thread may be receiving from there.
        for at in range(index, len(messages)):
            first = messages[at]
            if type(first) is list:
                first = first[0]
            if first is not _MARK and first.startswith(topics) == inverted:
                messages[at] = _MARK


def _in_c(message: Any) -> Any:
    return message_of([message] if type(message) is bytes else message, True, False, 0)[0]


def _behind(batch: Any) -> tuple[Any, int]:
    """What such an iterator goes through, and where in it the next message is."""
    _, arguments, *index = batch.__reduce__()
    return arguments[0], index[0] if index else 0
