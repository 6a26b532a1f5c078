"""Compare gzmqhelper with zmq.green, zmq.asyncio, plain pyzmq and C, side by side.

    python -m benchmarks                       # all, about half an hour; or: make bench
    python -m benchmarks recv send             # these only
    python -m benchmarks --quick               # a first impression, within a minute
    python -m benchmarks --plots docs/plots    # and the plots: half an hour

Each figure is the median of several runs. Each run is a process of its own, and the contenders take
turns, so that whatever else the machine does meanwhile disturbs all of them alike: the ratios mean
more than the figures. measures.py says what is measured, and what is asked; contenders.py, how.
"""

import argparse
import importlib.util
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

if missing := [name for name in ("zmq", "tqdm") if importlib.util.find_spec(name) is None]:
    packages = " ".join("pyzmq" if name == "zmq" else name for name in missing)
    sys.exit(f"benchmarks: not all that they need is here; please run: pip install {packages}")

from . import runs, tables
from .measures import MEASURES, NAMES, SWEEPS, Measure, sweep


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare gzmqhelper with zmq.green, zmq.asyncio, plain pyzmq and C.",
    )
    names = ", ".join(NAMES)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {names}; else all")
    parser.add_argument("--quick", action="store_true", help="one short run of each, within a minute")
    parser.add_argument("--rounds", type=int, metavar="N", help="runs of each (5)")
    parser.add_argument("--scale", type=float, metavar="X", help="the length of each run (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", default=runs.BUILT / "figures.json")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write plots (SVG) there; needs matplotlib")
    parser.add_argument(
        "--again",
        type=Path,
        metavar="FILE",
        help="measure nothing: table and plots of what --json has written",
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    args = parser.parse_args()
    if unknown := set(args.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))} (there are: {names})")
    if args.plots and importlib.util.find_spec("matplotlib") is None:
        parser.error("the plots need matplotlib; please run: pip install matplotlib")
    args.rounds = args.rounds or (1 if args.quick else 5)
    args.scale = args.scale or (0.05 if args.quick else 1)
    return args


def chosen(args: argparse.Namespace) -> list[Measure]:
    measures = [one for one in MEASURES if not args.names or one.name in args.names]
    for name in SWEEPS:
        # They take long, and are for the plots.
        if name in args.names or (args.plots and not args.names):
            measures += sweep(name, args.quick)
    return measures


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


def machine() -> dict[str, str]:
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": f"{os.cpu_count()} {processor()}".strip(),
        # Above the number of processors the figures are not worth much.
        "load before": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "gevent": f"{version('gevent')}, {os.environ.get('GEVENT_LOOP', 'its default loop')}",
    }


def measured(args: argparse.Namespace) -> tuple[runs.Series, dict[str, str]]:
    """What was found, and where and how."""
    ends_at = time.monotonic() + runs.QUICK_END if args.quick else None
    about = machine()
    floor = ""
    try:
        floor = runs.build_floor()
    except runs.NoFloorError as error:
        print(f"benchmarks: {error}\n", file=sys.stderr)
    found = runs.series(chosen(args), args.rounds, args.scale, floor, ends_at)
    about |= found.versions
    about["runs"] = f"medians of {args.rounds}, interleaved, length {args.scale:g}; tcp on the loopback"
    about["other ends"] = "C" if floor else "plain pyzmq"
    args.json.parent.mkdir(parents=True, exist_ok=True)
    everything = {"about": about, "figures": found.figures, "gaps": found.gaps}
    args.json.write_text(json.dumps(everything) + "\n")
    return found, about


def measured_before(file: Path) -> tuple[runs.Series, dict[str, str]]:
    everything = json.loads(file.read_text())
    return runs.Series(everything["figures"], {}, everything["gaps"], [], 0), everything["about"]


def main() -> int:
    args = arguments()
    found, about = measured_before(args.again) if args.again else measured(args)
    print("; ".join(f"{what}: {value}" for what, value in about.items()) + "\n")
    print(tables.as_markdown(found.figures) if args.markdown else tables.for_terminal(found.figures))
    print(f"\nevery run: {args.again or args.json}")
    if args.plots:
        from .plots import write  # matplotlib takes a second, and most runs need none

        for path in write(found, args.plots):
            print(f"plot: {path}")
    if found.left_out:
        print(f"{found.left_out} runs left out: the minute was over (without --quick there is no limit)")
    for failure in found.failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if found.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("ended by Ctrl-C")
