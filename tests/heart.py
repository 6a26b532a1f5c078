"""A process that only sleeps on one CPU, and tells when it was late for no reason that the kernel knows."""

import contextlib
import json
import os
import select
import sys
import time

PERIOD = 0.005  # seconds between two beats
LATE = 0.01  # a beat that is later than this is remembered


def run_delay(number):
    """How many seconds that OS thread of this process was ready to run and had no CPU; 0 where none tells."""
    try:
        with open(f"/proc/self/task/{number}/schedstat", "rb", buffering=0) as file:
            return int(file.read(100).split()[1]) / 1e9
    except FileNotFoundError:
        return 0.0


def beat(cpu):
    """Until standard input ends; who writes a byte there gets the last gaps: began, ended, seconds lost."""
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # where that is forbidden, it beats on any CPU
            os.sched_setaffinity(0, [cpu])
    parent = os.getppid()
    gaps = []
    delayed = run_delay(os.getpid())
    last = time.perf_counter()
    while os.getppid() == parent:
        asked = select.select([0], [], [], PERIOD)[0]
        now = time.perf_counter()
        before, delayed = delayed, run_delay(os.getpid())
        lost = now - last - PERIOD - (delayed - before)
        if lost > LATE:
            gaps = [*gaps[-99:], (last, now, lost)]
        last = now
        if asked:
            if not os.read(0, 1):
                return
            os.write(1, json.dumps(gaps).encode() + b"\n")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        beat(int(sys.argv[1]))
