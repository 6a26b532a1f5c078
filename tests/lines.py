"""Tools of the tests of proxies: a proxy with a sender before it and a receiver behind it."""

from life import waiting

import gzmqhelper as zmq


class Line:
    """A proxy, with a sender before it and a receiver behind it."""

    def __init__(self, sockets, kinds=(zmq.PUSH, zmq.PULL, zmq.PUSH, zmq.PULL), **options):
        def pair(left, right):
            return sockets.pair(left, right, left_options=options, right_options=options)

        self.frontend, self.sender = pair(kinds[1], kinds[0])
        self.backend, self.receiver = pair(kinds[2], kinds[3])

    def proxy(self, *more):
        return waiting(zmq.proxy, self.frontend, self.backend, *more)


def carries(line, text=b"x"):
    line.sender.send(text)
    return line.receiver.recv(timeout=5) == text
