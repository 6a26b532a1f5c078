"""Compare gzmqhelper with zmq.green and with plain pyzmq, side by side.

    python -m benchmarks                 # all, some minutes; or: make bench
    python -m benchmarks recv send       # these only
    python -m benchmarks --quick         # a first impression

Each figure is the median of several runs. Each run is a process of its own, and the contenders take
turns, so that whatever else the machine does meanwhile disturbs all of them alike: the ratios mean
more than the figures. contenders.py says what is measured, and how.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import gevent

try:
    from tqdm import tqdm
except ImportError:
    sys.exit("benchmarks: the progress bar needs tqdm; please run: pip install tqdm pyzmq")

HERE = Path(__file__).parent
CONTENDERS = ("gzmqhelper", "zmq.green", "pyzmq")
LONGEST = 120  # seconds that one run may take


class Row(NamedTuple):
    measurement: str
    text: str
    more_is_better: bool
    digits: int


ROWS = {
    "recv": Row("recv", "received in a plain recv() loop, messages/s", True, 0),
    "send": Row("send", "sent in a plain send() loop, messages/s", True, 0),
    "roundtrip": Row("roundtrip", "request-reply, one greenlet: round trip, us", False, 0),
    "hundred": Row("hundred", "request-reply, 100 greenlets: requests/s", True, 0),
    "hundred-cpu": Row("hundred", "    CPU of the asking process per request, us", False, 1),
    "memory": Row("memory", "1,000 waiting greenlets: resident KB each", False, 1),
}
NAMES = tuple(dict.fromkeys(row.measurement for row in ROWS.values()))

Figures = dict[str, dict[str, list[float]]]  # by row, by contender


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Compare gzmqhelper with zmq.green and with plain pyzmq."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(NAMES)}; else all")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    parser.add_argument("--json", type=Path, metavar="FILE", default=HERE.parent / "build/benchmarks.json")
    args = parser.parse_args()
    if unknown := set(args.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))} (there are: {', '.join(NAMES)})")
    if importlib.util.find_spec("zmq") is None:
        parser.error("zmq.green is not here to compare with; please run: pip install pyzmq")
    return args


def measure(name: str, contender: str, quick: bool) -> dict[str, Any]:
    """One run, in a process of its own. Raises RuntimeError, which says what became of it."""
    command = [sys.executable, str(HERE / "contenders.py"), name, contender, *["--quick"] * quick]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{name}, {contender}: not finished in {LONGEST} s") from None
    if done.returncode != 0:
        reason = (done.stderr.strip() or f"ended with status {done.returncode}").splitlines()[-1]
        raise RuntimeError(f"{name}, {contender}: {reason}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure_all(names: list[str], quick: bool) -> tuple[Figures, dict[str, str], list[str]]:
    """The figures, the contenders' versions, and what failed."""
    figures: Figures = {row: {} for row in ROWS}
    versions: dict[str, str] = {}
    failures: list[str] = []
    rounds = 3 if quick else 5
    runs = [
        (name, contender)
        for turn in range(rounds)
        for name in names
        # Who begins changes with each round.
        for contender in (*CONTENDERS[turn % 3 :], *CONTENDERS[: turn % 3])
    ]
    # disable=None: no bar where the output is not a terminal.
    with tqdm(runs, unit=" runs", disable=None, leave=False) as bar:
        for name, contender in bar:
            bar.set_description(f"{name}, {contender}")
            try:
                found = measure(name, contender, quick)
            except RuntimeError as error:
                failures.append(str(error))
                continue
            versions[contender] = found["version"]
            for row, figure in found["figures"].items():
                figures[row].setdefault(contender, []).append(figure)
    return {row: by for row, by in figures.items() if by}, versions, failures


def table(figures: Figures) -> str:
    width = max(len(row.text) for row in ROWS.values())
    lines = [f"{'':{width}} {''.join(f'{name:>12}' for name in CONTENDERS)}   gzmqhelper : zmq.green"]
    for name, by_contender in figures.items():
        row = ROWS[name]
        medians = {one: statistics.median(values) for one, values in by_contender.items()}
        cells = "".join(
            f"{medians[one]:>12,.{row.digits}f}" if one in medians else f"{'-':>12}" for one in CONTENDERS
        )
        ratio = ""
        if medians.get("gzmqhelper") is not None and medians.get("zmq.green"):
            better = "more" if row.more_is_better else "less"
            ratio = f"{medians['gzmqhelper'] / medians['zmq.green']:>8.2f}   ({better} is better)"
        lines.append(f"{row.text:{width}} {cells}   {ratio}")
    return "\n".join(lines)


def main() -> int:
    args = arguments()
    names = [name for name in NAMES if not args.names or name in args.names]
    figures, versions, failures = measure_all(names, args.quick)
    machine = {
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "gevent": f"{gevent.__version__}, {gevent.config.loop.__module__.split('.')[1]}",
        **versions,
    }
    print("; ".join(f"{what}: {value}" for what, value in machine.items()))
    print(f"the medians of {3 if args.quick else 5} interleaved runs; messages of 100 bytes over tcp\n")
    print(table(figures))
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps({"machine": machine, "figures": figures}, indent=1) + "\n")
    print(f"\nevery run: {args.json}")
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("ended by Ctrl-C")
