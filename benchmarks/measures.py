"""What is measured, of whom, and what is asked of gzmqhelper: the rows of the table.

The names of the functions are those of contenders.py, tasks.py (zmq.asyncio) and floors.py (C), which
say how each figure is taken.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

OURS: Final = "gzmqhelper"
GREEN, ASYNCIO, PLAIN, C = OTHERS = ("zmq.green", "zmq.asyncio", "pyzmq", "C")
CONTENDERS: Final = (OURS, *OTHERS)
ITSELF: Final = "itself"  # what is asked of the figure, and not of its ratio to another


class Row(NamedTuple):
    figure: str  # its name in what the measurement gives
    text: str
    asked: dict[str, float] = {}  # noqa: RUF012 (never changed): at least, or at most, so many times theirs
    more_is_better: bool = True
    digits: int = 0
    compared: bool = True  # a ratio to theirs means something


class Measure(NamedTuple):
    name: str
    function: str
    arguments: tuple[int, ...]
    contenders: Sequence[str]
    rows: tuple[Row, ...]


def _rate(name: str, function: str, arguments: tuple[int, ...], text: str, **asked: float) -> Measure:
    by_name = {"green": GREEN, "plain": PLAIN, "c": C}
    row = Row("rate", text, {by_name[who]: bound for who, bound in asked.items()})
    whom = (OURS, PLAIN, C) if function.endswith("_many") else CONTENDERS
    return Measure(name, function, arguments, whom, (row,))


def _requests(greenlets: int, rate: float, cpu: float) -> Measure:
    rows = (
        Row("rate", f"{greenlets:,} REQ greenlets: requests/s", {GREEN: rate}),
        Row("cpu", "    CPU of the asking process per request, us", {GREEN: cpu}, False, 1),
    )
    return Measure(f"requests-{greenlets}", "requests", (greenlets,), (OURS, GREEN, ASYNCIO, C), rows)


def _within(transport: str, over_tcp: int) -> Measure:
    rows = (Row("p50", f"    p50 where another greenlet answers, {transport}", {GREEN: 1}, False),)
    return Measure(f"within-{transport}", "within", (100, over_tcp), (OURS, GREEN, ASYNCIO, PLAIN), rows)


_ROUND_TRIP: Final = {GREEN: 0.8, PLAIN: 1.2, C: 1.4}

MEASURES: Final = (
    _rate("recv", "recv", (100, 1), "recv() loop, 100 B, messages/s", green=12, plain=1, c=0.7),
    Measure(
        "recv-filled",
        "recv_filled",
        (100,),
        (OURS, GREEN, PLAIN, C),
        (Row("rate", "    the same, from a queue filled before"),),
    ),
    _rate("send", "send", (100, 1), "send() loop, 100 B, messages/s", green=10, plain=1),
    _rate(
        "recv-multipart", "recv", (50, 3), "recv_multipart(), 3 x 50 B, messages/s", green=12, plain=3, c=0.6
    ),
    _rate("send-multipart", "send", (50, 3), "send_multipart(), 3 x 50 B, messages/s", green=10, plain=3),
    _rate(
        "recv-many", "recv_many", (100,), "recv_many(), 100 B (others: recv), messages/s", plain=1.1, c=0.8
    ),
    _rate("send-many", "send_many", (100,), "send_many(), 100 B (others: send), messages/s", plain=2, c=0.8),
    _rate(
        "large-recv",
        "recv",
        (1_000_000, 1, 0),
        "recv(copy=False), 1 MB, messages/s",
        green=1.1,
        plain=1,
        c=0.9,
    ),
    _rate("large-send", "large_send", (), "send(copy=False), 1 MB, messages/s", green=1.1, plain=1, c=0.9),
    Measure(
        "roundtrip",
        "roundtrip",
        (100,),
        CONTENDERS,
        (
            Row("p50", "round trip of one REQ greenlet, us, p50", _ROUND_TRIP, False),
            Row("p99", "    p99", _ROUND_TRIP, False),
        ),
    ),
    Measure(
        "roundtrip-beside",
        "roundtrip",
        (100, 10),
        (OURS, GREEN, ASYNCIO),
        (Row("p50", "    p50 where ten other greenlets wait", {GREEN: 0.8}, False),),
    ),
    _within("tcp", 1),
    _within("inproc", 0),
    _requests(10, 1.8, 0.5),
    _requests(100, 2, 0.4),
    _requests(1000, 2, 0.5),
    Measure(
        "short",
        "short",
        (),
        (OURS, GREEN),
        (
            Row("cpu", "5,000 greenlets/s ask once and end: CPU each, us", {}, False),
            Row("p50", "    from its beginning to its end, us, p50", {}, False),
        ),
    ),
    Measure(
        "waves",
        "waves",
        (250,),
        (OURS, GREEN),
        (Row("rate", "250 at once ask once and end, then 250 others: requests/s"),),
    ),
    Measure(
        "poller",
        "poller",
        (10,),
        (OURS, GREEN),
        (Row("rate", "Poller of 10 sockets that another greenlet sends to, one by one, messages/s"),),
    ),
    Measure(
        "shared",
        "shared",
        (100,),
        (OURS,),  # zmq.green lets one greenlet at a time wait on a socket
        (
            Row("rate", "100 greenlets receive from one socket, messages/s"),
            Row("ratio", "    one greenlet, from one socket: 1", {ITSELF: 0.5}, True, 2),
        ),
    ),
    Measure(
        "waiting",
        "waiting",
        (10_000, 1),
        (OURS, GREEN),
        (
            Row("served", "greenlets that waited, each on a socket, and were served", compared=False),
            Row("resident", "    KB resident each", {GREEN: 2}, False, 1),
            Row("kernel", "    KB in the kernel each", {}, False, 1, False),
        ),
    ),
    Measure(
        "waiting-one",
        "waiting",
        (10_000, 0),
        (OURS,),
        (
            Row("served", "greenlets that waited on one socket, and were served", compared=False),
            Row("resident", "    KB resident each", {}, False, 1),
            Row("kernel", "    KB in the kernel each", {}, False, 1, False),
        ),
    ),
    Measure(
        "ticker",
        "ticker",
        (),
        (OURS, GREEN, ASYNCIO),
        (
            Row("worst", "a flood (10 s): worst gap of a 10 ms ticker, ms", {ITSELF: 20}, False, 1),
            Row("rate", "    received meanwhile, messages/s"),
        ),
    ),
    Measure(
        "import",
        "import",
        (),
        (OURS, GREEN, ASYNCIO, PLAIN),
        (Row("ms", "import, ms", {GREEN: 1}, False, 1),),
    ),
)

SIZES: Final = (16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576)
GREENLETS: Final = (1, 10, 100, 300, 1000, 2000, 5000)


def sweep(name: str, quick: bool) -> list[Measure]:
    """The points of a plot, each a measure of the name "sweep:value"."""
    step = 2 if quick else 1
    if name == "sizes":
        return [Measure(f"{name}:{size}", "recv", (size, 1), CONTENDERS, ()) for size in SIZES[::step]]
    whom = (OURS, GREEN, ASYNCIO, C)
    return [Measure(f"{name}:{many}", "requests", (many,), whom, ()) for many in GREENLETS[::step]]


SWEEPS: Final = ("sizes", "greenlets")
NAMES: Final = (*(measure.name for measure in MEASURES), *SWEEPS)
