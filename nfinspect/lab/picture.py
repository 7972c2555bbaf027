"""Renders an outcome with rich: both sides of the filter next to each other. Prints nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from nfinspect.lab.case import EHLO_MASK, Case, Outcome
from nfinspect.lab.comparison import DROPPED
from nfinspect.lab.side_by_side import BOUNDARY, has_boundary, side_by_side

COUNTED = {"packet": "packets with payload", "drop": "packets dropped by inspection"}
"""The meaning of show's short counter names."""


def picture(case: Case, outcome: Outcome) -> RenderableType:
    """Return the full picture of a case."""
    parts: list[RenderableType] = [Text(case.shows, style="italic"), Text()]
    for number, rows in enumerate(outcome.rows):
        if number:
            parts.append(Text())
        parts.append(side_by_side(rows))
    if any(has_boundary(row) for rows in outcome.rows for row in rows):
        parts.append(Text(f"{BOUNDARY} segment boundary", style="dim"))
    if outcome.said:
        parts += [_heading("the client says"), Text("\n".join(outcome.said), style="dim")]
    parts += [_heading("syslog"), _syslog(outcome.syslog)]
    parts += [_heading("verdicts and counters"), _counters(outcome)]
    parts += [_heading("expected"), *map(_judgement, outcome.judgements)]
    colour = "green" if outcome.as_expected else "red"
    title = Text(f" {case.name} ", style=f"bold {colour}")
    return Panel(Group(*parts), title=title, title_align="left", border_style=colour)


def summary(outcomes: Sequence[tuple[Case, Outcome]]) -> RenderableType:
    """Return one line per case, saying whether it went as expected."""
    table = Table.grid(padding=(0, 2))
    for case, outcome in outcomes:
        met = sum(met for _, met in outcome.judgements)
        count = f"{met} of {len(outcome.judgements)} as expected"
        table.add_row(_mark(outcome.as_expected), case.name, Text(count, style="dim"))
    return table


def _heading(text: str) -> RenderableType:
    return Group(Text(), Rule(Text(text, style="bold"), align="left", style="dim"))


def _syslog(lines: Sequence[str]) -> Text:
    text = Text("\n").join(Text(line, style="red" if line[5:6] in "1234" else "") for line in lines)
    return text if lines else Text("none", style="dim")


def _counters(outcome: Outcome) -> Text:
    reasons = ", ".join(
        f"{word.removeprefix(DROPPED).strip()} {count}"
        for word, count in outcome.packets.items()
        if word.startswith(f"{DROPPED} ")
    )
    packets = ", ".join(
        f"{word} {count}" + (f" ({reasons})" if word == DROPPED and reasons else "")
        for word, count in outcome.packets.items()
        if not word.startswith(f"{DROPPED} ")
    )
    clauses = [
        f"{COUNTED.get(words, words).removeprefix('match ')} +{count}"
        for words, count in outcome.counters.items()
        if words != EHLO_MASK or count
    ]
    return Text(f"packets: {packets or 'none'}\n{'; '.join(clauses) or 'nothing counted'}")


def _judgement(judgement: tuple[str, bool]) -> Text:
    text, met = judgement
    return _mark(met).append(f" {text}", style="" if met else "red")


def _mark(met: bool) -> Text:
    return Text("✓" if met else "✗", style="bold green" if met else "bold red")
