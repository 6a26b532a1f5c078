"""What every test may use: sockets that are closed afterwards, a ticker, scripts of their own.

With GZMQ_TEST_PATCHED=1 the whole suite runs in a monkey-patched process.
"""

import os
import signal

import heartbeat

# A shell that starts this in the background has it ignored, and the tests' own scripts would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if os.environ.get("GZMQ_TEST_PATCHED") == "1":
    import gevent.monkey

    gevent.monkey.patch_all()

import gc
import resource

import pytest
from support import Sockets, Ticker

import gzmqhelper as zmq


@pytest.fixture(scope="session", autouse=True)
def heartbeats():
    """Processes that tell whether the machine stood still, for the tests that measure time."""
    heartbeat.start()
    yield
    heartbeat.stop()


@pytest.fixture(scope="session", autouse=True)
def descriptors():
    """Enough of them for a thousand greenlets that wait; many systems give 1,024 unless asked for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


@pytest.fixture
def sockets():
    """Makes sockets and pairs of them, in a context of their own that ends with the test."""
    made = Sockets()
    yield made
    made.close()


@pytest.fixture
def pair(sockets):
    """Two PAIR sockets over inproc, which hands memory on as it is; they never wait for long."""
    left, right = sockets.pair(zmq.PAIR, zmq.PAIR, "inproc")
    left.rcvtimeo = right.rcvtimeo = left.sndtimeo = right.sndtimeo = 2000
    return left, right


@pytest.fixture
def ticker():
    """A greenlet that ticks while the test runs; the test fails if it ever had to wait 50 ms."""
    # A full garbage collection walks through all of pytest's objects too, which takes 20 to 80 ms.
    gc.freeze()
    try:
        with Ticker() as ticking:
            yield ticking
    finally:
        gc.unfreeze()
    ticking.check()
