"""One measurement of one contender, in a process of its own: what `python -m benchmarks` runs.

    python benchmarks/contenders.py recv zmq.green --quick

prints a JSON object: the figures, by name, and the version of the library. The same code measures all
contenders; they differ in the module they import, and in that plain pyzmq has threads for greenlets.
"""

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent

MODULES = {"gzmqhelper": "gzmqhelper", "zmq.green": "zmq.green", "pyzmq": "zmq"}
PEERS = Path(__file__).with_name("peers.py")
SIZE = 100  # bytes of a message
COUNT = 300_000  # messages received or sent in a row


class Run:
    """What a measurement is given: the contender's module, and how to do things side by side in it."""

    def __init__(self, contender: str, quick: bool) -> None:
        self.quick = quick
        self.threads = contender == "pyzmq"
        self.zmq: Any = importlib.import_module(MODULES[contender])
        self.context = self.zmq.Context()

    def spawn(self, work: Callable[[], None]) -> Any:
        if not self.threads:
            return gevent.spawn(work)
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def sleep(self, seconds: float) -> None:
        (time.sleep if self.threads else gevent.sleep)(seconds)

    def socket(self, kind: str) -> Any:
        sock = self.context.socket(getattr(self.zmq, kind))
        sock.linger = 0
        return sock


@contextmanager
def peer(role: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(PEERS), role, *map(str, args)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def endpoint_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def quiet_down() -> None:
    """Wait until the threads of libzmq have nothing to do any more."""
    while True:
        before = time.process_time()
        time.sleep(0.1)
        if time.process_time() - before < 0.002:
            return


def recv(run: Run) -> dict[str, float]:
    """A plain recv() loop over a queue that was filled before."""
    sock = run.socket("PULL")
    sock.set_hwm(0)
    sock.bind("tcp://127.0.0.1:*")
    with peer("fill", sock.last_endpoint.decode(), COUNT + 1, SIZE) as filler:
        filler.wait()
    quiet_down()
    sock.recv()  # libzmq takes notice of the others' arrival
    began = time.perf_counter()
    for _ in range(COUNT):
        sock.recv()
    return {"recv": COUNT / (time.perf_counter() - began)}


def send(run: Run) -> dict[str, float]:
    """A plain send() loop without a limit to the queue, which libzmq empties meanwhile."""
    with peer("drain") as drain:
        sock = run.socket("PUSH")
        sock.set_hwm(0)
        sock.connect(endpoint_of(drain))
        message = b"x" * SIZE
        sock.send(message)  # waits for the connection
        quiet_down()
        began = time.perf_counter()
        for _ in range(COUNT):
            sock.send(message)
        return {"send": COUNT / (time.perf_counter() - began)}


def roundtrip(run: Run) -> dict[str, float]:
    """One greenlet asks, and asks again when it has the answer."""
    with peer("echo") as echo:
        sock = run.socket("REQ")
        sock.connect(endpoint_of(echo))
        message, took = b"x" * SIZE, []
        for _ in range(3_000 if run.quick else 10_000):
            began = time.perf_counter()
            sock.send(message)
            sock.recv()
            took.append(time.perf_counter() - began)
    return {"roundtrip": statistics.median(took) * 1e6}


def hundred(run: Run) -> dict[str, float]:
    """A hundred greenlets do that, each with a REQ socket of its own."""
    greenlets = 100
    requests = 100 if run.quick else 300
    message = b"x" * SIZE
    with peer("echo") as echo:
        endpoint = endpoint_of(echo)
        socks = [run.socket("REQ") for _ in range(greenlets)]
        for sock in socks:
            sock.connect(endpoint)

        def ask(sock: Any, times: int) -> None:
            for _ in range(times):
                sock.send(message)
                sock.recv()

        def all_ask(times: int) -> None:
            for one in [run.spawn(lambda sock=sock: ask(sock, times)) for sock in socks]:  # type: ignore[misc]
                one.join()

        all_ask(3)  # the connections, the helpers
        began, cpu = time.perf_counter(), time.process_time()
        all_ask(requests)
        total = greenlets * requests
        return {
            "hundred": total / (time.perf_counter() - began),
            "hundred-cpu": (time.process_time() - cpu) / total * 1e6,
        }


def memory(run: Run) -> dict[str, float]:
    """A thousand greenlets wait, each on a socket of its own that was there before."""
    count = 1000
    run.context.set(run.zmq.MAX_SOCKETS, 2 * count)
    socks = [run.socket("PULL") for _ in range(count + 1)]
    run.spawn(socks.pop().recv)  # what the first wait brings is not the others' cost
    run.sleep(0.2)
    before = resident_kb()
    waiting = [run.spawn(sock.recv) for sock in socks]
    run.sleep(1)
    assert all(one.is_alive() if run.threads else not one.dead for one in waiting)
    return {"memory": (resident_kb() - before) / count}


def resident_kb() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() // 1024


MEASUREMENTS = {one.__name__: one for one in (recv, send, roundtrip, hundred, memory)}


def raise_descriptor_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one thing of one contender.")
    parser.add_argument("measurement", choices=MEASUREMENTS)
    parser.add_argument("contender", choices=MODULES)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    raise_descriptor_limit()
    run = Run(args.contender, args.quick)
    figures = MEASUREMENTS[args.measurement](run)
    version = f"{run.zmq.__version__}, libzmq {run.zmq.zmq_version()}"
    print(json.dumps({"figures": figures, "version": version}), flush=True)


if __name__ == "__main__":
    main()
    os._exit(0)  # not waiting for the greenlets and threads that still wait
