"""`heed_overriding`: all messages through the `send` and `recv` of a subclass that has its own.

Programs subclass `Socket` to count messages, or to pack them, and override `send` and `recv` alone, as
elsewhere `send_multipart` and `recv_multipart` call these for each part. Here they do not, and send and
receive whole messages, and `send_many` and `recv_many` those of a batch; so a subclass that overrides the
former gets such of the latter. Each message is whole all the same: the parts that a greenlet has begun to
send, or to receive, are its own.

`_socket.py` asks for it, when a subclass is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import errors
from ._arguments import in_time
from ._frame import Frame, not_a_buffer
from ._many import Many, message_of_parts
from ._messages import Messages
from .constants import NOBLOCK, RCVMORE, SNDMORE


def heed_overriding(cls: Any) -> None:
    """Give a new subclass of `Socket` what it needs beside the methods that it, or a mixin, overrides."""
    if cls.send is not Messages.send and cls.send_multipart is Messages.send_multipart:
        cls.send_multipart = _send_multipart
    if cls.recv is not Messages.recv and cls.recv_multipart is Messages.recv_multipart:
        cls.recv_multipart = _recv_multipart
    if cls.send_multipart is not Messages.send_multipart:
        cls._send_at_once = _send_none_at_once
    if cls.recv_multipart is not Messages.recv_multipart and cls.recv_many is Many.recv_many:
        cls.recv_many = _recv_many


def _send_multipart(
    self: Any,
    msg_parts: Iterable[Any],
    flags: int = 0,
    copy: bool = True,
    track: bool = False,
    timeout: float | None = None,
    **kwargs: Any,
) -> Any:
    """Send a whole message, by this class's `send` for each part. As `Socket.send_multipart` else."""
    parts = list(msg_parts)
    if not parts:
        raise ValueError("a message has at least one part")
    for index, part in enumerate(parts):
        if not isinstance(part, (Frame, bytes)):
            try:
                memoryview(part)
            except TypeError:
                raise not_a_buffer(part, index) from None
    *others, last = parts
    for part in others:
        self.send(part, flags | SNDMORE, copy=copy, track=track, **in_time(timeout))
    return self.send(last, flags, copy=copy, track=track, **in_time(timeout))


def _recv_multipart(
    self: Any, flags: int = 0, copy: bool = True, track: bool = False, timeout: float | None = None
) -> list[Any]:
    """Receive a whole message, by this class's `recv` for each part. As `Socket.recv_multipart` else."""
    parts = [self.recv(flags, copy=copy, track=track, **in_time(timeout))]
    while self.get(RCVMORE):
        parts.append(self.recv(flags, copy=copy, track=track, **in_time(timeout)))
    return parts


def _send_none_at_once(self: Any, messages: list[Any], progress: list[int], flags: int) -> int:
    """`Many.send_many` then sends each for itself."""
    return 0


def _recv_many(self: Any, max: int = 1000, flags: int = 0, timeout: float | None = None) -> list[Any]:
    """Receive all messages that are there, by this class's `recv_multipart`. As `Socket.recv_many` else.

    Whatever the class itself raises has an attribute ``received``: the messages received before.
    """
    if max < 1:
        raise ValueError(f"recv_many: max must be at least 1, got {max!r}")
    messages: list[Any] = []
    try:
        messages.append(message_of_parts(self.recv_multipart(flags, **in_time(timeout))))
        while len(messages) < max:
            messages.append(message_of_parts(self.recv_multipart(flags | NOBLOCK)))
    except errors.ZMQError:
        if not messages:
            raise  # else the next call will be told
    except BaseException as e:
        e.received = messages  # type: ignore[attr-defined]
        raise
    return messages
