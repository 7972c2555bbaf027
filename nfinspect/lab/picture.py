"""Renders an outcome with rich: both sides of the filter next to each other. Prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from nfinspect.lab.case import EHLO_MASK, Case, Outcome
from nfinspect.lab.comparison import BLANKED, CUT, DROPPED, MASKED, PASSED, Row
from nfinspect.lab.streams import REQUEST

VERDICT_STYLE = {
    PASSED: "green",
    MASKED: "yellow",
    BLANKED: "yellow",
    DROPPED: "red",
    CUT: "red",
}
BOUNDARY = "│"
"""Marks a segment boundary."""

COUNTED = {"packet": "packets with payload", "drop": "packets dropped by inspection"}
"""The meaning of show's short counter names."""

LONGEST = 100
"""Characters shown of a line."""
SAME = 4
"""From so many similar exchanges in a row on, only the first and the last are shown."""


def picture(case: Case, outcome: Outcome) -> RenderableType:
    """Return the full picture of a case."""
    parts: list[RenderableType] = [Text(case.shows, style="italic"), Text()]
    for number, rows in enumerate(outcome.rows):
        if number:
            parts.append(Text())
        parts.append(_dialogue(rows))
    if any(BOUNDARY in _line(row.sent, None, row.cuts) for rows in outcome.rows for row in rows):
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


def _dialogue(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, expand=True, padding=(0, 2, 0, 0))
    table.add_column("client's side", ratio=1, overflow="fold", header_style="bold")
    table.add_column("", width=1)
    table.add_column("server's side", ratio=1, overflow="fold", header_style="bold")
    table.add_column("verdict", max_width=30, header_style="bold")
    for item in _shortened(rows):
        if isinstance(item, int):
            text = Text(f"… {item} more like this", style="dim")
            table.add_row(text, "", text, "")
            continue
        sent = _line(item.sent, item.received, item.cuts)
        received = (
            Text("—", style="red")
            if item.received is None
            else _line(item.received, item.sent, (), partly=item.verdict == CUT)
        )
        verdict = Text(item.verdict, style=VERDICT_STYLE[item.verdict])
        if item.tries > 1:
            verdict.append(f"; {item.repeats}")
        if item.direction == REQUEST:
            table.add_row(sent, Text("→", style="dim"), received, verdict)
        else:
            table.add_row(received, Text("←", style="dim"), sent, verdict)
    return table


def _line(line: bytes, other: bytes | None, cuts: Sequence[int], *, partly: bool = False) -> Text:
    """A line with its differences from the *other* side, and its segment boundaries, marked."""
    text = Text()
    shown = line[:LONGEST]
    for differs, group in groupby(
        range(len(shown)),
        lambda index: other is not None and other[index : index + 1] != line[index : index + 1],
    ):
        for index in group:
            if index in cuts:
                text.append(BOUNDARY, style="dim cyan")
            text.append(_printable(shown[index]), style="bold yellow" if differs else "")
    if len(line) > LONGEST:
        text.append(f"… ({len(line):,} characters)", style="dim")
    if len(line) in cuts and len(cuts) > 1:
        text.append(BOUNDARY, style="dim cyan")
    if partly:
        text.append("… and no more", style="red")
    return text


def _printable(byte: int) -> str:
    if byte == 0x09:
        return "    "
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"


def _shortened(rows: Sequence[Row]) -> Iterator[Row | int]:
    """The rows, with the middle of a long run of similar exchanges replaced by its length."""
    for _, run in groupby(_exchanges(rows), _kind):
        exchanges = list(run)
        if len(exchanges) < SAME:
            yield from (row for exchange in exchanges for row in exchange)
        else:
            yield from exchanges[0]
            yield len(exchanges) - 2
            yield from exchanges[-1]


def _exchanges(rows: Sequence[Row]) -> Iterator[list[Row]]:
    exchange: list[Row] = []
    for row in rows:
        if row.direction == REQUEST and exchange:
            yield exchange
            exchange = []
        exchange.append(row)
    if exchange:
        yield exchange


def _kind(exchange: list[Row]) -> object:
    if len(exchange) < 2:
        return exchange[0].sent  # a line of a mail, or one without reply: never similar
    return [(row.sent[:4], row.verdict, row.repeats) for row in exchange]


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
