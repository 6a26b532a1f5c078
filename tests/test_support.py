"""The tests' own tools: what our hub is late for counts, what the machine is late for does not."""

import os
import signal
import time

import gevent
import heartbeat
import pytest
from gevent.monkey import get_original
from support import Stopwatch, Ticker

sleep = get_original("time", "sleep")  # which stops the hub


def test_a_hub_that_stops_is_seen():
    with Ticker() as ticker:
        gevent.sleep(0.01)
        sleep(0.3)
    with pytest.raises(AssertionError, match="no greenlet could run for"):
        ticker.check()


def test_a_block_that_takes_too_long_is_seen():
    with Stopwatch() as watch:
        sleep(0.3)
    with pytest.raises(AssertionError, match=r"s \(0.*not 0.05 s"):
        watch.check(0.05)


def test_a_machine_that_stands_still_is_told_from_one_that_works():
    began = time.perf_counter()
    heart = heartbeat.hearts[-1]
    os.kill(heart.pid, signal.SIGSTOP)
    sleep(0.15)
    os.kill(heart.pid, signal.SIGCONT)
    assert 0.1 < heartbeat.stood_still(began, time.perf_counter())
