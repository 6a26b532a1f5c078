"""A zerorpc client, as anybody would write it. Arguments: the endpoint, and what to do."""

import sys
import time

import gevent
import zerorpc
import zmq

import gzmqhelper

endpoint, what = sys.argv[1:]


def client(**options):
    made = zerorpc.Client(**{"heartbeat": 1, "timeout": 10, **options})
    made.connect(endpoint)
    # That it is this library which answers, with or without pyzmq installed.
    assert isinstance(made._events._socket, gzmqhelper.Socket), zmq
    return made


def ticks():
    """How often a greenlet runs that wants to 100 times a second."""
    while True:
        ticks.count += 1
        gevent.sleep(0.01)


def call():
    assert client().add(1, 2) == 3
    assert client().add("plain ", "text") == "plain text"


def stream():
    # More than zerorpc lets wait unread: so there is a going to and fro within it.
    assert list(client().count(1000)) == list(range(1000))


def slow():
    """Longer than two heartbeats, which keep it alive."""
    ticks.count = 0
    ticking = gevent.spawn(ticks)
    assert client().sleep(3) == 3
    ticking.kill()
    assert ticks.count > 30, ticks.count


def timeout():
    caller = client(timeout=0.5)
    begin = time.monotonic()
    try:
        caller.sleep(5)
    except zerorpc.TimeoutExpired:
        assert 0.4 < time.monotonic() - begin < 4
    else:
        raise AssertionError("no timeout")
    assert caller.add(1, 2) == 3


def exception():
    caller = client()
    try:
        caller.fail("for a reason")
    except zerorpc.RemoteError as e:
        assert (e.name, e.msg) == ("ValueError", "for a reason")
        assert "rpc_server.py" in e.traceback
    else:
        raise AssertionError("no error")
    assert caller.add(1, 2) == 3


def lost():
    """The test kills the server meanwhile."""
    caller = client(timeout=30)
    assert caller.add(1, 2) == 3
    print("waiting", flush=True)
    begin = time.monotonic()
    try:
        caller.sleep(30)
    except zerorpc.LostRemote:
        assert time.monotonic() - begin < 15
    else:
        raise AssertionError("not lost")


def many():
    def one(number):
        caller = client()
        for i in range(20):
            assert caller.add(number, i) == number + i
        assert list(caller.count(50)) == list(range(50))
        caller.close()

    callers = [gevent.spawn(one, number) for number in range(50)]
    gevent.joinall(callers, raise_error=True)


globals()[what]()
print("done", flush=True)
