"""One measurement of one contender, in a process of its own: what `python -m benchmarks` runs.

    python benchmarks/contenders.py recv zmq.green --scale 0.1

prints a JSON object (ends.Found). The same code measures gzmqhelper, zmq.green and plain pyzmq: they differ
in the module they import, and in that plain pyzmq has threads for greenlets. The measurements of zmq.asyncio
are in tasks.py, those of C in floors.py.
"""

import argparse
import importlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import floors
import gevent
from ends import (
    LARGE,
    Found,
    Measurement,
    Task,
    as_found,
    gaps_of,
    hwm_for,
    kernel_kb,
    percentile,
    print_found,
    quiet_down,
    raise_descriptor_limit,
    resident_kb,
    start,
)
from gevent.queue import Queue

MODULES = {"gzmqhelper": "gzmqhelper", "zmq.green": "zmq.green", "pyzmq": "zmq"}


class Run:
    """What a measurement is given: the contender's module, and how to do things side by side in it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.threads = task.contender == "pyzmq"
        self.zmq: Any = importlib.import_module(MODULES[task.contender])
        self.context = self.zmq.Context()
        self.version = f"{self.zmq.__version__}, libzmq {self.zmq.zmq_version()}"

    def spawn(self, work: Callable[..., None], *args: Any) -> Any:
        if not self.threads:
            return gevent.spawn(work, *args)
        thread = threading.Thread(target=work, args=args, daemon=True)
        thread.start()
        return thread

    def sleep(self, seconds: float) -> None:
        (time.sleep if self.threads else gevent.sleep)(seconds)

    def socket(self, kind: str, hwm: int = 0) -> Any:
        sock = self.context.socket(getattr(self.zmq, kind))
        sock.linger = 0
        sock.set_hwm(hwm)
        return sock

    def bound(self, kind: str, hwm: int = 0) -> tuple[Any, str]:
        sock = self.socket(kind, hwm)
        sock.bind("tcp://127.0.0.1:*")
        return sock, sock.last_endpoint.decode()

    def connected(self, kind: str, endpoint: str, hwm: int = 0) -> Any:
        sock = self.socket(kind, hwm)
        sock.connect(endpoint)
        return sock


# ---- one message after the other -----------------------------------------------------------------------


def loop_of(call: Callable[[], Any], count: int) -> float:
    """How many calls a second."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return count / (time.perf_counter() - began)


def recv(run: Run, size: int, parts: int, copy: bool = True) -> dict[str, float]:
    """A loop while another process sends as fast as it can."""
    count, hwm = run.task.messages(size, parts), hwm_for(size)
    sock, endpoint = run.bound("PULL", hwm)
    with start(run.task, "fill", endpoint, count + 1, size, parts, hwm):
        sock.recv_multipart()
        if not copy:
            return {"rate": loop_of(lambda: sock.recv(copy=False), count)}
        return {"rate": loop_of(sock.recv if parts == 1 else sock.recv_multipart, count)}


def recv_filled(run: Run, size: int) -> dict[str, float]:
    """A loop over a queue that was filled before: no other process or thread runs meanwhile."""
    count = run.task.messages(size)
    sock, endpoint = run.bound("PULL")
    with start(run.task, "fill", endpoint, count + 1, size, 1, 0) as filler:
        filler.finish()
    quiet_down()
    sock.recv()  # libzmq takes notice of the others' arrival
    return {"rate": loop_of(sock.recv, count)}


def send(run: Run, size: int, parts: int) -> dict[str, float]:
    """A loop without a limit to the queue, which libzmq empties meanwhile."""
    count = run.task.messages(size, parts)
    with start(run.task, "drain", 0, 0) as drain:
        sock = run.connected("PUSH", drain.line())
        part = b"x" * size
        message: Any = part if parts == 1 else [part] * parts
        call = sock.send if parts == 1 else sock.send_multipart
        call(message)  # waits for the connection
        quiet_down()
        began = time.perf_counter()
        for _ in range(count):
            call(message)
        return {"rate": count / (time.perf_counter() - began)}


def large_send(run: Run) -> dict[str, float]:
    """1 MB each, not copied, until the last has arrived."""
    count = run.task.messages(LARGE)
    with start(run.task, "drain", count + 1, 10) as drain:
        sock = run.connected("PUSH", drain.line(), 10)
        message = b"x" * LARGE
        sock.send(message, copy=False)
        quiet_down()
        began = time.time()
        for _ in range(count):
            sock.send(message, copy=False)
        return {"rate": count / (drain.numbers()[0] - began)}


def recv_many(run: Run, size: int) -> dict[str, float]:
    """As `recv`, in calls for many; a contender that has none receives one by one."""
    if not hasattr(run.zmq.Socket, "recv_many"):
        return recv(run, size, 1)
    count = run.task.messages(size)
    sock, endpoint = run.bound("PULL")
    with start(run.task, "fill", endpoint, count + 1, size, 1, 0):
        sock.recv()
        received = 0
        began = time.perf_counter()
        while received < count:
            received += len(sock.recv_many())
        return {"rate": received / (time.perf_counter() - began)}


def send_many(run: Run, size: int) -> dict[str, float]:
    """As `send`, a hundred messages in a call; a contender that has none sends one by one."""
    if not hasattr(run.zmq.Socket, "send_many"):
        return send(run, size, 1)
    calls = run.task.messages(size) // 100
    with start(run.task, "drain", 0, 0) as drain:
        sock = run.connected("PUSH", drain.line())
        messages = [b"x" * size] * 100
        sock.send(messages[0])
        quiet_down()
        return {"rate": 100 * loop_of(lambda: sock.send_many(messages), calls)}


# ---- requests and answers ------------------------------------------------------------------------------


def round_trips(sock: Any, message: bytes, count: int) -> dict[str, float]:
    took = []
    for _ in range(count + 10):
        began = time.perf_counter()
        sock.send(message)
        sock.recv()
        took.append(time.perf_counter() - began)
    del took[:10]
    return {"p50": percentile(took, 50) * 1e6, "p99": percentile(took, 99) * 1e6}


def roundtrip(run: Run, size: int, others: int = 0) -> dict[str, float]:
    """One greenlet asks, and asks again when it has the answer; so many others wait for what never comes."""
    for _ in range(others):
        run.spawn(run.bound("PULL")[0].recv)
    run.sleep(0.1 if others else 0)
    with start(run.task, "echo") as echo:
        return round_trips(run.connected("REQ", echo.line()), b"x" * size, run.task.count(10_000))


def within(run: Run, size: int, over_tcp: int) -> dict[str, float]:
    """The same where a greenlet of this process answers, over tcp or inproc."""
    rep = run.socket("REP")
    rep.bind("tcp://127.0.0.1:*" if over_tcp else "inproc://within")

    def answer() -> None:
        while True:
            rep.send(rep.recv())

    run.spawn(answer)
    return round_trips(run.connected("REQ", rep.last_endpoint.decode()), b"x" * size, run.task.count(10_000))


def requests(run: Run, greenlets: int) -> dict[str, float]:
    """So many greenlets do that, each with a REQ socket of its own."""
    each = run.task.requests_each(greenlets)
    message = b"x" * 100
    run.context.set(run.zmq.MAX_SOCKETS, greenlets + 100)
    with start(run.task, "echo") as echo:
        endpoint = echo.line()
        socks = [run.connected("REQ", endpoint) for _ in range(greenlets)]

        def ask(sock: Any, times: int) -> None:
            for _ in range(times):
                sock.send(message)
                sock.recv()

        def all_ask(times: int) -> None:
            for one in [run.spawn(ask, sock, times) for sock in socks]:
                one.join()

        all_ask(2)  # the connections, the helpers
        began, cpu = time.perf_counter(), time.process_time()
        all_ask(each)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        return {"rate": greenlets * each / seconds, "cpu": cpu / (greenlets * each) * 1e6}


def short(run: Run) -> dict[str, float]:
    """5,000 greenlets a second begin, ask once, and end."""
    turns = run.task.count(300)
    took: list[float] = []
    with start(run.task, "echo") as echo:
        endpoint = echo.line()
        run.context.set(run.zmq.MAX_SOCKETS, 10_000)
        free: list[Any] = []

        def ask_once() -> None:
            began = time.perf_counter()
            sock = free.pop() if free else run.connected("REQ", endpoint)
            sock.send(b"x" * 100)
            sock.recv()
            free.append(sock)
            took.append(time.perf_counter() - began)

        def fifty_every_10_ms(turns: int) -> None:
            began = time.perf_counter()
            asking = []
            for turn in range(turns):
                asking += [run.spawn(ask_once) for _ in range(50)]
                run.sleep(max(0, began + (turn + 1) * 0.01 - time.perf_counter()))
            for one in asking:
                one.join()

        fifty_every_10_ms(10)  # the connections
        took.clear()
        cpu = time.process_time()
        fifty_every_10_ms(turns)
        cpu = time.process_time() - cpu
    return {"cpu": cpu / len(took) * 1e6, "p50": percentile(took, 50) * 1e6}


def waves(run: Run, greenlets: int) -> dict[str, float]:
    """So many greenlets at once begin, ask once each, and end; then as many others."""
    run.context.set(run.zmq.MAX_SOCKETS, greenlets + 100)
    with start(run.task, "echo") as echo:
        endpoint = echo.line()
        socks = [run.connected("REQ", endpoint) for _ in range(greenlets)]

        def ask_once(sock: Any) -> None:
            sock.send(b"x" * 100)
            sock.recv()

        def wave() -> None:
            for one in [run.spawn(ask_once, sock) for sock in socks]:
                one.join()

        wave()  # the connections
        return {"rate": greenlets * loop_of(wave, run.task.count(100))}


def poller(run: Run, sockets: int) -> dict[str, float]:
    """One greenlet polls so many sockets; another of this process sends to one after another, and waits
    each time until it has arrived."""
    count = run.task.count(20_000)
    poller = run.zmq.Poller()
    pushes = []
    for index in range(sockets):
        pull = run.socket("PULL")
        pull.bind(f"inproc://{index}")
        poller.register(pull, run.zmq.POLLIN)
        pushes.append(run.connected("PUSH", f"inproc://{index}"))
    arrived: Queue[int] = Queue()

    def send() -> None:
        for index in range(count):
            pushes[index % sockets].send(b"x" * 100)
            arrived.get()

    sending = run.spawn(send)
    began = time.perf_counter()
    while not sending.ready():
        for sock, _ in poller.poll(100):
            sock.recv()
            arrived.put(1)
    return {"rate": count / (time.perf_counter() - began)}


# ---- many greenlets ------------------------------------------------------------------------------------


def shared_rate(run: Run, greenlets: int) -> float:
    # With a limit, as it never ends.
    sock, endpoint = run.bound("PULL", 10_000)
    received = [0] * greenlets
    with start(run.task, "fill", endpoint, 0, 100, 1, 10_000):
        sock.recv()

        def work(index: int) -> None:
            while True:
                sock.recv()
                received[index] += 1

        working = [run.spawn(work, index) for index in range(greenlets)]
        run.sleep(0.1)
        before, began = sum(received), time.perf_counter()
        run.sleep(max(0.2, run.task.scale))
        rate = (sum(received) - before) / (time.perf_counter() - began)
        if not all(received) or any(one.dead for one in working):
            raise RuntimeError("not all greenlets received")
        gevent.killall(working)
        return rate


def shared(run: Run, greenlets: int) -> dict[str, float]:
    """So many greenlets receive from one socket, in a flood; beside it, one that does."""
    one = shared_rate(run, 1)
    many = shared_rate(run, greenlets)
    return {"rate": many, "ratio": many / one}


def waiting(run: Run, greenlets: int, sockets_each: int) -> dict[str, float]:
    """So many greenlets wait, each on a socket of its own or (0) all on one; then each gets a message."""
    # A socket has a descriptor, and its greenlet another.
    count = min(run.task.count(greenlets), (raise_descriptor_limit() - 500) // (1 + sockets_each))
    run.context.set(run.zmq.MAX_SOCKETS, 2 * count + 100)
    push = run.socket("PUSH")
    push.bind("inproc://waiting")
    first, *others = [
        run.connected("PULL", "inproc://waiting") for _ in range(1 + (count if sockets_each else 0))
    ]
    others = others or [first] * count
    arrived: deque[int] = deque()

    def work(sock: Any) -> None:
        sock.recv()
        arrived.append(1)

    run.spawn(work, first)  # what the first wait brings is not the others' cost
    settle(run)
    before, kernel_before = resident_kb(), kernel_kb()
    waiting = [run.spawn(work, sock) for sock in others]
    settle(run)
    resident, kernel = resident_kb() - before, kernel_kb() - kernel_before
    for _ in range(count + 1):
        push.send(b"x")
    deadline = time.monotonic() + 30
    while len(arrived) <= count and time.monotonic() < deadline:
        run.sleep(0.05)
    if len(arrived) != count + 1:
        alive = sum(not one.dead for one in waiting)
        raise RuntimeError(f"{alive:,} of {count:,} waiting greenlets were not served")
    return {"served": count, "resident": resident / count, "kernel": kernel / count}


def settle(run: Run) -> None:
    run.sleep(0.3)
    while True:
        before = resident_kb()
        run.sleep(0.2)
        if resident_kb() == before:
            return


def ticker(run: Run) -> Found:
    """A greenlet ticks every 10 ms while another receives from a flood that does not end."""
    seconds = max(0.5, 10 * run.task.scale)
    sock, endpoint = run.bound("PULL", 10_000)
    ticks: list[float] = []

    def tick() -> None:
        while True:
            run.sleep(0.01)
            ticks.append(time.perf_counter())

    with start(run.task, "fill", endpoint, 0, 100, 1, 10_000):
        sock.recv()
        run.sleep(0.3)  # there is something in the queue
        run.spawn(tick)
        run.sleep(0)
        received, began = 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            sock.recv()
            received += 1
        ended = time.perf_counter()
    gaps = gaps_of(began, [at for at in ticks if at > began], ended)
    worst = max(gap for _, gap in gaps) * 1000
    return Found({"worst": worst, "rate": received / (ended - began)}, run.version, gaps)


MEASUREMENTS: dict[str, Measurement] = {
    one.__name__: one
    for one in (
        *(recv, recv_filled, send, large_send, recv_many, send_many),
        *(roundtrip, within, requests, short, waves, poller, shared, waiting, ticker),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one thing of one contender.")
    parser.add_argument("measurement")
    parser.add_argument("contender", choices=[*MODULES, "zmq.asyncio", "C"])
    parser.add_argument("arguments", nargs="*", type=int)
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--floor", default="", help="the built floor.c")
    args = parser.parse_args()
    task = Task(args.contender, args.arguments, args.scale, args.floor)
    raise_descriptor_limit()
    if args.contender == "C":
        found = floors.measure(task, args.measurement)
    elif args.contender == "zmq.asyncio":
        # Only here: the others are to be measured in a process that has no asyncio.
        found = importlib.import_module("tasks").measure(task, args.measurement)
    else:
        run = Run(task)
        found = as_found(MEASUREMENTS[args.measurement](run, *task.arguments), run.version)
    print_found(found)


if __name__ == "__main__":
    main()
