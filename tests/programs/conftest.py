"""What the tests of other people's programs use: those run in processes of their own, on loopback."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
BOUND = 40  # seconds, for anything


class Program:
    """A program that runs, with `gzmqhelper.monkey` unless another `command` is given."""

    def __init__(self, log, arguments, command=("-m", "gzmqhelper.monkey")):
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, *command, *map(str, arguments)],
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=HERE,
            )

    @property
    def output(self):
        """All that it has said so far."""
        return self._log.read_text()

    @property
    def runs(self):
        return self._process.poll() is None

    def says(self, text):
        """Wait until it says this."""
        end = time.monotonic() + BOUND
        while text not in self.output:
            assert self.runs and time.monotonic() < end, f"no {text!r} in: {self.output}"
            time.sleep(0.02)

    def ends(self):
        """Wait for its end; the status."""
        try:
            return self._process.wait(BOUND)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {BOUND} s: {self.output}") from None

    def kill(self):
        self._process.kill()
        self._process.wait(BOUND)


@pytest.fixture
def start(tmp_path):
    """Starts Programs, and kills those that still run when the test ends."""
    started = []

    def start(*arguments, **options):
        log = tmp_path / f"{len(started)}.log"
        started.append(Program(log, arguments, **options))
        return started[-1]

    yield start
    for program in started:
        program.kill()


@pytest.fixture
def free_ports():
    """Two tcp ports that nobody uses at this moment."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
