"""The measurements of zmq.asyncio: those of contenders.py, with tasks where that has greenlets."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import zmq
import zmq.asyncio
from ends import LARGE, Found, Task, as_found, gaps_of, hwm_for, percentile, quiet_down, start

VERSION = f"{zmq.__version__}, libzmq {zmq.zmq_version()}"


class Run:
    def __init__(self, task: Task) -> None:
        self.task = task
        self.context = zmq.asyncio.Context()

    def socket(self, kind: int, hwm: int = 0) -> Any:
        sock = self.context.socket(kind)
        sock.linger = 0
        sock.set_hwm(hwm)
        return sock

    def bound(self, kind: int, hwm: int = 0) -> tuple[Any, str]:
        sock = self.socket(kind, hwm)
        sock.bind("tcp://127.0.0.1:*")
        return sock, sock.last_endpoint.decode()

    def connected(self, kind: int, endpoint: str, hwm: int = 0) -> Any:
        sock = self.socket(kind, hwm)
        sock.connect(endpoint)
        return sock


async def loop_of(call: Callable[[], Awaitable[Any]], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        await call()
    return count / (time.perf_counter() - began)


async def recv(run: Run, size: int, parts: int, copy: bool = True) -> dict[str, float]:
    count, hwm = run.task.messages(size, parts), hwm_for(size)
    sock, endpoint = run.bound(zmq.PULL, hwm)
    with start(run.task, "fill", endpoint, count + 1, size, parts, hwm):
        await sock.recv_multipart()
        if not copy:
            return {"rate": await loop_of(lambda: sock.recv(copy=False), count)}
        return {"rate": await loop_of(sock.recv if parts == 1 else sock.recv_multipart, count)}


async def send(run: Run, size: int, parts: int) -> dict[str, float]:
    count = run.task.messages(size, parts)
    with start(run.task, "drain", 0, 0) as drain:
        sock = run.connected(zmq.PUSH, drain.line())
        part = b"x" * size
        message: Any = part if parts == 1 else [part] * parts
        call = sock.send if parts == 1 else sock.send_multipart
        await call(message)
        quiet_down()
        return {"rate": await loop_of(lambda: call(message), count)}


async def large_send(run: Run) -> dict[str, float]:
    count = run.task.messages(LARGE)
    with start(run.task, "drain", count + 1, 10) as drain:
        sock = run.connected(zmq.PUSH, drain.line(), 10)
        message = b"x" * LARGE
        await sock.send(message, copy=False)
        quiet_down()
        began = time.time()
        for _ in range(count):
            await sock.send(message, copy=False)
        return {"rate": count / (drain.numbers()[0] - began)}


async def round_trips(sock: Any, message: bytes, count: int) -> dict[str, float]:
    took = []
    for _ in range(count + 10):
        began = time.perf_counter()
        await sock.send(message)
        await sock.recv()
        took.append(time.perf_counter() - began)
    del took[:10]
    return {"p50": percentile(took, 50) * 1e6, "p99": percentile(took, 99) * 1e6}


async def roundtrip(run: Run, size: int, others: int = 0) -> dict[str, float]:
    waiting = [asyncio.ensure_future(run.bound(zmq.PULL)[0].recv_multipart()) for _ in range(others)]
    with start(run.task, "echo") as echo:
        found = await round_trips(run.connected(zmq.REQ, echo.line()), b"x" * size, run.task.count(10_000))
    for task in waiting:
        task.cancel()
    return found


async def within(run: Run, size: int, over_tcp: int) -> dict[str, float]:
    rep = run.socket(zmq.REP)
    rep.bind("tcp://127.0.0.1:*" if over_tcp else "inproc://within")

    async def answer() -> None:
        while True:
            await rep.send(await rep.recv())

    answering = asyncio.create_task(answer())
    req = run.connected(zmq.REQ, rep.last_endpoint.decode())
    found = await round_trips(req, b"x" * size, run.task.count(10_000))
    answering.cancel()
    return found


async def requests(run: Run, tasks: int) -> dict[str, float]:
    each = run.task.requests_each(tasks)
    message = b"x" * 100
    run.context.set(zmq.MAX_SOCKETS, tasks + 100)
    with start(run.task, "echo") as echo:
        endpoint = echo.line()
        socks = [run.connected(zmq.REQ, endpoint) for _ in range(tasks)]

        async def ask(sock: Any, times: int) -> None:
            for _ in range(times):
                await sock.send(message)
                await sock.recv()

        await asyncio.gather(*(ask(sock, 2) for sock in socks))
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(ask(sock, each) for sock in socks))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        return {"rate": tasks * each / seconds, "cpu": cpu / (tasks * each) * 1e6}


async def ticker(run: Run) -> Found:
    seconds = max(0.5, 10 * run.task.scale)
    sock, endpoint = run.bound(zmq.PULL, 10_000)
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.01)
            ticks.append(time.perf_counter())

    with start(run.task, "fill", endpoint, 0, 100, 1, 10_000):
        await sock.recv()
        await asyncio.sleep(0.3)
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0)
        received, began = 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            await sock.recv()
            received += 1
        ended = time.perf_counter()
        ticking.cancel()
    gaps = gaps_of(began, [at for at in ticks if at > began], ended)
    worst = max(gap for _, gap in gaps) * 1000
    return Found({"worst": worst, "rate": received / (ended - began)}, VERSION, gaps)


MEASUREMENTS: dict[str, Callable[..., Awaitable[Any]]] = {
    one.__name__: one for one in (recv, send, large_send, roundtrip, within, requests, ticker)
}


def measure(task: Task, name: str) -> Found:
    async def run_it() -> Any:
        return await MEASUREMENTS[name](Run(task), *task.arguments)

    return as_found(asyncio.run(run_it()), VERSION)
