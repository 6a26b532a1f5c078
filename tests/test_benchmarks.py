"""The benchmarks run: not their figures, which a busy machine makes what it likes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("zmq", reason="the benchmarks compare with pyzmq, which is not installed")
pytest.importorskip("tqdm", reason="the progress bar of the benchmarks needs tqdm, which is not installed")

# Each starts a dozen processes, which takes a while where others want the processors too.
pytestmark = pytest.mark.timeout(200)

ROOT = Path(__file__).parent.parent


def benchmarks(*args):
    # As CONTRIBUTING.md says it, from the root; the contenders import the installed package all the same.
    command = [sys.executable, "-m", "benchmarks", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=180)


def test_they_print_a_table_and_write_every_run(tmp_path):
    done = benchmarks("roundtrip", "send", "--rounds", 1, "--scale", 0.001, "--json", tmp_path / "runs.json")
    assert (done.returncode, "FAILED" in done.stderr) == (0, False), done.stderr
    assert "send() loop" in done.stdout
    found = json.loads((tmp_path / "runs.json").read_text())
    with_c = set() if "no C to compare with" in done.stderr else {"C"}
    whom = {"gzmqhelper", "zmq.green", "zmq.asyncio", "pyzmq"} | with_c
    for figures in (found["figures"]["send"]["rate"], found["figures"]["roundtrip"]["p99"]):
        assert set(figures) == whom
        assert all(len(values) == 1 and values[0] > 0 for values in figures.values())


def test_what_was_measured_can_be_shown_again(tmp_path):
    file = tmp_path / "runs.json"
    figures = {"send": {"rate": {"gzmqhelper": [3e6, 2e6, 1e6], "zmq.green": [1e5]}}}
    file.write_text(json.dumps({"about": {"python": "x"}, "figures": figures, "gaps": {}}))
    done = benchmarks("--again", file, "--markdown")
    assert done.returncode == 0, done.stderr
    assert "| 2,000,000 | 100,000 (20.0) |" in done.stdout
    assert "zmq.green ≥ 10" in done.stdout


def test_without_a_compiler_they_say_so_and_go_on(tmp_path, monkeypatch):
    # A copy, as what was built lies beside.
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    monkeypatch.setenv("CC", "no-such-compiler")
    command = [sys.executable, "-m", "benchmarks", "roundtrip", "--rounds", "1", "--scale", "0.001"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "no C to compare with, as there is no no-such-compiler" in done.stderr
    assert "other ends: plain pyzmq" in done.stdout


def test_a_name_that_is_none_is_an_error_that_says_which_there_are():
    done = benchmarks("recieve")
    assert done.returncode == 2
    assert "no such benchmark: recieve (there are: recv, " in done.stderr
