"""RESULTS.md: tables that are readable as plain text, with every figure taken from the samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.loads import KIB, MB, Load
from bench.summary import (
    ACCEPT_ONLY,
    FILTER,
    MEASURES,
    PATHS,
    PLAIN,
    Judgement,
    Measure,
    Sample,
    Spread,
    figures,
    judge,
    ratios,
    spread,
)

NONE = "–"
PLOT = "RESULTS.svg"
"""The picture beside RESULTS.md."""


def results(
    samples: Sequence[Sample], loads: Sequence[Load], facts: Mapping[str, str], command: str
) -> str:
    """The complete text."""
    count = len({sample.round for sample in samples})
    return "\n".join(
        [
            "# What the filter costs",
            "",
            f"Written by `{command}`; [README.md](README.md) explains what is measured and how.",
            f"{_rounds(count)}; median (least to greatest). A ratio is the median of the ratios",
            "within each round.",
            "",
            *facts_table(facts),
            "",
            "## Aims",
            "",
            *_aims(judge(samples)),
            "",
            "## Figures",
            "",
            *(f"- {load.name}: {describe(load)}" for load in loads),
            "",
            f"![The ratios to accept-only]({PLOT})",
            "",
            *_figures(samples),
            "",
        ]
    )


def _rounds(count: int) -> str:
    return "One round" if count == 1 else f"{count} interleaved rounds"


def facts_table(facts: Mapping[str, str]) -> list[str]:
    return table(["", ""], [[name, value] for name, value in facts.items()])


def describe(load: Load) -> str:
    """``3,000 sessions of one mail of 2 KiB, 20 at a time``."""
    at_a_time = "one at a time" if load.parallel == 1 else f"{load.parallel} at a time"
    return f"{load.sessions:,} sessions of one mail of {_size(load.size)}, {at_a_time}"


def _size(size: int) -> str:
    return f"{size // MB} MB" if size % MB == 0 else f"{size // KIB} KiB"


def _aims(judgements: Iterable[Judgement]) -> Iterable[str]:
    rows = []
    for judgement in judgements:
        aim = judgement.aim
        wanted = f"{'at least' if aim.at_least else 'at most'} {aim.bound:.2f} of {aim.reference}"
        verdict = "not measured" if judgement.ratio is None else "short"
        rows.append(
            [
                aim.measure.name if aim.path == FILTER else f"{aim.measure.name}, {aim.path}",
                wanted,
                _spread(judgement.ratio, 2),
                "met" if judgement.is_met else verdict,
            ]
        )
    return table(["aim", "wanted", "measured", ""], rows)


def _figures(samples: Sequence[Sample]) -> Iterable[str]:
    rows = []
    for measure in MEASURES:
        for path in PATHS:
            found = spread(figures(samples, measure, path).values())
            if found is not None:
                rows.append(
                    [
                        measure.name,
                        measure.load.name,
                        path,
                        _spread(found, measure.digits),
                        _ratio(samples, measure, path, PLAIN),
                        _ratio(samples, measure, path, ACCEPT_ONLY),
                    ]
                )
    return table(["", "load", "in the path", "", f"to {PLAIN}", f"to {ACCEPT_ONLY}"], rows)


def _ratio(samples: Sequence[Sample], measure: Measure, path: str, reference: str) -> str:
    if path == reference:
        return NONE
    found = spread(ratios(samples, measure, path, reference))
    return NONE if found is None else f"{found.median:.2f}"


def _spread(found: Spread | None, digits: int) -> str:
    if found is None:
        return NONE
    least, middle, greatest = (
        f"{figure:,.{digits}f}" for figure in (found.least, found.median, found.greatest)
    )
    return middle if least == greatest else f"{middle} ({least} to {greatest})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table with aligned columns."""
    rows = list(rows)
    widths = [max(3, *(len(row[at]) for row in [head, *rows])) for at in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    return [line(head), line(["-" * width for width in widths]), *map(line, rows)]
