"""The beginning of a replay's report: what was found, counted by cause, and where."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.text import Text

from nfinspect.actions import DropReason
from nfinspect.audit.catalogue import explained
from nfinspect.events import CloseCause, CommandMaskReason, UninspectedCause
from nfinspect.replay.findings import (
    BEFORE_GREETING,
    CLOSED,
    HELD,
    INJECTION,
    MASKED,
    NOTED,
    UNINSPECTED,
    USED_HIDDEN,
)

HEADINGS = {
    CLOSED: ("closed by inspection", "bold red"),
    MASKED: ("commands masked, characters replaced", "bold yellow"),
    HELD: ("waited, or waits still", "bold yellow"),
    UNINSPECTED: ("not inspected, or not to the end", "bold yellow"),
    NOTED: ("noticed", "bold"),
}

MOST_PLACES = {CLOSED: 100}
"""Connections named for a cause of this kind."""
PLACES = 8
"""The same for any other."""

WOULD_CLOSE = "would have been closed by inspection"

LONGEST = 100
"""Characters shown of what a finding is about."""

UNITS = {"recipient": "recipients", "refusal": "refused", "To field": "To fields"}
"""What is counted; of anything else its bytes are."""

CHECKSUMS = (
    "perhaps not missing: '--checksums ignore' uses the {:,} packet{} whose checksum is wrong"
)
"""About bytes that are unseen."""
_BAD_CHECKSUM = DropReason.BAD_CHECKSUM.value
_UNSEEN = CloseCause.UNSEEN_DATA.value
_UNKNOWN = CommandMaskReason.UNKNOWN_VERB.value

NARROWEST = 40
"""Columns for text, at least."""

NOTHING = (
    "nothing was closed or held, nothing masked but greetings and EHLO replies, and everything was"
    " inspected to its end"
)
NOTHING_BUT = (
    "nothing was closed or held, nothing masked but greetings and EHLO replies; but see below"
)

ELSEWHERE = (INJECTION, USED_HIDDEN, BEFORE_GREETING)
"""Beginnings of causes that explain a command that is masked at the same packet; or, of what is sent
before the greeting, on the same connection, as its packet is the acknowledgement."""

INCOMPLETE = "this answer is incomplete: not everything in the capture could be used"
NOTHING_SO_FAR = (
    "in what could be used, nothing was closed or held, and nothing masked but greetings and EHLO"
    " replies; what is missing may hold the cause"
)


def print_lead(
    out: Console, findings: list[dict[str, Any]], total: int, summary: dict[str, Any]
) -> None:
    """Print the findings, as `findings.counted` returns them, of *total* connections; before them,
    what makes the answer incomplete by the *summary*."""
    incomplete = summary["incomplete"]
    damaged = summary["would_drop" if summary["only_watches"] else "dropped"].get(_BAD_CHECKSUM, 0)
    out.print()
    if incomplete:
        print_indented(out, INCOMPLETE, "", style="bold yellow")
        for what in incomplete:
            print_indented(out, what, "  ", more="  ")
    if damaged and not total:
        print_indented(
            out, CHECKSUMS.format(damaged, "s" * (damaged != 1)), "", style="bold yellow"
        )
    if not findings:
        if incomplete:
            print_indented(out, NOTHING_SO_FAR, "", style="bold yellow")
        elif total:
            print_indented(out, NOTHING, "", style="bold green")
        return
    if total and all(finding["kind"] == NOTED for finding in findings):
        print_indented(out, NOTHING_BUT, "")
    kind = None
    headings = HEADINGS | {CLOSED: (_closed_heading(findings, summary), HEADINGS[CLOSED][1])}
    for finding in findings:
        if finding["kind"] != kind:
            kind = finding["kind"]
            heading, style = headings[kind]
            out.print(heading, style=style)
        _print_finding(out, finding, total, _told_by(finding, findings))
        if damaged and finding["cause"] in (UninspectedCause.UNSEEN_DATA.value, _UNSEEN):
            print_indented(
                out, CHECKSUMS.format(damaged, "s" * (damaged != 1)), "    ", style="bold yellow"
            )


def _closed_heading(findings: list[dict[str, Any]], summary: dict[str, Any]) -> str:
    """Monitor mode closes nothing, and what was recorded from one side was not seen to be closed."""
    one_sided = {
        number
        for finding in findings
        if finding["cause"] == UninspectedCause.ONE_SIDED.value
        for number, _ in finding["places"]
    }
    closed = [place for each in findings if each["kind"] == CLOSED for place in each["places"]]
    supposed = sum(number in one_sided for number, _ in closed)
    if summary["only_watches"] or (closed and supposed == len(closed)):
        return WOULD_CLOSE
    return f"{HEADINGS[CLOSED][0]}, or would have been" if supposed else HEADINGS[CLOSED][0]


def verdict(findings: list[dict[str, Any]], total: int, summary: dict[str, Any]) -> str:
    """The report in one line: the first of the *findings* of *total* connections, and how many more
    there are."""
    if not findings:
        return NOTHING_SO_FAR if summary["incomplete"] else NOTHING if total else "no connection"
    first = _told_by(findings[0], findings) or findings[0]
    heading = HEADINGS[first["kind"]][0]
    if first["kind"] == CLOSED:
        heading = _closed_heading(findings, summary)
    text = f"{heading}: {first['cause']}: {first['connections']:,} of {total:,}"
    text += f" connection{'s' * (total != 1)}"
    more = len(findings) - 1
    if more:
        text += f"; {more:,} other finding{'s' * (more != 1)} above"
    return text


def _told_by(finding: dict[str, Any], findings: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Another finding that tells all of this one, which is of commands that were masked; None if there
    is none."""
    if finding["cause"] == _UNKNOWN and finding["count"] == finding["connections"]:
        for other in findings:
            if other["cause"].startswith(ELSEWHERE) and _covers(other, finding):
                return other
    return None


def _covers(other: dict[str, Any], finding: dict[str, Any]) -> bool:
    known = dict(other["places"])
    for number, packet in finding["places"]:
        at = known.get(number)
        if at is None or packet is None:
            return False
        if at != packet and (at < packet or other["cause"] != BEFORE_GREETING):
            return False
    return True


def _print_finding(
    out: Console, finding: dict[str, Any], total: int, told_by: dict[str, Any] | None
) -> None:
    kind, places = finding["kind"], finding["places"]
    count = finding["connections"]
    head = Text("  ").append(finding["cause"], style="bold")
    head.append(f": {count:,} of {total:,} connection{'s' * (total != 1)}")
    if finding["count"] != count:
        head.append(f", {finding['count']:,} times")
    out.print(head, soft_wrap=True)
    shown = places[: MOST_PLACES.get(kind, PLACES)]
    if count == 1:
        ((number, packet),) = shown
        where = f"connection {number}" + (f", packet {packet}" if packet else "")
    else:
        named = [f"{number}/{packet}" if packet else str(number) for number, packet in shown]
        where = "connection/packet: " + ", ".join(named)
        if count > len(shown):
            where += f", and {count - len(shown):,} more (--only {kind})"
    print_indented(out, where, "    ")
    for line in evidence_lines(finding):
        print_indented(out, ("e.g. " if count > 1 else "") + line, "    ")
    because = finding.get("because")
    if because:
        print_indented(out, f"because: {because}", "    ", style="bold")
    if told_by:
        print_indented(out, f"see '{told_by['cause']}' below", "    ")
        return
    evidence = finding.get("evidence", {})
    only_large = finding.get("sizes", {}).get("only_large")
    known = explained(
        finding["cause"] + (": only large packets" if only_large else ""),
        evidence["text"] if evidence.get("what") == "command" else "",
    )
    if known is not None and known.follows:
        print_indented(out, f"behind the filter: {known.follows}", "    ")
    if known is not None and known.cure and not because:
        begin, style = ("note", "") if known.normal else ("cure", "green")
        text = f"{begin}: {known.cure} (docs/{known.section})"
        print_indented(out, text, "    ", style=style)


def evidence_lines(finding: dict[str, Any]) -> list[str]:
    """What a finding, or an action, is about: the thing with its length, and the mail."""
    lines = []
    evidence, mail = finding.get("evidence"), finding.get("mail")
    if evidence:
        text = f"{evidence['what']} {evidence['text']}".rstrip()
        if len(text) > LONGEST:
            text = text[:LONGEST] + "..."
        if evidence["measured"]:
            unit = UNITS.get(evidence["what"], "bytes")
            text += f" ({evidence['measured']:,} {unit}, {evidence['allowed']:,} allowed)"
        lines.append(text)
    if mail:
        number = mail["recipients"]
        others = f", the {_ordinal(number)}, and {number - 1:,} before it" if number > 1 else ""
        parts = [mail["sender"], mail["recipient"] + others]
        if mail["message_id"]:
            parts.append(f"Message-ID {mail['message_id']}")
        lines.append("mail: " + ", ".join(filter(None, parts)))
    for done in finding.get("did", ()):
        packets = done["packets"]
        times = f", {done['count']:,} times" if done["count"] > 1 else ""
        where = f"packet{'s' * (len(packets) != 1)} {', '.join(map(str, packets))}"
        lines.append(f"{done['what']}{times} ({where})")
    if finding.get("answer"):
        lines.append(f"the server's answer: {finding['answer']}")
    if finding.get("ending"):
        lines.append(finding["ending"])
    if finding.get("sizes"):
        lines.append(_sizes(finding["sizes"]))
    return lines


def _sizes(sizes: dict[str, Any]) -> str:
    least, most = sizes["unacknowledged"]
    lost = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    largest = sizes["acknowledged"]
    known = f"the largest that was has {largest:,}" if largest else "none that was"
    return f"bytes of the packets that are not acknowledged: {lost}; {known}"


def _ordinal(number: int) -> str:
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def print_indented(
    out: Console, text: str, indent: str, *, more: str = "", style: str = ""
) -> None:
    """Print a paragraph; on a terminal it is wrapped, so that all of its lines are indented, those
    after the first by *more*."""
    width = max(NARROWEST, out.width)
    lines = [indent + text]
    if out.is_terminal:
        lines = wrap(
            text, width, initial_indent=indent, subsequent_indent=indent + more,
            break_on_hyphens=False,
        )  # fmt: skip
    for line in lines:
        out.print(line, style=style, soft_wrap=True)
