"""Reading a socket monitor: what `Socket.get_monitor_socket` receives, as dictionaries."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, TypedDict

from ._socket import Socket
from .constants import Event

__all__ = ["parse_monitor_message", "recv_monitor_message"]

_HEAD: Final = struct.Struct("=Hi")


class MonitorMessage(TypedDict):
    """What a monitor tells of.

    value: a descriptor for most events; an errno for those that say ``FAILED`` or ``DELAYED``, which
    for ``HANDSHAKE_FAILED_PROTOCOL`` is one of ``Event.PROTOCOL_ERROR_*`` and for
    ``HANDSHAKE_FAILED_AUTH`` the status of an authenticator (400); milliseconds for
    ``CONNECT_RETRIED``. Both numbers compare equal to ints.
    """

    event: Event
    value: Event
    endpoint: bytes


def parse_monitor_message(msg: Sequence[bytes]) -> MonitorMessage:
    """What the parts of a monitor's message say. Raises RuntimeError for what is none."""
    if len(msg) != 2 or len(msg[0]) != _HEAD.size:
        raise RuntimeError(f"Invalid event message format: {msg}")
    event, value = _HEAD.unpack(msg[0])
    return {"event": Event(event), "value": Event(value), "endpoint": msg[1]}


def recv_monitor_message(socket: Socket, flags: int = 0) -> MonitorMessage:
    """Receive from a monitor (zmq_msg_recv), and parse; other greenlets run meanwhile.

    socket: what `Socket.get_monitor_socket` gave, or a PAIR socket that is connected to the endpoint
    of `Socket.monitor`. flags as for `Socket.recv`; the socket's ``RCVTIMEO`` holds. Raises what
    `Socket.recv` raises.
    """
    return socket.recv_serialized(parse_monitor_message, flags)  # of zmq.asyncio's it is a future
