"""Renders lines as both sides of the filter saw them, next to each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.table import Table
from rich.text import Text

from nfinspect.lab.comparison import BLANKED, CUT, DROPPED, MASKED, PASSED, LinePair
from nfinspect.lab.conversation import REQUEST

VERDICT_STYLE = {
    PASSED: "green",
    MASKED: "yellow",
    BLANKED: "yellow",
    DROPPED: "red",
    CUT: "red",
}
BOUNDARY = "│"
"""Marks a segment boundary."""

LONGEST = 100
"""Characters shown of a line."""
SAME = 4
"""From so many similar exchanges in a row on, only the first and the last are shown."""


def side_by_side(rows: Sequence[LinePair | str], *, numbered: bool = False) -> Table:
    """A table of the rows. A string stands for rows that are left out; *numbered*: with the
    packets."""
    table = Table(box=None, pad_edge=False, expand=True, padding=(0, 2, 0, 0))
    if numbered:
        table.add_column("packet", justify="right", header_style="bold", style="dim")
    table.add_column("client's side", ratio=1, overflow="fold", header_style="bold")
    table.add_column("", width=1)
    table.add_column("server's side", ratio=1, overflow="fold", header_style="bold")
    table.add_column("verdict", max_width=14 if numbered else 30, header_style="bold")
    for item in _shortened(rows):
        if isinstance(item, str):
            left_out = Text(f"… {item}", style="dim")
            table.add_row(*[""] * numbered, left_out, "", left_out, "")
            continue
        number = [str(item.packet)] if numbered else []
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
            table.add_row(*number, sent, Text("→", style="dim"), received, verdict)
        else:
            table.add_row(*number, received, Text("←", style="dim"), sent, verdict)
    return table


def has_boundary(row: LinePair) -> bool:
    """Whether a segment boundary is marked in the line."""
    return BOUNDARY in _line(row.sent, None, row.cuts)


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


def _shortened(rows: Sequence[LinePair | str]) -> Iterator[LinePair | str]:
    """The rows, with the middle of a long run of similar exchanges replaced by its length."""
    for _, run in groupby(_exchanges(rows), _kind):
        exchanges = list(run)
        if len(exchanges) < SAME:
            yield from (row for exchange in exchanges for row in exchange)
        else:
            yield from exchanges[0]
            yield f"{len(exchanges) - 2} more like this"
            yield from exchanges[-1]


def _exchanges(rows: Sequence[LinePair | str]) -> Iterator[list[LinePair | str]]:
    exchange: list[LinePair | str] = []
    for row in rows:
        if exchange and (isinstance(row, str) or row.direction == REQUEST):
            yield exchange
            exchange = []
        exchange.append(row)
    if exchange:
        yield exchange


def _kind(exchange: list[LinePair | str]) -> object:
    """What makes exchanges similar. Lines of a mail, or without reply, are if they are the same."""
    if len(exchange) < 2:
        (row,) = exchange
        return row if isinstance(row, str) else row.sent
    return [
        row if isinstance(row, str) else (row.sent[:4], row.verdict, row.repeats)
        for row in exchange
    ]
