"""What the tests of many greenlets share: short moments of random length, OS threads, groups that end."""

import contextlib
import os
import random
import sys
import time

import gevent
import pytest
from gevent.socket import wait_read
from gevent.threadpool import ThreadPool

import gzmqhelper as zmq

# What reaches its high-water mark after a few messages of FILLING, over tcp too. Not smaller: where
# the kernel's window is less than a segment (2 KB buffers), tcp itself sends once in 200 ms.
NARROW_BUFFERS = {"sndbuf": 16384, "rcvbuf": 16384}
NARROW = {"sndhwm": 2, "rcvhwm": 2, **NARROW_BUFFERS}
FILLING = b"." * 4000
UNBOUNDED = {"sndhwm": 0, "rcvhwm": 0}

TRANSPORTS = ["tcp", "inproc"]
transports = pytest.mark.parametrize("transport", TRANSPORTS)

# The messages of a test are numbers, so that one look tells whether any is lost, doubled or late.


def spin(seconds):
    """Pass the time without letting the hub run: the threads in C go on meanwhile."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def a_moment(longest=60e-6):
    """About as long as a message takes to arrive: what comes next races with that."""
    spin(random.random() * longest)


_ready, _other = os.pipe()
os.write(_other, b"x")


def turns(count):
    """Let the hub look at all descriptors so often, which gevent.sleep(0) does not: it runs callbacks."""
    for _ in range(count):
        wait_read(_ready)


def until(condition, seconds=3):
    """Turn the hub until it holds, and do nothing else; fails if it never does."""
    with gevent.Timeout(seconds, AssertionError("never")):
        while not condition():
            turns(1)


def poller_of(*things, flags=zmq.POLLIN):
    """A Poller in which they are registered, all alike."""
    poller = zmq.Poller()
    for thing in things:
        poller.register(thing, flags)
    return poller


@contextlib.contextmanager
def greenlets(*functions):
    """Greenlets that are killed at the end of the block, where it is an error if one has failed."""
    group = [gevent.spawn(function) for function in functions]
    try:
        yield group
    finally:
        gevent.killall(group)
    for greenlet in group:
        if greenlet.exception is not None:
            raise greenlet.exception


def finish(group, seconds=20):
    """Wait until all of them have ended, and give their results; at most so long."""
    with gevent.Timeout(seconds, AssertionError(f"not all have ended after {seconds} s")):
        return [greenlet.get() for greenlet in group]


@contextlib.contextmanager
def threads(*functions):
    """Each function in an OS thread of its own, with a hub of its own: calls that one can `get`.

    Real threads, patched or not. The greenlets of this thread run on meanwhile.
    """
    pool = ThreadPool(len(functions))
    # The interpreter lets a thread run for 5 ms while others wait for it: too long for a ticker
    # that has four of them beside it.
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)
    try:
        yield [pool.spawn(function) for function in functions]
        pool.kill()
    finally:
        sys.setswitchinterval(before)


def in_threads(*functions, seconds=20):
    """The results of functions that run in `threads`."""
    with threads(*functions) as calls:
        return finish(calls, seconds)


def is_refused_out_of_turn(send):
    """send(timeout=..., flags=...) ends with EFSM, waiting or not.

    One that does not wait says Again where another has the socket at that moment: that is no answer.
    """
    how = random.choice([{"timeout": 5}, {"flags": zmq.NOBLOCK}])
    end = time.monotonic() + 5
    while True:
        try:
            send(**how)
        except zmq.Again:
            assert "flags" in how and time.monotonic() < end, "Again for 5 s"
            turns(1)
        except zmq.ZMQError as error:
            assert error.errno == zmq.EFSM, error
            return
        else:
            raise AssertionError("it was sent")


def drain(sock, quiet=0.2):
    """All messages that are there or still arrive, each as the list of its parts."""
    messages = []
    while True:
        try:
            messages.append(sock.recv_multipart(timeout=quiet))
        except zmq.Again:
            return messages


def numbered(number, parts=1):
    """A message whose parts belong together visibly; `number_of` checks that they still do."""
    return [b"%d %d %d" % (number, index, parts) for index in range(parts)]


def number_of(message):
    number, _, parts = message[0].split()
    assert message == numbered(int(number), int(parts)), "torn"
    return int(number)
