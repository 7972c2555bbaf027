"""Test cases, and running one: clients act, both sides are captured, and the outcome is judged."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfinspect.lab import expected_lines
from nfinspect.lab.comparison import LinePair, pairs, rows
from nfinspect.lab.streams import conversations

if TYPE_CHECKING:
    from nfinspect.lab.filter import RunningFilter
    from nfinspect.lab.stage import MailStage

PATIENCE = 3.0
"""Seconds to wait for what is expected: a syslog line, a mail."""


@dataclass
class Outcome:
    """What was observed. The streams are those of all connections of the case, concatenated."""

    client_sent: bytes = b""
    server_received: bytes = b""
    server_sent: bytes = b""
    client_received: bytes = b""
    rows: list[list[LinePair]] = field(default_factory=list)
    """A list per connection."""
    syslog: list[str] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    """Increases of the counters of show service-policy, by show's words; unchanged ones are left
    out."""
    packets: dict[str, int] = field(default_factory=dict)
    """Packets by verdict, and dropped ones by reason."""
    mails: list[bytes] = field(default_factory=list)
    """Mails that the server has delivered."""
    said: list[str] = field(default_factory=list)
    """What the client reported."""
    judgements: list[tuple[str, bool]] = field(default_factory=list)
    """What was expected, and whether it was met."""

    @property
    def as_expected(self) -> bool:
        return all(met for _, met in self.judgements)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types; each byte becomes the character of the same number."""
        return {
            "connections": [
                [
                    {
                        "direction": row.direction,
                        "sent": row.sent.decode("latin-1"),
                        "received": None
                        if row.received is None
                        else row.received.decode("latin-1"),
                        "verdict": row.verdict,
                        "tries": row.tries,
                        "arrivals": row.arrivals,
                    }
                    for row in each
                ]
                for each in self.rows
            ],
            "syslog": self.syslog,
            "counters": self.counters,
            "packets": self.packets,
            "mails_delivered": len(self.mails),
            "client_says": self.said,
            "expected": [{"text": text, "met": met} for text, met in self.judgements],
            "as_expected": self.as_expected,
        }


@dataclass(frozen=True, slots=True)
class Expectation:
    """A sentence about a case, and a function that tells whether it is true."""

    text: str
    holds: Callable[[Outcome], bool]


@dataclass(frozen=True, slots=True)
class Case:
    """Something a client or server does, and how the filter should react."""

    name: str
    shows: str
    """A sentence about what it shows."""
    act: Callable[[MailStage], None]
    syslog: tuple[expected_lines.Template, ...]
    """All syslog lines, as templates; see `expected_lines`."""
    expectations: tuple[Expectation, ...]
    client: str = "swaks"
    server: str = "postfix"
    version: int = 4
    """IP version."""
    counts: dict[str, int] = field(default_factory=dict)
    """What it adds to the counters of show service-policy, except mask-banner and the EHLO mask."""
    config: str | None = None
    """The policy it needs, if not the default."""


def run_case(case: Case, stage: MailStage, running: RunningFilter, captures: Path) -> Outcome:
    """Run *case*, write ``NAME.outside.pcap`` and ``NAME.inside.pcap`` to *captures*, and judge it.

    The filter must be running with the case's policy. Raises LabError if the case cannot be run;
    unmet expectations are in the outcome's judgements.
    """
    stage.set(case.server, case.version)
    before = _Counters(running)
    seen = len(running.syslog)
    outside = stage.lab.capture(captures / f"{case.name}.outside.pcap", "outside")
    inside = stage.lab.capture(captures / f"{case.name}.inside.pcap", "inside")
    hindrance = ""
    try:
        try:
            case.act(stage)
        except OSError as error:  # no answer, or the connection has ended
            hindrance = f": {error}"
        lines = expected_lines.required(case.syslog)
        running.wait(lambda: len(running.syslog) - seen >= lines, PATIENCE)
    finally:
        outside.stop()
        inside.stop()
    after = _Counters(running)
    outcome = Outcome(
        syslog=running.syslog[seen:],
        counters=_difference(before.clauses, after.clauses),
        packets=_difference(before.packets, after.packets),
        said=stage.said,
    )
    for one, other in pairs(conversations(outside.file), conversations(inside.file)):
        outcome.client_sent += one.request.data
        outcome.server_received += other.request.data
        outcome.server_sent += other.reply.data
        outcome.client_received += one.reply.data
        outcome.rows.append(rows(one, other))
    _await_mails(case, stage, outcome)
    if hindrance:
        outcome.judgements.append((f"the client finishes{hindrance}", False))
    _judge(case, stage, outcome)
    return outcome


def _await_mails(case: Case, stage: MailStage, outcome: Outcome) -> None:
    # A server delivers a mail slightly after it has accepted it.
    if case.server == "script":
        return
    deadline = time.monotonic() + PATIENCE
    outcome.mails = stage.mailbox.messages()
    while time.monotonic() < deadline and not all(e.holds(outcome) for e in case.expectations):
        time.sleep(0.05)
        outcome.mails = stage.mailbox.messages()


def _judge(case: Case, stage: MailStage, outcome: Outcome) -> None:
    for each in case.expectations:
        outcome.judgements.append((each.text, each.holds(outcome)))
    moved = {words: count for words, count in outcome.counters.items() if words.startswith("match")}
    moved.pop(EHLO_MASK, None)
    wanted = ", ".join(f"{words} +{count}" for words, count in case.counts.items())
    text = f"counted: {wanted}" if wanted else "no other clause matched"
    outcome.judgements.append((text, moved == case.counts))
    wrong = expected_lines.differences(
        outcome.syslog, case.syslog, client=stage.client_address, server=stage.address
    )
    text = f"these {len(outcome.syslog)} syslog lines and no others"
    outcome.judgements.append(("\n".join([text, *wrong]), not wrong))


EHLO_MASK = "match ehlo-reply-parameter others"


class _Counters:
    def __init__(self, running: RunningFilter) -> None:
        with ThreadPoolExecutor() as pool:  # each command takes a moment to start
            inspected = pool.submit(running.show_json, "service-policy", "inspect", "esmtp")
            queue: dict[str, Any] = running.show_json("queue")
            policy = inspected.result()["service_policy"]
        self.clauses: dict[str, int] = {}
        for each in policy:
            for word in ("packet", "drop", "reset_drop", "mask_banner"):
                name = word.replace("_", "-")
                self.clauses[name] = self.clauses.get(name, 0) + (each.get(word) or 0)
            for match in each["match"]:
                self.clauses[match["clause"]] = match["packet"]
        self.packets: dict[str, int] = {
            **queue["verdicts"],
            **{f"dropped {reason}": count for reason, count in queue["dropped"].items()},
        }


def _difference(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {
        word: count - before.get(word, 0)
        for word, count in after.items()
        if count != before.get(word, 0)
    }
