"""The result of a replay as text: connections, what the filter did, syslog lines, counters."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nfinspect.audit.catalogue import DROPPED_BECAUSE, UNINSPECTED
from nfinspect.audit.show import ONLY_WATCHES
from nfinspect.audit.text import escaped
from nfinspect.cli.console import console
from nfinspect.cli.replay_lead import evidence_lines, print_indented, print_lead, verdict
from nfinspect.events import CommandMaskReason, Direction, TeardownReason, UninspectedCause
from nfinspect.lab.side_by_side import has_boundary, side_by_side
from nfinspect.replay.dialogue import MOST_SEGMENTS
from nfinspect.replay.elsewhere import TLS_PORT
from nfinspect.replay.findings import CLOSED, ORDINARY
from nfinspect.replay.result import Result

PIPED = 80
"""Columns of tables if the output is not a terminal: a pager may show it on any."""

MOST_CONNECTIONS = 200
"""Connections listed; ``--json`` has them all."""

MOST_DEEDS = 30
"""Actions and notes listed per connection."""

FEW_CONNECTIONS = 5
"""Up to so many connections, all are described; with more, only those with unusual events."""

SENTENCES = {
    "already-masked": "already masked: another inspecting firewall on the {sender}'s side",
    "character-replaced": "{character} was replaced by a blank: {line}",
    "chunk-masked": "the chunk of {announced} bytes after the masked BDAT was masked too",
    "conflicting-bytes": "the {sender} retransmitted different data; the original data was used",
    "duplicate-syn": "a second SYN, with a different sequence number, was dropped",
    "inspection-closed": "inspection closed the connection at a packet from the {sender}"
    " (cause: {cause})",
    "keywords-hidden": "hidden from the client in the reply to EHLO: {keywords}",
    "mail-answered": "the server's answer to that mail: {line}",
    "left-off": "{cause}: {ending}",
    "line-unended": "this line does not end in CR LF, so the server waits for the rest, for"
    " {duration:.3g} s and more: {line}",
    "malicious-address": "a mail address contains a pipe: {address}",
    "refused": "{cause}: {answer}",
    "reply-awaited": "had to wait for the {awaits}{where}, for {duration:.3g} s and more: {line}"
    " ({count} bytes)",
    "size-exceeded": "the message is larger than the {declared} bytes that MAIL declared: {actual} so far",
    "sent-early": "sent early: the {receiver} acknowledged {count} bytes that wait here for a reply;"
    " they are inspected when it comes",
    "server-anomaly": "the server sent {kind}: {line}",
    "start-tls-injection": "the client sent more data before the reply to STARTTLS",
    "translated": "the same connection as {same_as}, seen on the other side of an address"
    " translation",
    "two-sides": "the same connection, seen on two sides; judged is the {judged}",
    "tls-started": "the server accepted STARTTLS: TLS begins",
    "uninspected": "not inspected from here on: {cause}",
    "would-close": "the filter would have closed the connection at a packet from the {sender}"
    " (cause: {cause})",
    "unseen-data": "the {receiver} acknowledged {count} bytes that never passed the filter",
}
"""The text of a connection's notes by event, except masked commands. ``sender`` and ``receiver``
follow from the direction."""

JUDGED = {
    "first copy": "first copy of each packet, as its sender sent it",
    "client's side": "copy on the client's side, as sequence numbers differ on the other",
}
"""Which copy is judged of a connection that is seen on two sides."""

_ENDS = {
    Direction.REQUEST.value: {"sender": "client", "receiver": "server"},
    Direction.REPLY.value: {"sender": "server", "receiver": "client"},
}
_TOLD_BY_NOTES = frozenset(reason.value for reason in CommandMaskReason)
_LOUD = {"drop-connection": "bold red", "mask": "yellow", "blank": "yellow"}


MOST_PICTURES = 20
"""Connections whose dialogue is shown; ``--dialogue N`` shows any."""


def print_result(result: Result, *, stderr: bool = False, dialogue: bool = False) -> None:
    """Print the result on stdout, or on stderr; *dialogue*: with the lines of each connection."""
    out = console(stderr=stderr, piped=PIPED)
    _print_summary(out, result.summary)
    total = result.summary["connections"]
    selected = total
    if not result.selection.everything:
        selected = sum(1 for _ in result.connections())
        out.print(f"reported on: {selected:,} of {_count(total, 'connection')}")
    findings = result.findings()
    print_lead(out, findings, selected, result.summary)
    _print_deeds(out, result, selected)
    if dialogue:
        _print_dialogues(out, result, selected)
    _print_connections(out, result, selected)
    _heading(out, "syslog")
    for line in result.syslog_lines():
        out.print(line, soft_wrap=True)
    _heading(out, "show service-policy inspect esmtp")
    out.print(result.show, end="", soft_wrap=True)
    _heading(out, "verdict")
    print_indented(out, verdict(findings, selected, result.summary), "  ")


def print_ended(connection: dict[str, Any], *, stderr: bool = False) -> None:
    """Print a line about a connection that has just ended, while the capture goes on."""
    out = console(stderr=stderr, piped=PIPED)
    closed = connection["close_reason"] == TeardownReason.CLOSED_BY_INSPECTION.value
    found = [
        f"{finding['kind']} at packet {finding['packet']}: {finding['cause']}"
        if finding["packet"]
        else f"{finding['kind']}: {finding['cause']}"
        for finding in connection["findings"]
    ]
    text = (
        f"connection {connection['number']}, {connection['client']} to {connection['server']}:"
        f" {'; '.join([connection['close_reason'], *found])}"
    )
    print_indented(out, text, "", more="    ", style="bold red" if closed else "")
    out.file.flush()


def _print_dialogues(out: Console, result: Result, selected: int) -> None:
    for connection in islice(result.connections(), MOST_PICTURES):
        _heading(out, f"dialogue of connection {connection['number']}")
        rows = result.rows(connection)
        if not rows:
            out.print("no line was seen")
            continue
        out.print(side_by_side(rows, numbered=True))
        if not connection["wire_complete"]:
            text = f"the connection is longer; shown are {MOST_SEGMENTS:,} segments, or 8 MiB"
            out.print(text, style="italic")
        if any(not isinstance(row, str) and has_boundary(row) for row in rows):
            out.print("│ segment boundary", style="dim")
    if selected > MOST_PICTURES:
        left_out = selected - MOST_PICTURES
        out.print(f"\nand {left_out:,} more; --dialogue N shows connection N", style="italic")


def _heading(out: Console, text: str) -> None:
    out.print()
    out.print(text, style="bold")


def _print_summary(out: Console, summary: dict[str, Any]) -> None:
    for capture in summary["captures"]:
        cut = ", not read to its end" if capture["damage"] else ""
        out.print(f"{capture['file']}: {_count(capture['packets'], 'packet')}{cut}", soft_wrap=True)
    packets = summary["packets"]
    if summary["began"]:
        out.print(f"from {summary['began']}, duration {_duration(summary['duration'])}")
    print_indented(
        out,
        f"{packets['seen']:,} inspected: {packets['accepted']:,} accepted,"
        f" {packets['rewritten']:,} rewritten, {packets['dropped']:,} dropped"
        f" ({packets['held']:,} waited first, for a missing segment or a reply;"
        f" {packets['injected']:,} injected);"
        f" {packets['copied']:,} not for the filter"
        + (f", {packets['copies']:,} second copies" if packets["copies"] else ""),
        "",
    )
    headers = packets["rewritten_headers"]
    if headers:
        text = (
            f"{packets['rewritten']:,} rewritten: {packets['rewritten'] - headers:,} in their data, and"
            f" {headers:,} in nothing but their headers (a younger timestamp, if they waited; TTL, options or urgent"
            " pointer, by the TCP normalizer)"
        )
        print_indented(out, text, "  ")
    if packets["read"] and packets["read"] == packets["copied"]:
        _print_elsewhere(out, summary)
    if summary["only_watches"]:
        out.print(f"  {ONLY_WATCHES}", soft_wrap=True)
    dropped = "would drop" if summary["only_watches"] else "dropped"
    for reason, count in summary[dropped.replace(" ", "_")].items():
        print_indented(out, f"{dropped} {reason}: {count:,} ({DROPPED_BECAUSE[reason]})", "  ")
    fragments = summary["fragments"]
    if fragments["joined"] or fragments["discarded"]:
        out.print(
            f"  {_count(fragments['joined'], 'fragment')} reassembled into"
            f" {_count(fragments['datagrams'], 'datagram')}, {fragments['discarded']:,} discarded"
        )
    for note in summary["notes"]:
        print_indented(
            out,
            f"note: {_count(note['packets'], 'packet')}: {note['note']}"
            f" (first packet {note['first']})",
            "",
            style="yellow",
        )


def _print_elsewhere(out: Console, summary: dict[str, Any]) -> None:
    """Say that nothing was for the filter, and where the mail is, if there is any."""
    ports = ", ".join(map(str, summary["ports"]))
    what = f"no TCP on port {ports}, which" if ports else "nothing that"
    out.print(f"  {what} the policy inspects", style="yellow")
    for port, first in summary["elsewhere"].items():
        text = f"mail on port {port} (first packet {first}): "
        if int(port) == TLS_PORT:
            text += "TLS from the first byte, of which nothing can be inspected"
        else:
            text += f"'--inspect-port {port}' inspects it"
        print_indented(out, text, "  ", style="yellow")


def _print_connections(out: Console, result: Result, selected: int) -> None:
    """Print the connections; of many, only those with a finding."""
    few = selected <= FEW_CONNECTIONS
    named = (each for each in result.connections() if few or each["findings"])
    connections = list(islice(named, MOST_CONNECTIONS))
    left_out = sum(1 for _ in named)
    if not selected:
        return
    _heading(out, "connections")
    if connections:
        out.print(_table(connections))
    if left_out:
        out.print(f"and {left_out:,} more connections; --json has them all", style="italic")
    quiet = selected - len(connections) - left_out
    if quiet:
        out.print(
            f"  {_count(quiet, 'connection')}, nothing to say; --json has them all", style="italic"
        )


def _table(connections: list[dict[str, Any]]) -> Table:
    """Two lines per connection, so that 80 columns are enough."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("client, server", overflow="fold")
    table.add_column("packets")
    table.add_column("payload")
    table.add_column("duration, end")
    for connection in connections:
        packets = connection["packets"]
        changed = [
            f"{packets[kind]:,} {kind}" for kind in ("rewritten", "dropped") if packets[kind]
        ]
        end = connection["close_reason"] or "still open"
        loud = "bold red" if end == TeardownReason.CLOSED_BY_INSPECTION.value else ""
        table.add_row(
            str(connection["number"]),
            f"{connection['client']}\n{connection['server']}",
            "\n".join([_count(packets["seen"], "packet"), ", ".join(changed)]),
            f"{_count(connection['bytes'], 'byte')}\n"
            + _count(connection["command_count"], "command"),
            Text.assemble(_duration(connection["duration"]), "\n", (end, loud)),
        )
    return table


def _print_deeds(out: Console, result: Result, selected: int) -> None:
    """Print what the filter did to each connection, and what it noticed; what was closed first."""
    described = ordinary = 0
    for closed in (True, False):
        for connection in result.connections():
            kinds = {finding["kind"] for finding in connection["findings"]}
            if (CLOSED in kinds) is not closed:
                continue
            if not kinds and selected > FEW_CONNECTIONS:
                ordinary += any(
                    action["clause"] in ORDINARY for action in result.items(connection["actions"])
                )
                continue
            deeds = list(islice(_deeds(result, connection), MOST_DEEDS + 1))
            if not deeds:
                continue
            if not described:
                _heading(out, "what happened")
            described += 1
            if described <= MOST_CONNECTIONS:
                _print_connection(out, connection, deeds)
    if described > MOST_CONNECTIONS:
        left_out = described - MOST_CONNECTIONS
        out.print(
            f"  and {_count(left_out, 'more connection')}; --json has them all", style="italic"
        )
    if ordinary:
        out.print(f"\n{_count(ordinary, 'connection')} with only masked greetings and EHLO replies")


def _print_connection(
    out: Console, connection: dict[str, Any], deeds: list[tuple[int | None, str, str]]
) -> None:
    ends = f"{connection['client']} to {connection['server']}"
    out.print(f"  connection {connection['number']}, {ends}", soft_wrap=True)
    for packet, what, why in deeds[:MOST_DEEDS]:
        begin = f"packet {packet}  " if packet else ""
        text = "  ".join(filter(None, (what, why)))
        print_indented(out, begin + text, "    ", more="  ", style=_LOUD.get(what, ""))
    if len(deeds) > MOST_DEEDS:
        out.print("    and more; --json has them all", style="italic")


def _deeds(result: Result, connection: dict[str, Any]) -> Iterator[tuple[int | None, str, str]]:
    """Packet number, what was done or noticed, and why; in packet order if there is a number."""
    found = [
        (action["packet"], action["action"], clause_text(action))
        for action in islice(result.items(connection["actions"]), MOST_DEEDS + 1)
        if action["clause"] not in _TOLD_BY_NOTES
    ]
    for note in islice(result.items(connection["notes"]), MOST_DEEDS + 1):
        found.append((note["packet"], *noted(note)))
    yield from sorted(found, key=lambda deed: deed[0] or 0)


def clause_text(action: dict[str, Any]) -> str:
    """The clause of an action, and its evidence."""
    return ": ".join([action["clause"], *evidence_lines(action)])


def noted(note: dict[str, Any]) -> tuple[str, str]:
    """What was done or noticed, and why, from a connection's note."""
    if note["event"] == "command-masked":
        command = escaped(note["command"].encode()) if "command" in note else ""
        return "mask", f"{note['reason']}: {command}" if command else note["reason"]
    where = f" (packet {note['reply_to']})" if note.get("reply_to") else ""
    facts = note | {"where": where} | _ENDS.get(note.get("direction", ""), {})
    if note["event"] == "keywords-hidden":
        facts["keywords"] = ", ".join(note["keywords"])
    if note["event"] == "two-sides":
        facts["judged"] = JUDGED[note["judged"]]
    if note.get("clause"):
        facts["cause"] = note["clause"]
    sentence = SENTENCES[note["event"]].format_map(facts)
    if note["event"] == "uninspected":
        sentence += f"; {UNINSPECTED[UninspectedCause(note['cause'])].meaning}"
    return sentence, ""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _duration(seconds: float) -> str:
    """``H:MM:SS.mmm``."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(int(minutes), 60)
    return f"{hours}:{minute:02}:{second:06.3f}"
