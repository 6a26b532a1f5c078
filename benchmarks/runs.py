"""Runs the measurements: each a process of its own, the contenders in turns; and builds floor.c for them."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from .measures import Measure

HERE = Path(__file__).parent
BUILT = HERE.parent / "build" / "benchmarks"
LONGEST = 120  # seconds that one run may take
QUICK = 50  # seconds after which a quick series begins no other run
QUICK_END = 58  # and after which the last one is ended

NO_FLOOR = (
    "no C to compare with, as {}; the other ends of all measurements are plain pyzmq, too, and may be what\n"
    "limits them. It needs a C compiler, pkg-config and libzmq's headers: on Debian,\n"
    "apt install gcc libc6-dev pkg-config libzmq3-dev"
)

# By measure, by figure, by contender: of each run.
Figures = dict[str, dict[str, dict[str, list[float]]]]


class Series(NamedTuple):
    """All that was found."""

    figures: Figures
    versions: dict[str, str]
    gaps: dict[str, list[list[float]]]  # the ticker's, by contender, of the run with the worst
    failures: list[str]
    left_out: int  # runs for which a quick series had no time


class NoFloorError(Exception):
    pass


def build_floor() -> str:
    """Build floor.c, unless that is done; returns its path. Raises NoFloorError, which says why not."""
    source, program = HERE / "floor.c", BUILT / "floor"
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return str(program)
    BUILT.mkdir(parents=True, exist_ok=True)
    try:
        flags = _output([os.environ.get("PKG_CONFIG", "pkg-config"), "--cflags", "--libs", "libzmq"])
        # Under another name first: two may build it at the same time.
        with tempfile.TemporaryDirectory(dir=BUILT) as folder:
            built = Path(folder) / "floor"
            _output([os.environ.get("CC", "cc"), "-O2", "-o", str(built), str(source), *flags.split()])
            built.rename(program)
    except NoFloorError:
        program.unlink(missing_ok=True)
        raise
    return str(program)


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        reason = f"there is no {command[0]}"
    except subprocess.CalledProcessError as error:
        reason = f"{command[0]} says: {(error.stderr.strip() or str(error)).splitlines()[0]}"
    raise NoFloorError(NO_FLOOR.format(reason))


def run(measure: Measure, contender: str, scale: float, floor: str, longest: float) -> dict[str, Any]:
    """One run. Raises RuntimeError, which says what became of it."""
    if measure.function == "import":
        command = [str(HERE / "imports.py"), contender]
    else:
        arguments = [measure.function, contender, *map(str, measure.arguments)]
        command = [str(HERE / "contenders.py"), *arguments, "--scale", str(scale), "--floor", floor]
    # Where this is set, an editable installation is compiled at each import; what pip installs never is.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # A session of its own, so that its other ends end with it.
    process = subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    what = f"{measure.name}, {contender}"
    try:
        out, err = process.communicate(timeout=longest)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{what}: not finished in {longest:.0f} s") from None
    finally:
        _end_session(process)
    if process.returncode != 0:
        reason = (err.strip() or f"ended with status {process.returncode}").splitlines()[-1]
        raise RuntimeError(f"{what}: {reason}")
    found: dict[str, Any] = json.loads(out)
    return found


def _end_session(process: "subprocess.Popen[str]") -> None:
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass  # as it should be: nobody is left
    process.wait()


def order(measures: list[Measure], rounds: int, floor: str) -> list[tuple[Measure, str]]:
    """Who runs after whom. Who begins changes with each round."""
    runs = []
    for turn in range(rounds):
        for measure in measures:
            # The points of a plot have each other to compare with.
            if ":" in measure.name and turn >= 3:
                continue
            whom = [one for one in measure.contenders if one != "C" or floor]
            at = turn % len(whom)
            runs += [(measure, one) for one in (*whom[at:], *whom[:at])]
    return runs


def series(measures: list[Measure], rounds: int, scale: float, floor: str, ends_at: float | None) -> Series:
    """Run all. ends_at: of time.monotonic, for a quick series."""
    found = Series({}, {}, {}, [], 0)
    runs = order(measures, rounds, floor)
    done = 0
    # disable=None: no bar where the output is not a terminal.
    with tqdm(runs, unit=" runs", disable=None, leave=False) as bar:
        for measure, contender in bar:
            bar.set_description(f"{measure.name}, {contender}")
            longest: float = LONGEST
            if ends_at is not None:
                if time.monotonic() > ends_at - (QUICK_END - QUICK):
                    break
                longest = ends_at - time.monotonic()
            done += 1
            try:
                one = run(measure, contender, scale, floor, longest)
            except RuntimeError as error:
                found.failures.append(str(error))
                continue
            _add(found, measure, contender, one)
    return found._replace(left_out=len(runs) - done)


def _add(found: Series, measure: Measure, contender: str, one: dict[str, Any]) -> None:
    if "libzmq" in one["version"]:
        found.versions[contender] = one["version"]
    for figure, value in one["figures"].items():
        by_contender = found.figures.setdefault(measure.name, {}).setdefault(figure, {})
        by_contender.setdefault(contender, []).append(value)
    gaps = one.get("gaps")
    if gaps:
        before = found.gaps.get(contender, [[0, 0]])
        if max(gap for _, gap in gaps) > max(gap for _, gap in before):
            found.gaps[contender] = gaps
