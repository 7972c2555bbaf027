"""``nfinspect top``: the running filter's connections and counters, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nfinspect.audit.text import duration
from nfinspect.cli.console import console
from nfinspect.cli.questions import ask_filter, control_option
from nfinspect.live.requests import CONNECTIONS, QUEUE, SET_CONNECTION, SHOW

LINES_ABOVE = 14
"""Of the screen, that are not connections."""

ASKED = (QUEUE, CONNECTIONS, SET_CONNECTION)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The filter's answers at one time."""

    time: float
    """Seconds."""
    queue: Mapping[str, Any]
    connections: Mapping[str, Any]
    limits: list[Mapping[str, Any]]

    def bytes(self) -> dict[int, int]:
        """Bytes that have passed, by the number of the connection."""
        return {each["connection"]: each["bytes"] for each in self.connections["connections"]}


@click.command()
@control_option
@click.option(
    "--interval", type=click.FloatRange(0.2), default=2.0, show_default=True, metavar="SECONDS",
    help="Between two looks.",
)  # fmt: skip
@click.option(
    "--count", type=click.IntRange(1), metavar="N",
    help="Look so many times, and print each look below the other.",
)  # fmt: skip
def top(control: Path, interval: float, count: int | None) -> None:
    """Show the connections and counters of the running filter, the busiest connections first.

    Ends with Ctrl-C. A look takes the filter a few microseconds for each open connection; with very many,
    look less often.
    """

    def look() -> Snapshot:
        answers = [ask_filter([SHOW, *words], control).data for words in ASKED]
        return Snapshot(time.monotonic(), *answers)

    out = console()
    if count is None and out.is_terminal:
        before = look()
        with Live(picture(before, None, out.height), console=out, screen=True) as live:
            _again(
                look, interval, lambda now, old: live.update(picture(now, old, out.height)), before
            )
        return
    old = None
    for number in range(count or 1):
        if number:
            time.sleep(interval)
        now = look()
        out.print(picture(now, old, out.height if out.is_terminal else 100))
        old = now


def _again(
    look: Callable[[], Snapshot],
    interval: float,
    draw: Callable[[Snapshot, Snapshot], None],
    before: Snapshot,
) -> None:
    try:
        while True:
            time.sleep(interval)
            now = look()
            draw(now, before)
            before = now
    except KeyboardInterrupt:
        return


def picture(now: Snapshot, before: Snapshot | None, height: int) -> Group:
    """One screen of *height* lines; rates need a look *before*."""
    parts: list[Any] = [_summary(now, before)]
    if now.limits:
        parts.append(_limits(now.limits))
    parts.append(_connections(now, before, max(3, height - LINES_ABOVE - len(now.limits))))
    return Group(*parts)


def _summary(now: Snapshot, before: Snapshot | None) -> Text:
    queue, found = now.queue, now.connections
    counts = {"received": queue["received"], **queue["verdicts"]}
    words = []
    for name, value in counts.items():
        text = f"{name} {value}"
        if before is not None:
            earlier = {"received": before.queue["received"], **before.queue["verdicts"]}
            rate = (value - earlier.get(name, 0)) / max(now.time - before.time, 0.001)
            text += f" ({rate:.0f}/s)"
        words.append(text)
    dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(queue["dropped"].items()))
    lost = queue["kernel_dropped"] + queue["user_dropped"]
    lines = [
        f"queue {queue['number']}: {', '.join(words)}, waiting {queue['waiting']}, held {queue['held']},"
        f" lost {lost}",
        f"connections: {found['in_use']} in use, {found['most_used']} most used",
    ]
    if dropped:
        lines.insert(1, f"{'would drop' if queue['only_watches'] else 'dropped'}: {dropped}")
    return Text("\n".join(lines))


def _limits(limits: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left")
    for heading in ("limits of", "open", "of", "embryonic", "of", "refused", "intercept"):
        table.add_column(heading, justify="left" if heading == "limits of" else "right")
    for each in limits:
        said = each["limits"]
        table.add_row(
            Text(each["of"]),
            str(each["connections"]),
            str(said["conn_max"] or "-"),
            str(each["embryonic"]),
            str(said["embryonic_conn_max"] or "-"),
            str(each["refused"]),
            _intercept(each),
        )
    return table


def _intercept(limits: Mapping[str, Any]) -> str:
    """How many targets TCP intercept has, and the connections through it."""
    targets, through = limits["intercept"]["targets"], limits["intercepted"]
    return f"{targets or '-'} ({through} open)" if targets or through else "-"


def _connections(now: Snapshot, before: Snapshot | None, most: int) -> Table:
    earlier = before.bytes() if before is not None else {}
    seconds = now.time - before.time if before is not None else 0.0

    def rate(each: Mapping[str, Any]) -> float:
        if seconds <= 0:
            return 0.0
        return float(each["bytes"] - earlier.get(each["connection"], 0)) / seconds

    found = sorted(
        now.connections["connections"],
        key=lambda each: (-rate(each), each["idle"], each["connection"]),
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("number", "client", "server", "flags", "idle", "up", "bytes", "bytes/s"):
        text = heading in ("client", "server", "flags")
        table.add_column(heading, justify="left" if text else "right", no_wrap=True)
    for each in found[:most]:
        table.add_row(
            str(each["connection"]),
            each["client"],
            each["server"],
            each["flags"],
            duration(each["idle"]),
            duration(each["uptime"]),
            str(each["bytes"]),
            f"{rate(each):.0f}",
        )
    left = now.connections["not_listed"] + max(0, len(found) - most)
    if left:
        table.caption = f"and {left} more"
    return table
