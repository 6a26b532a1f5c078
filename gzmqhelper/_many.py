"""`Many`: several messages in one call, received or sent.

Between `_messages.py`, which waits for single ones and takes care of all that is odd, and
`_formats.py`. Users call it as a part of `Socket`. The C core takes what is there under one lock.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from . import errors
from ._arguments import in_time
from ._helper import WAIT, YIELD, Helper, check, current, turn
from ._messages import Messages
from ._native import lib
from .constants import NOBLOCK, SNDMORE, Errno

_SEVERAL: Final[int] = lib.GZH_SEVERAL
_NOTHING: Final = frozenset({WAIT, YIELD, lib.GZH_LOOK, -int(Errno.EAGAIN)})


class Many(Messages):
    """The part of `Socket` that receives and sends several messages at once; see there."""

    __slots__ = ()

    def recv_many(
        self, max: int = 1000, flags: int = 0, timeout: float | None = None
    ) -> list[bytes | list[bytes]]:
        """Receive all messages that are there, at least one and at most ``max``, in their order.

        A message of one part is bytes, one of several parts the list of them; all copied. Waits only
        for the first; flags and timeout (seconds) are as for `recv`, and so is what is raised.
        Raises ValueError if ``max`` is less than 1.
        """
        if max < 1:
            raise ValueError(f"recv_many: max must be at least 1, got {max!r}")
        parts = self._take_unread()
        messages: list[Any] = [message_of_parts(parts)] if parts else []
        try:
            if not messages and (parts := self._take_ready(self._flags(flags, True, timeout))):
                messages.append(message_of_parts(parts))
            if not messages:
                self._take_at_once(messages, max, self._flags(flags, True, timeout))
            if not messages:
                messages.append(message_of_parts(self.recv_multipart(flags, timeout=timeout)))
            # (No loop here ends in a condition: tests/test_layout.py, about Ctrl-C, says why.)
            while True:
                parts = self._take_ready() if len(messages) < max else []
                if not parts:
                    break
                messages.append(message_of_parts(parts))
            more = True
            while True:
                if not more or len(messages) >= max:
                    break
                more = self._take_at_once(messages, max, NOBLOCK)
        except BaseException:  # Ctrl-C, as nothing waits with messages in its hand
            if messages:
                self._put_back(messages)
            raise
        return messages

    def _take_at_once(self, messages: list[Any], most: int, flags: int) -> bool:
        """Take several messages, if nobody is before us. False: none were there."""
        while (got := self._take_several(messages, most - len(messages), flags)) == YIELD:
            if self._has_ready():
                return False
            turn()
        if got == _SEVERAL:
            return True
        if got in _NOTHING:
            return False
        try:
            messages.append(message_of_parts(self._finish(got, flags, None)))
        except errors.ZMQError:
            if not messages:
                raise
            return False  # the next call will be told
        return True

    def send_many(
        self,
        messages: Iterable[Any],
        flags: int = 0,
        copy: bool = True,
        timeout: float | None = None,
    ) -> int:
        """Send messages, in their order; returns how many. Waits where it has to, as `send` does.

        Each is what `send` takes or, of several parts, a list or tuple of that; copied, or with
        ``copy=False`` as `send` has it. Each is sent whole or not at all. timeout (seconds) is for all
        of them together. Whatever is raised has an attribute ``sent``, how many were sent before: with
        `Again`, as many as there was room for. Raises TypeError, which names the message, for what can
        not be sent, ValueError for ``SNDMORE``.
        """
        if flags & SNDMORE:
            raise ValueError("send_many: SNDMORE is for single parts; put the parts of a message in a list")
        waiting = list(messages)
        end = None if timeout is None else time.monotonic() + timeout
        if helper := Helper.current():
            helper._sent_despite = 0  # another exception may be at that address now
        progress = [0]  # how many were sent; C adds to it itself, lest Ctrl-C come between
        try:
            while True:  # as in recv_many
                if progress[0] == len(waiting):
                    break
                left = None if end is None else max(end - time.monotonic(), 0)
                self._send_some(waiting, progress, flags, copy, left)
        except BaseException as e:
            e.sent = progress[0] + (current()._sent_despite == id(e))  # type: ignore[attr-defined]
            raise
        return progress[0]

    def _send_some(
        self, messages: list[Any], progress: list[int], flags: int, copy: bool, timeout: float | None
    ) -> None:
        """Send the next ones: as many as can go at once, else one."""
        if copy and not (self._unsent or self._unread) and self._send_at_once(messages, progress, flags):
            return
        sent = progress[0]
        self._send_one(messages[sent], sent, flags, copy, timeout)
        progress[0] = sent + 1

    def _send_one(self, message: Any, index: int, flags: int, copy: bool, timeout: float | None) -> None:
        try:
            if isinstance(message, (list, tuple)):
                self.send_multipart(message, flags, copy, **in_time(timeout))
            else:
                self.send(message, flags, copy, **in_time(timeout))
        except (TypeError, ValueError) as e:
            kind = TypeError if isinstance(e, TypeError) else ValueError
            raise kind(f"send_many: message {index}: {e}") from e

    def _send_at_once(self, messages: list[Any], progress: list[int], flags: int) -> int:
        """Send those from there on that are bytes, as many as there is room for; returns how many."""
        while (rc := self._send_several(messages, progress, flags)) == YIELD:
            turn()
        if rc in _NOTHING:
            return 0
        return rc if rc > 0 else check(rc, f"send_many on {self!r}")


def message_of_parts(parts: Any) -> Any:
    """As `recv_many` has it. (What a subclass receives need be no list.)"""
    return parts[0] if isinstance(parts, list) and len(parts) == 1 else parts
