"""Tools of the tests: a ticker, sockets, and Python scripts in processes of their own."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import gevent
import heartbeat
import pytest
from gevent.monkey import get_original
from heart import run_delay

import gzmqhelper as zmq

PATCHED = os.environ.get("GZMQ_TEST_PATCHED") == "1"

# Whether the watch is the poll(2) one, which systems without epoll have, and tox's `poll` on Linux too.
POLL = os.environ.get("GZMQ_TEST_POLL") == "1" or sys.platform != "linux"

# gevent's loop for libev is in C. In those written in Python (gevent/_ffi/loop.py), which libuv's is, a
# signal handler runs inside their callbacks: it may not wait there, and what it raises is printed and
# forgotten.
LOOP_IN_C = gevent.config.loop.__module__.endswith("corecext")

BOUND = 0.05

# "Within milliseconds", on a machine that others use too.
SOON = 0.1


class Stolen:
    """How long this OS thread was kept from running by other processes (Linux; elsewhere: not at all).

    The kernel counts for each thread how long it was ready to run and had no CPU. What our own other
    threads did meanwhile is taken off: a companion that keeps a CPU busy is no excuse.
    """

    def __init__(self):
        self._thread = get_original("threading", "get_native_id")()
        self._waited = self._others = 0.0
        self.since_last_asked()

    def since_last_asked(self):
        before = self._waited, self._others
        with contextlib.suppress(OSError):  # a test may have used up the descriptors
            self._waited = run_delay(self._thread)
        self._others = time.process_time() - time.thread_time()
        return max(self._waited - before[0] - (self._others - before[1]), 0.0)


class Ticker:
    """Ticks every 2 ms, and remembers the longest gaps between two ticks that were our doing.

    What the host of a virtual machine takes from it, the heartbeats do not always see, as it may hold a
    CPU for one moment only while they sleep: so one gap of up to twice the bound is let pass, and no
    second one. A hub that is stopped stops for longer, or again. And what comes now and then comes in
    few tests: only so many of a run are pardoned, with a warning each.
    """

    pardons = 3  # that are left in this run

    def __init__(self, every=0.002):
        self.every = every
        self.gaps = [0.0, 0.0]  # the two longest
        self.ticks = 0
        self._pardoned = None

    def _tick(self):
        stolen = Stolen()
        last = time.perf_counter()
        while True:
            gevent.sleep(self.every)
            now = time.perf_counter()
            gap = now - last - self.every - stolen.since_last_asked()
            if gap > BOUND / 2:
                gap -= heartbeat.stood_still(last, now)
                now = time.perf_counter()
            if gap > self.gaps[1]:
                self.gaps = sorted([self.gaps[0], gap], reverse=True)
            self.ticks += 1
            last = now

    def __enter__(self):
        heartbeat.start()
        self._greenlet = gevent.spawn(self._tick)
        gevent.sleep(0)
        return self

    def __exit__(self, *_):
        gevent.sleep(0.005)  # a gap that lasts until now counts too
        self._greenlet.kill()

    def check(self, bound=BOUND):
        assert self.ticks > 0
        worst, second = self.gaps
        if worst < bound:
            return
        text = f"no greenlet could run for {worst * 1000:.0f} ms, and for {second * 1000:.0f} ms"
        assert worst < 2 * bound and second < bound, text
        if worst != self._pardoned:  # asked again, it counts once
            assert Ticker.pardons > 0, f"{text}; others were pardoned before"
            Ticker.pardons -= 1
            self._pardoned = worst
            warnings.warn(f"pardoned: {text}", stacklevel=2)


class Stopwatch:
    """How long the block took, and how much of it other processes, or the host, took from it."""

    def __enter__(self):
        self._stolen = Stolen()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_):
        self._ended = time.perf_counter()
        self.seconds = self._ended - self._began
        self.stolen = self._stolen.since_last_asked()

    def less_than(self, seconds):
        """The block took less than that, not counting what was taken from it."""
        own = self.seconds - self.stolen
        return own < seconds or own - heartbeat.stood_still(self._began, self._ended) < seconds

    def check(self, seconds):
        """It took so long: at most 50 ms more, not counting what was taken from it, and never less."""
        # libuv counts in whole milliseconds.
        in_time = self.seconds > seconds - 0.005 and self.less_than(seconds + BOUND)
        assert in_time, f"{self.seconds:.3f} s ({self.stolen:.3f} s of them stolen), not {seconds} s"

    @property
    def soon(self):
        """Less time than whoever is told needs."""
        return self.less_than(SOON)


@contextlib.contextmanager
def nobody_else_runs():
    """The block never lets the hub run: it does not wait, for whatever waits switches to the hub."""
    ran = []
    other = gevent.spawn(ran.append, True)
    try:
        yield
        assert not ran, "others ran meanwhile"
    finally:
        other.kill()


class Sockets:
    """A context, and the sockets made in it."""

    def __init__(self):
        self.context = zmq.Context()
        self.made = []

    def __call__(self, kind, **options):
        sock = self.context.socket(kind)
        sock.linger = 0
        for name, value in options.items():
            setattr(sock, name, value)
        self.made.append(sock)
        return sock

    def pair(self, left, right, transport="tcp", left_options=None, right_options=None):
        """Two sockets, the left one bound, the right one connected to it."""
        a = self(left, **(left_options or {}))
        b = self(right, **(right_options or {}))
        if transport == "tcp":
            a.bind("tcp://127.0.0.1:*")
        else:
            a.bind(f"{transport}://{'@' if transport == 'ipc' else ''}gzmq-test-{os.getpid()}-{id(a)}")
        b.connect(a.last_endpoint.decode())
        return a, b

    def close(self):
        for sock in self.made:
            sock.close(0)
        with gevent.Timeout(10):
            self.context.term()


def refused(number, call, *args, says=()):
    """A call is refused with that errno, and with these words."""
    with pytest.raises(zmq.ZMQError) as caught:
        call(*args)
    assert caught.value.errno == number, caught.value
    for words in says:
        assert words in str(caught.value)


def wait_until(condition, seconds=5):
    """Let the others run until condition() is true; false if it never was."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        gevent.sleep(0.005)
    return True


def run(script, *args, env=None, timeout=30, check=True):
    """Run a script in a process of its own, which is stopped when the time has passed.

    Patched if this process is. Returns the finished process, with stdout and stderr as text, and
    `seconds`, how long it ran.
    """
    head = "import gevent.monkey; gevent.monkey.patch_all()\n" if PATCHED else ""
    path = os.pathsep.join(filter(None, [os.path.dirname(__file__), os.environ.get("PYTHONPATH")]))
    began = time.monotonic()
    # Under patch_all this is gevent's; the original class does not work then, by itself.
    process = subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(script), *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Python puts this folder first on its path; the one above has the package without its C part.
        cwd=os.path.dirname(__file__),
        env={**os.environ, "PYTHONPATH": path, **(env or {})},
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout} s\nstdout: {out}\nstderr: {err}") from None
    result = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    result.seconds = time.monotonic() - began
    if check:
        assert result.returncode == 0, f"status {result.returncode}\nstdout: {out}\nstderr: {err}"
    return result


def descriptors():
    """How many descriptors this process has open (Linux)."""
    return len(os.listdir("/proc/self/fd"))


def threads():
    """How many threads of the system this process has (Linux)."""
    return len(os.listdir("/proc/self/task"))


def resident_kb():
    """The memory of this process that is in RAM (Linux)."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
