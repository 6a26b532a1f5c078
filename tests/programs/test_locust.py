"""Locust, unchanged: a master and two workers."""

import csv

import pytest

pytest.importorskip("locust", reason="locust is not installed: `tox -e programs` does it")

# Each wait in it has a bound of its own.
pytestmark = pytest.mark.timeout(200)


def test_a_master_and_two_workers_load_a_target(start, free_ports, tmp_path):
    http, rpc = free_ports
    target = start("http_target.py", http, command=())
    target.says("listening")
    common = ("-m", "locust", "-f", "locustfile.py", "--loglevel", "INFO")
    master = start(
        *common,
        *("--master", "--master-bind-port", rpc, "--expect-workers", 2),
        *("--headless", "--host", f"http://127.0.0.1:{http}"),
        *("--users", 10, "--spawn-rate", 10, "--run-time", "4s"),
        *("--csv", tmp_path / "figures", "--only-summary"),
    )
    workers = [start(*common, "--worker", "--master-port", rpc) for _ in range(2)]
    for program in (master, *workers):
        assert program.ends() == 0, program.output
        assert "zmq is gzmqhelper" in program.output
        assert "Traceback" not in program.output
        assert "heartbeat" not in program.output, "said when one was missed"
    assert master.output.count("reported as ready") == 2
    assert master.output.count(" quit.") == 2
    with open(tmp_path / "figures_stats.csv", newline="") as file:
        total = list(csv.DictReader(file))[-1]
    assert total["Name"] == "Aggregated"
    assert int(total["Request Count"]) > 50
    assert int(total["Failure Count"]) == 0
