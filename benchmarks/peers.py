"""The other end of a measurement, in a process of its own: plain pyzmq, the same for all contenders.

contenders.py starts one; each prints the endpoint that it is bound to, or connects to the one it is given.
"""

import sys

import zmq


def bound(context: zmq.Context, kind: int) -> zmq.Socket:
    sock = context.socket(kind)
    sock.set_hwm(0)
    sock.bind("tcp://127.0.0.1:*")
    print(sock.last_endpoint.decode(), flush=True)
    return sock


def fill(context: zmq.Context, endpoint: str, count: str, size: str) -> None:
    """Send so many messages, and end when they have left this process."""
    with context.socket(zmq.PUSH) as sock:
        sock.set_hwm(0)
        sock.connect(endpoint)
        message = b"x" * int(size)
        for _ in range(int(count)):
            sock.send(message)
    context.term()


def drain(context: zmq.Context) -> None:
    """Receive as fast as C can: libzmq's own proxy, to a PUB socket without subscribers."""
    zmq.proxy(bound(context, zmq.PULL), context.socket(zmq.PUB))


def echo(context: zmq.Context) -> None:
    """Send every request back: a ROUTER for any number of REQ sockets."""
    router = bound(context, zmq.ROUTER)
    while True:
        router.send_multipart(router.recv_multipart())


if __name__ == "__main__":
    {"fill": fill, "drain": drain, "echo": echo}[sys.argv[1]](zmq.Context(), *sys.argv[2:])
