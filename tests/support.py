"""Tools of the tests: a ticker, sockets, and Python scripts in processes of their own."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import gevent
from gevent.monkey import get_original

import gzmqhelper as zmq

PATCHED = os.environ.get("GZMQ_TEST_PATCHED") == "1"

# A machine that is shared may stop us all for a while; the process's own CPU time tells that from
# a hub that was kept busy, or blocked, by us.
BOUND = 0.05


class Ticker:
    """Ticks every 2 ms, and remembers the longest gap between two ticks."""

    def __init__(self, every=0.002):
        self.every = every
        self.worst = 0.0
        self.ticks = 0

    def _tick(self):
        last = time.perf_counter()
        while True:
            gevent.sleep(self.every)
            now = time.perf_counter()
            self.worst = max(self.worst, now - last - self.every)
            self.ticks += 1
            last = now

    def __enter__(self):
        self._greenlet = gevent.spawn(self._tick)
        gevent.sleep(0)
        return self

    def __exit__(self, *_):
        gevent.sleep(0.005)  # a gap that lasts until now counts too
        self._greenlet.kill()

    def check(self, bound=BOUND):
        assert self.ticks > 0
        assert self.worst < bound, f"no greenlet could run for {self.worst * 1000:.0f} ms"


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
    # The standard library's own Popen: under patch_all the module's is gevent's.
    popen = get_original("subprocess", "Popen")
    process = popen(
        [sys.executable, "-c", head + textwrap.dedent(script), *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
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
