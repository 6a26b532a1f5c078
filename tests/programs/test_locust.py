"""Locust, unchanged: a master and two workers."""

import csv
import re

import pytest

pytest.importorskip("locust", reason="locust is not installed: `tox -e programs` does it")


def test_a_master_and_two_workers_load_a_target(start, free_port, tmp_path):
    target = start("http_target.py", free_port, command=())
    target.says("listening")
    rpc = ("--master-port", free_port + 1)
    common = ("-m", "locust", "-f", "locustfile.py", "--loglevel", "INFO")
    master = start(
        *common,
        *("--master", "--master-bind-port", free_port + 1, "--expect-workers", 2),
        *("--headless", "--host", f"http://127.0.0.1:{free_port}"),
        *("--users", 10, "--spawn-rate", 10, "--run-time", "4s"),
        *("--csv", tmp_path / "figures", "--only-summary"),
    )
    workers = [start(*common, "--worker", *rpc) for _ in range(2)]
    for program in (master, *workers):
        assert program.ends() == 0, program.output
        assert "zmq is gzmqhelper" in program.output
        assert "Traceback" not in program.output
        assert not re.search("error|WARNING|missed", program.output.replace("# fails", "")), program.output
    assert len(re.findall("reported as ready", master.output)) == 2
    assert len(re.findall(r"Worker .* quit", master.output)) == 2
    with open(tmp_path / "figures_stats.csv", newline="") as file:
        total = list(csv.DictReader(file))[-1]
    assert total["Name"] == "Aggregated"
    assert int(total["Request Count"]) > 50
    assert int(total["Failure Count"]) == 0
