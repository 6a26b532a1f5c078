"""The examples, each run as a newcomer would run it, and the code in README.md."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support import LOOP_IN_C

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

# SIGINT is ignored in what a shell starts in the background, and so in all that such a test run starts.
HEEDS_CTRL_C = """
import os, runpy, signal, sys
import gevent
# Of gevent alone: its hub dies of a Ctrl-C in its very first moment, and one that comes in the moment
# before it sleeps is seen when it next wakes.
timer = gevent.get_hub().loop.timer(0.1, 0.1, ref=False)
timer.start(int)
gevent.sleep(0)
signal.signal(signal.SIGINT, signal.default_int_handler)
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])  # with -c it is the folder that we are in
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Example:
    """A running example: its output line by line, and what is left of it at the end."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def line(self, seconds=15):
        """The first line."""
        readable, _, _ = select.select([self.process.stdout], [], [], seconds)
        assert readable, f"no output in {seconds} s"
        return self.process.stdout.readline()

    def end(self, seconds=30):
        """Wait for its end: the exit status, and the rest of both outputs."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def ctrl_c(self):
        """Press it, and again where gevent may have forgotten that it was pressed; what `end` gives."""
        for _ in range(0 if LOOP_IN_C else 4):
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                return self.end(3)
        self.process.send_signal(signal.SIGINT)
        return self.end(10)


@contextmanager
def started(name, *args, head=()):
    example = Example([sys.executable, *head, EXAMPLES / name, *args])
    try:
        yield example
    finally:
        example.process.kill()
        example.process.communicate()


def run(name, *args):
    with started(name, *args) as example:
        return example.end()


@contextmanager
def taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def endpoint_of(server):
    """Where a broadcast server says that it listens."""
    return re.search(r"tcp://\S+:\d+", server.line()).group()


def one_sentence(err):
    assert "Traceback" not in err
    return err.strip()


def test_the_broadcast_server_sends_as_many_numbers_as_it_is_told_to():
    status, out, err = run(
        "broadcast_server.py", "--endpoint", "tcp://127.0.0.1:*", "--interval", 0.01, "--count", 3
    )
    assert (status, err) == (0, "")
    assert re.findall(r"^broadcast (\d+): \d+$", out, re.M) == ["1", "2", "3"]


def test_the_broadcast_server_ends_after_so_many_seconds():
    status, out, err = run("broadcast_server.py", "--endpoint", "tcp://127.0.0.1:*", "--seconds", 0.2)
    assert (status, err) == (0, "")
    assert "broadcast 1: " in out


def test_two_subscribers_receive_what_the_broadcast_server_sends():
    with started("broadcast_server.py", "--endpoint", "tcp://127.0.0.1:*", "--interval", 0.02) as server:
        listen = ("subscriber.py", "--endpoint", endpoint_of(server), "--count", 3)
        with started(*listen) as one, started(*listen) as other:
            ends = [one.end(), other.end()]
        server.process.terminate()
        _, sent, _ = server.end()
    numbers = re.findall(r"^broadcast \d+: (\d+)$", sent, re.M)
    for status, out, err in ends:
        assert (status, err) == (0, "")
        received = re.findall(r"^received \d+: (\d+)$", out, re.M)
        assert len(received) == 3
        at = numbers.index(received[0])
        assert numbers[at : at + 3] == received


def test_a_subscriber_that_hears_nothing_says_so():
    with taken_port() as port:
        pass  # nobody is there any more
    status, out, err = run("subscriber.py", "--endpoint", f"tcp://127.0.0.1:{port}", "--seconds", 0.2)
    assert (status, err) == (0, "")
    assert f"nothing came from tcp://127.0.0.1:{port}: is a server running there?" in out


def test_a_pool_of_workers_does_every_job_once():
    status, out, err = run("worker_pool.py", "--count", 200, "--workers", 10)
    assert (status, err) == (0, "")
    assert "200 of 200 jobs done by 10 workers" in out


def test_a_pool_of_workers_ends_unfinished_when_the_time_is_up():
    status, out, err = run("worker_pool.py", "--count", 100000, "--workers", 5, "--seconds", 0.5)
    assert (status, err) == (0, "")
    assert re.search(r"^[1-9]\d* of 100000 jobs done by 5 workers", out, re.M)


def test_three_hundred_web_requests_at_once_are_all_answered():
    status, out, err = run("web_app.py", "--port", 0, "--self-test")
    assert (status, err) == (0, ""), out
    seconds = float(re.search(r"300 requests at once: 300 good answers in ([\d.]+) s", out).group(1))
    assert seconds < 10  # one after the other they take 30 s


def test_the_web_app_serves_until_its_time_is_up():
    status, out, err = run("web_app.py", "--port", 0, "--seconds", 0.2)
    assert (status, err) == (0, "")
    assert "serving on http://127.0.0.1:" in out


def test_each_subscriber_of_the_demo_receives_the_broadcasts():
    status, out, err = run("demo.py", "--seconds", 1.5, "--interval", 0.1)
    assert (status, err) == (0, "")
    for n in (1, 2, 3):
        assert re.search(rf"^subscriber {n} received [1-9]\d* numbers$", out, re.M)
    assert re.search(r"^the ticker ticked \d+ times; its longest gap was [\d.]+ ms", out, re.M)


def test_the_demo_fails_in_a_sentence_if_a_subscriber_receives_nothing():
    status, _, err = run("demo.py", "--seconds", 0.1, "--interval", 5)
    assert status == 1
    assert one_sentence(err) == (
        "demo: FAILED: subscriber 1 and subscriber 2 and subscriber 3 received nothing in 0.1 s"
    )


RUNNING = {
    "broadcast_server.py": ("--endpoint", "tcp://127.0.0.1:*"),
    "subscriber.py": ("--endpoint", "tcp://127.0.0.1:9"),
    "worker_pool.py": ("--count", 100000),
    "web_app.py": ("--port", 0),
    "demo.py": (),
}


def test_every_example_is_tried_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(RUNNING)


@pytest.mark.parametrize("name", RUNNING)
def test_ctrl_c_ends_it_quietly(name):
    with started(name, *RUNNING[name], head=("-c", HEEDS_CTRL_C)) as example:
        example.line()
        status, out, err = example.ctrl_c()
    assert status == 0, err
    assert out.endswith("ended by Ctrl-C\n")
    # Elsewhere gevent prints what it then forgets.
    assert err == "" or not LOOP_IN_C


def test_ctrl_c_ends_the_web_app_quietly_while_requests_are_answered():
    with started("web_app.py", "--port", 0, head=("-c", HEEDS_CTRL_C)) as example:
        port = int(re.search(r":(\d+);", example.line()).group(1))
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
            select.select([client], [], [], 0.03)  # an answer takes a tenth of a second
            status, out, err = example.ctrl_c()
    assert status == 0, err
    assert out.endswith("ended by Ctrl-C\n")
    assert "Traceback" not in err or not LOOP_IN_C


@pytest.mark.parametrize("name", ["broadcast_server.py", "demo.py"])
def test_an_endpoint_that_is_taken_is_said_in_a_sentence(name):
    with taken_port() as port:
        status, _, err = run(name, "--endpoint", f"tcp://127.0.0.1:{port}")
    assert status == 1
    assert f"tcp://127.0.0.1:{port}" in one_sentence(err)
    assert "--endpoint" in err


def test_a_web_port_that_is_taken_is_said_in_a_sentence():
    with taken_port() as port:
        status, _, err = run("web_app.py", "--port", port)
    assert status == 1
    assert f"Address already in use: ('127.0.0.1', {port})" in one_sentence(err)
    assert "--port 8081" in err


def test_an_endpoint_that_is_none_is_said_in_a_sentence():
    status, _, err = run("subscriber.py", "--endpoint", "11331")
    assert status == 1
    assert "addr='11331'" in one_sentence(err)


@pytest.mark.parametrize("name", RUNNING)
def test_a_negative_time_is_an_error_of_the_command_line(name):
    status, _, err = run(name, "--seconds=-1")
    assert status == 2
    assert "must be more than 0" in err


def test_the_code_in_the_readme_works_as_pasted(tmp_path):
    with taken_port() as port:
        pass
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    server, subscriber = (block.replace("11331", str(port)) for block in blocks[:2])
    (tmp_path / "server.py").write_text(server)
    (tmp_path / "subscriber.py").write_text(subscriber)
    serving = Example([sys.executable, tmp_path / "server.py"])
    listening = Example([sys.executable, "-u", tmp_path / "subscriber.py"])
    try:
        assert re.fullmatch(r".*\d+\n", listening.line())
    finally:
        for example in (serving, listening):
            os.kill(example.process.pid, signal.SIGKILL)
            example.process.communicate()


def test_every_file_that_the_readme_names_is_there():
    named = re.findall(r"`((?:tests|examples|benchmarks)/\S+?)`", (ROOT / "README.md").read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []
