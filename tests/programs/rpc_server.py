"""A zerorpc server, as anybody would write it. Argument: the endpoint."""

import sys

import gevent
import zerorpc


class Service:
    def add(self, a, b):
        return a + b

    @zerorpc.stream
    def count(self, n):
        yield from range(n)

    def sleep(self, seconds):
        gevent.sleep(seconds)
        return seconds

    def fail(self, why):
        raise ValueError(why)


server = zerorpc.Server(Service(), heartbeat=1)
server.bind(sys.argv[1])
print("bound", flush=True)
server.run()
