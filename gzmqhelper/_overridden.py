"""`heed_overriding`: whole messages through the `send` and `recv` of a subclass that has its own.

Programs subclass `Socket` to count messages, or to pack them, and override `send` and `recv` alone, as
elsewhere `send_multipart` and `recv_multipart` call these for each part. Here they do not, and send and
receive whole messages; so a subclass that overrides the former gets such of the latter. Each message is
whole all the same: the parts that a greenlet has begun to send, or to receive, are its own.

`_socket.py` asks for it, when a subclass is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._frame import Frame, not_a_buffer
from ._messages import Messages
from .constants import RCVMORE, SNDMORE


def heed_overriding(cls: Any) -> None:
    """Give a new subclass of `Socket` what it needs beside the methods that it overrides."""
    if "send" in vars(cls) and cls.send_multipart is Messages.send_multipart:
        cls.send_multipart = _send_multipart
    if "recv" in vars(cls) and cls.recv_multipart is Messages.recv_multipart:
        cls.recv_multipart = _recv_multipart


def _in_time(timeout: float | None) -> dict[str, float]:
    return {} if timeout is None else {"timeout": timeout}  # which a subclass need not know


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
        self.send(part, flags | SNDMORE, copy=copy, track=track, **_in_time(timeout))
    return self.send(last, flags, copy=copy, track=track, **_in_time(timeout))


def _recv_multipart(
    self: Any, flags: int = 0, copy: bool = True, track: bool = False, timeout: float | None = None
) -> list[Any]:
    """Receive a whole message, by this class's `recv` for each part. As `Socket.recv_multipart` else."""
    parts = [self.recv(flags, copy=copy, track=track, **_in_time(timeout))]
    while self.get(RCVMORE):
        parts.append(self.recv(flags, copy=copy, track=track, **_in_time(timeout)))
    return parts
