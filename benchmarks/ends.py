"""What every contender is given: how much to do, the other end to do it with, and what a process costs.

The other ends are commands of floor.c (`start`), the same for all contenders; where that cannot be built,
those of peers.py, on plain pyzmq.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

PEERS = Path(__file__).with_name("peers.py")
LARGE = 1_000_000  # bytes of the messages of "1 MB"


class Task(NamedTuple):
    """One measurement of one contender."""

    contender: str
    arguments: list[int]  # the measurement's own
    scale: float  # 1: as much as the README's figures were taken with
    floor: str  # the built floor.c, or ""

    def count(self, full: int, least: int = 10) -> int:
        return max(least, int(full * self.scale))

    def messages(self, size: int, parts: int = 1) -> int:
        """So many that a loop takes about a second, whose ever it is."""
        full = {"zmq.green": 150_000, "zmq.asyncio": 60_000}.get(self.contender, 1_000_000)
        return self.count(min(full // parts, 1_000_000_000 // size), 200)

    def requests_each(self, askers: int) -> int:
        """30,000 in all; one asker alone fewer, and many no less than what hides their beginning."""
        full = max(min(30_000, 10_000 * askers), 20 * askers)
        return max(3, self.count(full) // askers)


def hwm_for(size: int) -> int:
    """How many messages a queue holds: without a limit, but where memory would be one."""
    return 0 if size <= 1000 else max(10, 50_000_000 // size)


class Found(NamedTuple):
    figures: dict[str, float]  # by row: see measures.py
    version: str
    gaps: Sequence[tuple[float, float]] = ()  # of the ticker: when, and how long


Measurement = Callable[..., Found | dict[str, float]]


class End:
    """A command of floor.c, running. It has ended when the `with` block has."""

    def __init__(self, task: Task, command: str, *arguments: object) -> None:
        program = [task.floor] if task.floor else [sys.executable, str(PEERS)]
        self.name = command
        self.process = subprocess.Popen(
            [*program, command, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"the other end, {self.name}, ended with status {self.process.wait()}")
        return line

    def numbers(self) -> list[float]:
        return [float(number) for number in self.line().split()]

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> None:
        if status := self.process.wait():
            raise RuntimeError(f"the other end, {self.name}, ended with status {status}")


@contextmanager
def start(task: Task, command: str, *arguments: object) -> Iterator[End]:
    end = End(task, command, *arguments)
    try:
        yield end
    finally:
        end.process.kill()
        end.process.communicate()


def quiet_down() -> None:
    """Wait until the threads of libzmq have nothing to do any more."""
    while True:
        before = time.process_time()
        time.sleep(0.1)
        if time.process_time() - before < 0.002:
            return


# ---- what a process costs ------------------------------------------------------------------------------


def resident_kb() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() // 1024


def kernel_kb() -> int:
    """What the kernel keeps, for all processes together: descriptors, watches, threads, page tables."""
    kept = ("Slab:", "KernelStack:", "PageTables:")
    with open("/proc/meminfo") as meminfo:
        return sum(int(line.split()[1]) for line in meminfo if line.startswith(kept))


def raise_descriptor_limit(wanted: int = 65_536) -> int:
    """Allow this process as many descriptors as it may have; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:  # root may
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, OSError):
            wanted = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return max(soft, wanted)


# ---- what is made of what was measured -----------------------------------------------------------------


def percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[len(values) * percent // 100]


def gaps_of(began: float, ticks: Sequence[float], ended: float) -> list[tuple[float, float]]:
    """The times between ticks, each with its beginning, in seconds; also the one that the end cut off."""
    times = [began, *ticks, ended]
    return [(a - began, b - a) for a, b in pairwise(times)]


def print_found(found: Found) -> None:
    json.dump(found._asdict(), sys.stdout)
    sys.stdout.flush()
    # Not waiting for the greenlets and threads that still wait.
    os._exit(0)


def as_found(outcome: Any, version: str) -> Found:
    return outcome if isinstance(outcome, Found) else Found(outcome, version)
