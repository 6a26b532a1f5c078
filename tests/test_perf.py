"""python -m gzmqhelper.perf: libzmq's performance programs, against each other and libzmq's own."""

import os
import re
import shutil
import socket
import subprocess
import sys

import gevent
import pytest
from support import run

from gzmqhelper import perf

MODULE = [sys.executable, "-m", "gzmqhelper.perf"]

LATENCY = r"message size: 10 \[B\]\nroundtrip count: 50\naverage latency: \d+\.\d{3} \[us\]\n"
THROUGHPUT = (
    r"message size: 10 \[B\]\nmessage count: 500\n"
    r"mean throughput: \d+ \[msg/s\]\nmean throughput: \d+\.\d{3} \[Mb/s\]\n"
)


def own(name):
    return [*MODULE, name]


def libzmqs(name):
    # Debian and Fedora do not install them; Homebrew and a build of libzmq do.
    found = shutil.which(name)
    if not found:
        pytest.skip(f"libzmq's own {name} is not on the path: a build of libzmq has it, in perf/")
    return [found]


def free_endpoint():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{s.getsockname()[1]}"


def both(local, remote, *arguments):
    """What the two programs say, run beside each other."""
    endpoint = free_endpoint()
    processes = [
        subprocess.Popen(
            [*command, endpoint, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=os.path.dirname(__file__),
        )
        for command in (local, remote)
    ]
    try:
        said = [process.communicate(timeout=40)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said
    return said


makers = pytest.mark.parametrize(
    ("local", "remote"),
    [(own, own), (own, libzmqs), (libzmqs, own)],
    ids=["ours", "against-libzmqs", "libzmqs-against"],
)


@makers
def test_latency_is_measured_between_two_processes(local, remote):
    there, here = both(local("local_lat"), remote("remote_lat"), "10", "50")
    assert there == ""
    assert re.fullmatch(LATENCY, here), here


@makers
@pytest.mark.parametrize("curve", [[], ["1"]], ids=["plain", "curve"])
def test_throughput_is_measured_between_two_processes(local, remote, curve):
    there, here = both(local("local_thr"), remote("remote_thr"), "10", "500", *curve)
    assert re.fullmatch(THROUGHPUT, there), there
    assert here == ""


@pytest.mark.parametrize("name", ["inproc_lat", "inproc_thr", "proxy_thr"])
@pytest.mark.parametrize("maker", [own, libzmqs], ids=["ours", "libzmqs"])
def test_within_one_process_the_output_is_the_same(name, maker):
    count = "50" if name == "inproc_lat" else "500"
    result = subprocess.run(
        [*maker(name), "10", count],
        capture_output=True,
        text=True,
        timeout=40,
        check=True,
        cwd=os.path.dirname(__file__),
    )
    assert re.fullmatch(LATENCY if name == "inproc_lat" else THROUGHPUT, result.stdout), result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("name", ["inproc_lat", "inproc_thr", "proxy_thr"])
def test_others_run_while_it_measures(name, ticker, capsys):
    # More than the high-water marks hold.
    measuring = gevent.spawn(perf.main, [name, "100", "25000"])
    assert measuring.get(timeout=40) == 0
    assert "message size: 100 [B]" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["local_lat"],
        ["local_lat", "tcp://127.0.0.1:*", "x", "5"],
        ["inproc_lat", "10", "-5"],
        ["inproc_thr", "10", "0"],
        ["proxy_thr", "10", "1.5"],
        ["inproc_lat", "1", "1", "1"],
    ],
    ids=" ".join,
)
def test_arguments_that_are_not_understood_are_answered_with_one_sentence(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        perf.main(arguments)
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("python -m gzmqhelper.perf") and err.endswith(").\n") and err.count("\n") == 1


def test_help_names_all_programs(capsys):
    with pytest.raises(SystemExit) as end:
        perf.main(["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert all(
        name in out
        for name in "local_lat remote_lat local_thr remote_thr inproc_lat inproc_thr proxy_thr".split()
    )


def test_what_libzmq_refuses_is_said_in_a_sentence(capsys):
    assert perf.main(["local_lat", "nonsense://x", "1", "1"]) == 255
    out = capsys.readouterr().out
    assert out.startswith("error in local_lat: ") and "nonsense://x" in out and out.count("\n") == 1


def test_a_message_of_another_size_is_said_as_libzmqs_programs_say_it():
    result = run(
        """
        import subprocess, sys
        import gzmqhelper as zmq
        from gzmqhelper import perf
        import gevent
        import socket
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            endpoint = f"tcp://127.0.0.1:{s.getsockname()[1]}"
        measuring = gevent.spawn(perf.main, ["local_thr", endpoint, "10", "2"])
        push = zmq.Context.instance().socket(zmq.PUSH)
        push.connect(endpoint)
        push.send(b"too short")
        print(measuring.get(timeout=10))
        push.close(0)
        """
    )
    assert result.stdout == "message of incorrect size received\n255\n"
