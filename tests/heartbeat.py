"""What the host of a virtual machine took from it, as processes that only sleep can tell.

A guest's kernel counts how long a thread waited for a CPU, but not how long the CPU itself stood still.
So a heart on each CPU wakes every few milliseconds and remembers when it was late. A test that was late
asks them whether the machine was: they share nothing with the hub under test, and what makes that late
does not make these late.
"""

import json
import os
import sys
from typing import NamedTuple

import heart
from gevent.monkey import get_original


class Heart(NamedTuple):
    pid: int
    ask: int  # the pipe to it
    answer: int  # and the one from it


hearts = []
os.register_at_fork(after_in_child=hearts.clear)  # two who ask at once would read each other's answer


def start():
    """Start one for each CPU, unless they are there; they end with this process."""
    if hearts:
        return
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0]
    for cpu in sorted(cpus)[:8]:
        asked, ask = os.pipe()
        answer, answers = os.pipe()
        command = [sys.executable, "-I", "-S", heart.__file__, str(cpu)]
        ends = [(os.POSIX_SPAWN_DUP2, asked, 0), (os.POSIX_SPAWN_DUP2, answers, 1)]
        # gevent's would have the hub watch it, and a Ctrl-C is not meant for it.
        spawn = get_original("os", "posix_spawn")
        pid = spawn(sys.executable, command, os.environ, file_actions=ends, setpgroup=0)
        os.close(asked)
        os.close(answers)
        hearts.append(Heart(pid, ask, answer))


def stop():
    for one in hearts:
        os.close(one.ask)
        os.close(one.answer)
    hearts.clear()


def stood_still(began, ended):
    """For how many seconds between those two the machine, or one of its CPUs, stood still."""
    # What one asks comes after what it remembers: it beats first, and answers then.
    return max((sum(within(gap, began, ended) for gap in gaps_of(one)) for one in hearts), default=0.0)


def within(gap, began, ended):
    """How much of a gap that a heart remembers lies between those two."""
    since, until, lost = gap
    return max(min(lost, min(until, ended) - max(since, began)), 0.0)


def gaps_of(one):
    # gevent patches neither of these: the whole process waits, for less than a millisecond.
    os.write(one.ask, b"?")
    answer = b""
    while not answer.endswith(b"\n"):
        more = os.read(one.answer, 10000)
        assert more, f"{one} has ended"
        answer += more
    return json.loads(answer)
