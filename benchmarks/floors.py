"""The measurements of C: floor.c's commands, given the other ends that contenders.py gives its own."""

from ends import LARGE, End, Found, Measurement, Task, start


def received(task: Task, count: int, size: int, parts: int, hwm: int) -> dict[str, float]:
    with start(task, "recv", count, hwm) as measured:
        endpoint = measured.line()
        with start(task, "fill", endpoint, count + 1, size, parts, hwm) as filler:
            if hwm == 0:
                filler.finish()
            measured.go()
            return {"rate": count / measured.numbers()[0]}


def sent(task: Task, count: int, size: int, parts: int, hwm: int, measured_until: int) -> list[float]:
    """Seconds in the loop; when that began; and, if asked for, when the last message arrived."""
    with start(task, "drain", measured_until, hwm) as drain:
        with start(task, "send", drain.line(), count, size, parts, hwm) as measured:
            numbers = measured.numbers()
            return numbers + (drain.numbers() if measured_until else [])


def recv(task: Task, size: int, parts: int) -> dict[str, float]:
    return received(task, task.count(300_000), size, parts, 0)


def flow(task: Task, size: int, copy: bool) -> dict[str, float]:
    count = task.count(min(300_000, 1_000_000_000 // size))
    return received(task, count, size, 1, 10 if size >= LARGE else 1000)


def send(task: Task, size: int, parts: int) -> dict[str, float]:
    count = task.count(300_000)
    return {"rate": count / sent(task, count, size, parts, 0, 0)[0]}


def large_send(task: Task) -> dict[str, float]:
    count = task.count(1000)
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


MEASUREMENTS: dict[str, Measurement] = {
    one.__name__: one for one in (recv, flow, send, large_send, recv_many, send_many, roundtrip)
}


def measure(task: Task, name: str) -> Found:
    figures = MEASUREMENTS[name](task, *task.arguments)
    assert isinstance(figures, dict)
    version = End(task, "version")
    return Found(figures, version.line())
