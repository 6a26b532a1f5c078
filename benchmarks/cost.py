"""What a waiting greenlet costs: memory, descriptors, threads, and the time to start a companion.

    python benchmarks/cost.py

Each figure is taken in a process of its own. The greenlets wait in recv on one socket that they share.
"""

import os
import subprocess
import sys
import time

import gevent
from ends import raise_descriptor_limit, resident_kb

import gzmqhelper as zmq


def counts() -> tuple[int, int, int]:
    return resident_kb(), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def waiting(how_many: int) -> str:
    sock = zmq.Context().socket(zmq.PULL)
    gevent.spawn(sock.recv)  # what the first wait brings is not the others' cost
    gevent.sleep(0.2)
    before = counts()
    greenlets = [gevent.spawn(sock.recv) for _ in range(how_many)]
    while len(os.listdir("/proc/self/fd")) < before[1] + how_many:  # until the last one waits
        gevent.sleep(0.1)
    assert not any(one.ready() for one in greenlets)
    kb, descriptors, threads = (b - a for a, b in zip(before, counts(), strict=True))
    return (
        f"{how_many:,} waiting greenlets: {kb / how_many:.1f} KB resident and "
        f"{descriptors / how_many:.2f} descriptors each; {threads} threads more"
    )


def sleeping(how_many: int) -> str:
    """For comparison: greenlets without ZeroMQ."""
    before = resident_kb()
    greenlets = [gevent.spawn(gevent.sleep, 100) for _ in range(how_many)]
    gevent.sleep(1)
    kb = (resident_kb() - before) / len(greenlets)
    return f"{how_many:,} sleeping greenlets, for comparison: {kb:.1f} KB resident each"


def starting(how_many: int) -> str:
    helpers = [zmq.Helper() for _ in range(how_many + 1)]
    helpers[0].start()
    kb, _, threads = counts()
    began = time.perf_counter()
    for helper in helpers:
        helper.start()
    took = time.perf_counter() - began
    time.sleep(0.2)
    kb, threads = counts()[0] - kb, counts()[2] - threads
    return (
        f"{how_many} companions with their threads: {took / how_many * 1e6:.0f} us to start, "
        f"{kb / how_many:.1f} KB resident each; {threads} threads more"
    )


COSTS = {"waiting": waiting, "sleeping": sleeping, "starting": starting}
ALL = (("waiting", 1000), ("waiting", 10_000), ("sleeping", 10_000), ("starting", 200))

if __name__ == "__main__":
    if len(sys.argv) == 1:
        for name, how_many in ALL:
            subprocess.run([sys.executable, __file__, name, str(how_many)], check=True)
    else:
        raise_descriptor_limit()
        print(COSTS[sys.argv[1]](int(sys.argv[2])), flush=True)
        os._exit(0)
