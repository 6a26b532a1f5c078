"""The plots, as SVG: small files, in which only what was measured changes from one run to the next."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

from .measures import CONTENDERS
from .runs import Figures, Series

matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",  # text stays text: a tenth of the size
        "svg.hashsalt": "gzmqhelper",  # the same names of things in each run
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.grid": True,
        "grid.color": "#dddddd",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
)
COLOURS = dict(zip(CONTENDERS, ("#c0392b", "#27ae60", "#8e44ad", "#2980b9", "#555555"), strict=True))
MARKERS = dict(zip(CONTENDERS, "os^Dx", strict=True))
BIN = 0.1  # seconds of the flood that a point of its plot stands for


def points(figures: Figures, sweep: str, figure: str) -> dict[str, list[tuple[int, float]]]:
    """The medians of a sweep, by contender."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for name, found in figures.items():
        which, _, value = name.partition(":")
        if which == sweep:
            for contender, values in found.get(figure, {}).items():
                lines.setdefault(contender, []).append((int(value), statistics.median(values)))
    return {one: sorted(lines[one]) for one in CONTENDERS if one in lines}


def draw(axes: Any, lines: dict[str, list[tuple[int, float]]]) -> None:
    for contender, line in lines.items():
        x, y = zip(*line, strict=True)
        axes.plot(x, y, color=COLOURS[contender], marker=MARKERS[contender], markersize=4, label=contender)


def short_number(value: float, _: Any = None) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"


def short_size(value: float, _: Any = None) -> str:
    for size, letter in ((1 << 20, "MB"), (1 << 10, "KB")):
        if value >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g} B"


def sizes(found: Series) -> Any:
    lines = points(found.figures, "sizes", "rate")
    if not lines:
        return None
    figure, axes = plt.subplots(figsize=(7, 4))
    draw(axes, lines)
    axes.set(xscale="log", yscale="log", xlabel="message size", ylabel="recv(), messages/s")
    ticks = sorted({x for line in lines.values() for x, _ in line})
    axes.set_xticks(ticks[::2], minor=False)
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter(FuncFormatter(short_size))
    axes.yaxis.set_major_formatter(FuncFormatter(short_number))
    axes.legend(loc="lower left")
    figure.subplots_adjust(0.11, 0.13, 0.97, 0.97)
    return figure


def greenlets(found: Series) -> Any:
    rate, cpu = (points(found.figures, "greenlets", figure) for figure in ("rate", "cpu"))
    if not rate:
        return None
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
    draw(left, rate)
    draw(right, cpu)
    left.set(ylabel="requests/s")
    right.set(ylabel="CPU of the asking process per request, µs")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="greenlets that ask at the same time")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(FuncFormatter(short_number))
    left.yaxis.set_major_formatter(FuncFormatter(short_number))
    right.legend(loc="upper left")
    figure.subplots_adjust(0.09, 0.13, 0.98, 0.97, wspace=0.22)
    return figure


def worst_by_time(gaps: list[list[float]]) -> list[tuple[float, float]]:
    """For each whole tenth of a second the longest gap that touches it, in milliseconds."""
    end = max(at + gap for at, gap in gaps)
    worst = [0.0] * max(1, int(end / BIN))
    for at, gap in gaps:
        for index in range(int(at / BIN), min(int((at + gap) / BIN) + 1, len(worst))):
            worst[index] = max(worst[index], gap * 1000)
    return [(index * BIN, gap) for index, gap in enumerate(worst) if gap]


def ticker(found: Series) -> Any:
    if not found.gaps:
        return None
    figure, axes = plt.subplots(figsize=(7, 4))
    # Ever thinner: those that never let the ticker run lie one upon the other.
    for contender, width in zip(CONTENDERS, (1.2, 6, 2), strict=False):
        if contender in found.gaps:
            x, y = zip(*worst_by_time(found.gaps[contender]), strict=True)
            axes.plot(x, y, color=COLOURS[contender], label=contender, linewidth=width)
    axes.axhline(10, color="#999999", linestyle=":", linewidth=1)
    axes.set(yscale="log", xlabel="seconds of the flood", ylabel="longest gap of a 10 ms ticker, ms")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.legend(loc="center right")
    figure.subplots_adjust(0.11, 0.13, 0.97, 0.97)
    return figure


PLOTS: dict[str, Callable[[Series], Any]] = {"sizes": sizes, "greenlets": greenlets, "ticker": ticker}


def write(found: Series, folder: Path) -> list[Path]:
    """Those for which something was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, plot in PLOTS.items():
        figure = plot(found)
        if figure is not None:
            written.append(folder / f"{name}.svg")
            # Without the day, which would change each time.
            figure.savefig(written[-1], metadata={"Date": None})
            plt.close(figure)
    return written
