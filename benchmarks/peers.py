"""The other ends of a measurement where floor.c cannot be built: the same commands, on plain pyzmq."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import zmq

Context = zmq.Context["zmq.Socket[bytes]"]


def bound(context: Context, kind: int, hwm: int) -> zmq.Socket[bytes]:
    sock = context.socket(kind)
    sock.set_hwm(hwm)
    sock.bind("tcp://127.0.0.1:*")
    print(sock.get_string(zmq.LAST_ENDPOINT), flush=True)
    return sock


def fill(context: Context, endpoint: str, count: str, size: str, parts: str, hwm: str) -> None:
    """Send so many messages, and end when they have left this process; 0: for ever."""
    with context.socket(zmq.PUSH) as sock:
        sock.set_hwm(int(hwm))
        sock.connect(endpoint)
        left, message = int(count) or -1, [b"x" * int(size)] * int(parts)
        while left != 0:
            sock.send_multipart(message, copy=False)
            left -= 1
    context.term()


def drain(context: Context, count: str, hwm: str) -> None:
    """Receive so many messages, then print the time of day; 0: for ever."""
    sock = bound(context, zmq.PULL, int(hwm))
    left = int(count) or -1
    while left != 0:
        sock.recv_multipart(copy=False)
        left -= 1
    print(time.time(), flush=True)


def echo(context: Context) -> None:
    """Send every request back: a ROUTER for any number of REQ sockets."""
    router = bound(context, zmq.ROUTER, 0)
    while True:
        router.send_multipart(router.recv_multipart())


COMMANDS: dict[str, Callable[..., None]] = {"fill": fill, "drain": drain, "echo": echo}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](zmq.Context(), *sys.argv[2:])
