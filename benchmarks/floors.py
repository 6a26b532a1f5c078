"""The measurements of C: floor.c's commands, given the other ends that contenders.py gives its own."""

import time

from ends import LARGE, Found, Measurement, Task, hwm_for, start


def received(task: Task, count: int, size: int, parts: int, *, filled: bool) -> dict[str, float]:
    hwm = 0 if filled else hwm_for(size)
    with start(task, "recv", count, hwm) as measured:
        endpoint = measured.line()
        with start(task, "fill", endpoint, count + 1, size, parts, hwm) as filler:
            if filled:
                filler.finish()
                time.sleep(0.3)  # libzmq's thread is still reading
            measured.go()
            return {"rate": count / measured.numbers()[0]}


def sent(task: Task, count: int, size: int, parts: int, hwm: int, measured_until: int) -> list[float]:
    """Seconds in the loop; when that began; and, if asked for, when the last message arrived."""
    with start(task, "drain", measured_until, hwm) as drain:
        with start(task, "send", drain.line(), count, size, parts, hwm) as measured:
            numbers = measured.numbers()
            return numbers + (drain.numbers() if measured_until else [])


def recv(task: Task, size: int, parts: int, copy: bool = True) -> dict[str, float]:
    return received(task, task.messages(size, parts), size, parts, filled=False)


def recv_filled(task: Task, size: int) -> dict[str, float]:
    return received(task, task.messages(size), size, 1, filled=True)


def send(task: Task, size: int, parts: int) -> dict[str, float]:
    count = task.messages(size, parts)
    return {"rate": count / sent(task, count, size, parts, 0, 0)[0]}


def large_send(task: Task) -> dict[str, float]:
    count = task.messages(LARGE)
    _, began, ended = sent(task, count, LARGE, 1, 10, count + 1)
    return {"rate": count / (ended - began)}


def recv_many(task: Task, size: int) -> dict[str, float]:
    return recv(task, size, 1)


def send_many(task: Task, size: int) -> dict[str, float]:
    return send(task, size, 1)


def roundtrip(task: Task, size: int) -> dict[str, float]:
    with start(task, "echo") as echo:
        with start(task, "roundtrip", echo.line(), task.count(10_000), size) as measured:
            p50, p99 = measured.numbers()
            return {"p50": p50, "p99": p99}


def requests(task: Task, sockets: int) -> dict[str, float]:
    """One thread, which waits for all of them with epoll."""
    each = task.requests_each(sockets)
    with start(task, "echo") as echo:
        with start(task, "requests", echo.line(), sockets, each, 100) as measured:
            seconds, cpu = measured.numbers()
            return {"rate": sockets * each / seconds, "cpu": cpu / (sockets * each) * 1e6}


MEASUREMENTS: dict[str, Measurement] = {
    one.__name__: one
    for one in (recv, recv_filled, send, large_send, recv_many, send_many, roundtrip, requests)
}


def measure(task: Task, name: str) -> Found:
    figures = MEASUREMENTS[name](task, *task.arguments)
    assert isinstance(figures, dict)
    with start(task, "version") as version:
        return Found(figures, version.line())
