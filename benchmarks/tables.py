"""The table of figures and ratios: for a terminal, or as Markdown, for README.md."""

import statistics

from .measures import CONTENDERS, ITSELF, MEASURES, OTHERS, OURS, Row
from .runs import Figures

Cells = list[str]


def _verdict(value: float, row: Row, against: str) -> str:
    digits = 2 if value < 10 else 1 if value < 100 else 0
    text = f"{value:.{digits}f}"
    if against not in row.asked:
        return text
    bound = row.asked[against]
    good = value >= bound if row.more_is_better else value <= bound
    return f"{text} ({'≥' if row.more_is_better else '≤'} {bound:g}{'' if good else ', missed'})"


def _lines(figures: Figures) -> list[tuple[Cells, Cells]]:
    """For each row what it is and the medians; and the ratios, and what is asked."""
    lines = []
    for measure in MEASURES:
        for row in measure.rows:
            by_contender = figures.get(measure.name, {}).get(row.figure, {})
            medians = {one: statistics.median(values) for one, values in by_contender.items()}
            if not medians:
                continue
            cells = [f"{medians[one]:,.{row.digits}f}" if one in medians else "" for one in CONTENDERS]
            ours = medians.get(OURS)
            ratios = [
                _verdict(ours / medians[other], row, other)
                if row.compared and ours and medians.get(other)
                else ""
                for other in OTHERS
            ]
            itself = _verdict(ours, row, ITSELF) if ours is not None and ITSELF in row.asked else ""
            lines.append(([row.text, *cells], [*ratios, itself]))
    return lines


def _aligned(rows: list[Cells]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def for_terminal(figures: Figures) -> str:
    lines = _lines(figures)
    medians = [["", *CONTENDERS], *(what for what, _ in lines)]
    ratios = [["", *(f": {one}" for one in OTHERS), ITSELF]]
    ratios += [[what[0], *ratio] for what, ratio in lines if any(ratio)]
    return (
        f"{_aligned(medians)}\n\n"
        "gzmqhelper's figure divided by theirs; in brackets what is asked, and where it is missed\n\n"
        f"{_aligned(ratios)}"
    )


def as_markdown(figures: Figures) -> str:
    """One table; the ratios stand with the figures of the others."""
    lines = [
        "| | " + " | ".join(CONTENDERS) + " | asked |",
        "|---|" + "--:|" * len(CONTENDERS) + "---|",
    ]
    for what, ratios in _lines(figures):
        text, ours, *theirs = what
        cells = [ours]
        asked = []
        for other, figure, ratio in zip((*OTHERS, ITSELF), (*theirs, ""), ratios, strict=True):
            value, _, bound = ratio.partition(" (")
            if other != ITSELF:
                cells.append(f"{figure} ({value})" if value else figure)
            if bound:
                asked.append(f"{other} {bound.removesuffix(')')}")
        # Two spaces at a line's beginning would be taken for nothing.
        text = text.replace("    ", "&emsp;")
        lines.append(f"| {text} | " + " | ".join(cells) + f" | {'; '.join(asked)} |")
    return "\n".join(lines)
