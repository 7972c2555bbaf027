"""What was found on a connection, in kinds that a report counts, and by which it may select.

A finding is one cause on one connection, however often it acted there: its kind, its cause in show's
words if show has any, its first packet, and how often. What happens to every session under the
default map, the masked greeting and EHLO reply, is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nfinspect import events
from nfinspect.audit.json_lines import iso, to_json
from nfinspect.audit.text import escaped
from nfinspect.esmtp.keywords import STARTTLS
from nfinspect.events import AnomalyKind, ClauseAction, CloseCause, Event
from nfinspect.replay.greeting import UNFINISHED, Greeting
from nfinspect.replay.hidden import keywords_used
from nfinspect.replay.other_firewall import OtherFirewall

CLOSED, MASKED, HELD, UNINSPECTED, NOTED = KINDS = (
    "closed",  # inspection closed it, or would have
    "masked",  # a command or a chunk became X, or a character a blank
    "held",  # bytes had to wait for a reply, or wait for the end of their line
    "uninspected",  # it passed, or went on, without inspection
    "noted",  # anything else out of the ordinary
)

ORDINARY = ("mask-banner", "match ehlo-reply-parameter others")
"""What the default map does to every session."""

NO_TLS = "STARTTLS hidden, and no mail followed"
"""The cause of a finding that no single event shows: a client that requires TLS leaves."""

INJECTION = "injection behind STARTTLS"
"""Of a STARTTLS that was masked; otherwise it is a cause for which inspection closes."""

USED_HIDDEN = "used, although hidden: "
"""The beginning of the cause of a finding that no single event shows: in the capture the client used a
keyword of the EHLO reply that the filter hides."""

BEFORE_GREETING = "sent before the greeting"

PIPELINING = "PIPELINING"

ALREADY = {
    direction: f"already masked on the {side}'s side"
    for direction, side in ((events.REPLY, "server"), (events.REQUEST, "client"))
}
"""The cause of a finding about another inspecting firewall."""

SAME = {
    CloseCause.STARTTLS_INJECTION.value: INJECTION,
    CloseCause.UNASKED_354.value: AnomalyKind.UNASKED_354.value,
}
"""By the cause of a close, the cause of what is noted just before, which is the same fact."""

BY_THE_MAP = (CloseCause.CLAUSE, CloseCause.PARAMETER)
"""Causes of a close of which another event names the line."""

MOST_PLACES = 1000
"""Connections listed for a cause in the summary; all are counted."""


def action_of(event: Event) -> tuple[str, str] | None:
    """Which rule acted, in show's words if it has any, and what it did."""
    match event:
        case events.ClauseMatched():
            return f"match {event.criterion}", event.action.value
        case events.ParameterMatched():
            return event.parameter, event.action.value
        case events.BannerMasked():
            return "mask-banner", "mask"
        case events.CommandMasked():
            return event.reason.value, "mask"
        case events.CharacterReplaced():
            return ("pipe-character" if event.character == "|" else "angle-bracket"), "blank"
        case events.InspectionClosed() if event.cause not in BY_THE_MAP:
            return event.cause.value, "reset" if event.reset else "drop-connection"
        case _:
            return None


def finding_of(event: Event, clause: str) -> tuple[str, str] | None:
    """The kind and the cause of what *event* reports; None if that is no finding. *clause* is the
    latest one that closes."""
    match event:
        case events.InspectionClosed() | events.WouldClose():
            return CLOSED, clause if event.cause in BY_THE_MAP else event.cause.value
        case events.CommandMasked() | events.CharacterReplaced():
            found = action_of(event)
            assert found is not None
            return MASKED, found[0]
        case events.ChunkMasked():
            return MASKED, "chunk"
        case events.ParameterMatched() if not event.action.closes:
            masks = event.action is ClauseAction.MASK
            return (MASKED if masks else NOTED), event.parameter
        case events.SizeExceeded():
            return NOTED, "larger than its SIZE"
        case events.ClauseMatched() if not event.action.closes:
            cause = f"match {event.criterion}"
            if cause in ORDINARY:
                return None
            return (MASKED if event.action is ClauseAction.MASK else NOTED), cause
        case events.ReplyAwaited():
            return HELD, event.awaits
        case events.LineUnended():
            return HELD, "line without CR LF"
        case events.SentEarly():
            return NOTED, "sent early"
        case events.Uninspected():
            return UNINSPECTED, event.cause.value
        case events.ServerAnomaly():
            return NOTED, event.kind.value
        case events.StartTlsInjection():
            return NOTED, INJECTION
        case events.AlreadyMasked():
            return NOTED, ALREADY[event.direction]
        case events.ConflictingBytes():
            return NOTED, "a retransmission that differs"
        case events.DuplicateSyn():
            return NOTED, "a second SYN"
        case _:
            return None


def evidence_in(event: Event) -> dict[str, Any]:
    """The evidence that *event* brings, and the mail it belongs to."""
    facts = to_json(event)
    return {name: facts[name] for name in ("evidence", "mail") if facts.get(name)}


def _seen(what: str, text: bytes) -> dict[str, Any]:
    return {"evidence": {"what": what, "text": escaped(text), "measured": 0, "allowed": 0}}


EVIDENCE = ("time", "evidence", "mail", "answer", "did", "because", "ending", "sizes")
"""What a finding may say about the thing that it is about."""


class Findings:
    """The findings of one connection."""

    __slots__ = (
        "_evidence",
        "_found",
        "_greeting",
        "_hidden",
        "_in_mail",
        "_no_tls",
        "_other",
        "_unended",
        "clause",
        "greeted",
    )

    def __init__(self) -> None:
        self.greeted = False
        """The server has."""
        self.clause = ""
        """The latest clause that closes, or line under parameters; inspection says afterwards that it has
        closed."""
        self._evidence: dict[str, Any] = {}
        """Its evidence, or that of another event after which inspection closes."""
        self._found: dict[tuple[str, str], dict[str, Any]] = {}
        self._greeting = Greeting()
        self._hidden: set[str] = set()
        """The keywords that were hidden in replies to EHLO."""
        self._in_mail: dict[str, Any] | None = None
        """The latest finding in a message that the server has not answered yet."""
        self._no_tls: dict[str, Any] | None = None
        """A finding, unless a mail or AUTH follows, or what is not inspected."""
        self._other = OtherFirewall()
        self._unended: dict[str, Any] | None = None
        """The latest finding about a command whose line has not ended yet, or that is still to
        come."""

    def observe(self, event: Event, packet: int | None, time: float, command: str = "") -> None:
        """Take note of *event*, at a packet if any. *command*: the command line that the packet
        completed."""
        evidence = evidence_in(event)
        if self._greeting.observe(event, packet):
            self._count((NOTED, UNFINISHED), self._greeting.packet, time, {})
        if isinstance(event, events.MailAnswered) and self._in_mail is not None:
            self._in_mail["answer"] = escaped(event.line)
            self._in_mail = None
        if isinstance(event, events.KeywordsHidden):
            self._hidden |= {escaped(keyword) for keyword in event.keywords}
            if STARTTLS in event.keywords:
                self._no_tls = {"kind": NOTED, "cause": NO_TLS, "packet": packet, "count": 1}
                self._no_tls["time"] = iso(time)
        elif isinstance(event, events.SentEarly) and PIPELINING in self._hidden:
            self._count((NOTED, USED_HIDDEN + PIPELINING), packet, time, {})
        elif isinstance(event, events.Uninspected):
            self._no_tls = None  # nobody can tell whether a mail followed
        if isinstance(event, events.ClauseMatched):
            if event.action.closes:
                self.clause = f"match {event.criterion}"
                self._evidence = evidence
        elif isinstance(event, events.ParameterMatched):
            if event.action.closes:
                self.clause = event.parameter
                self._evidence = evidence
        elif isinstance(event, events.MaliciousAddress):
            self._evidence = _seen("address", event.address) | evidence
        elif isinstance(event, events.ServerAnomaly):
            self._evidence = evidence = _seen("reply", event.line)
        elif isinstance(event, events.CharacterReplaced):
            self._evidence = evidence = _seen("command", event.line)
        elif isinstance(event, events.ReplyAwaited | events.LineUnended):
            evidence = _seen("line", event.line)
        elif isinstance(event, events.CommandMasked) and command:
            evidence = _seen("command", command.encode())
        elif isinstance(event, events.ChunkMasked):
            evidence = {"ending": f"{event.announced:,} bytes of mail after BDAT were masked too"}
        found = finding_of(event, self.clause)
        if found is None:
            return
        if isinstance(event, events.SentEarly) and not self.greeted:
            found = NOTED, BEFORE_GREETING
        if found[0] == CLOSED:
            evidence = self._evidence
            self._no_tls = None  # that is why no mail followed
            if found[1] in SAME:
                self._found.pop((NOTED, SAME[found[1]]), None)
        finding, new = self._count(found, packet, time, evidence)
        if new and isinstance(event, events.ClauseMatched):
            self._in_mail = finding
        elif isinstance(event, events.StartTlsInjection) or (
            isinstance(event, events.CommandMasked) and not command
        ):
            self._unended = finding if new else None

    def _count(
        self, found: tuple[str, str], packet: int | None, time: float, evidence: dict[str, Any]
    ) -> tuple[dict[str, Any], bool]:
        """Count a finding; returns it, and whether it is a new one, of which this is the
        *evidence*."""
        finding = self._found.get(found)
        new = finding is None
        if finding is None:
            kind, cause = found
            finding = {"kind": kind, "cause": cause, "packet": packet, "count": 0}
            finding |= {"time": iso(time)} | evidence
            self._found[found] = finding
        finding["count"] += 1
        return finding, new

    def add(self, finding: dict[str, Any], time: float) -> None:
        """Take note of what no event reports: its kind, `NOTED` if it says none, its cause, its
        packet, and its evidence."""
        finding = {"kind": NOTED} | finding | {"time": iso(time), "count": 0}
        known = self._found.setdefault((finding["kind"], finding["cause"]), finding)
        known["count"] += 1

    def command_seen(self, command: str, packet: int | None, time: float) -> None:
        """The client has sent this command line, which a packet has completed."""
        self._other.command_seen(command, packet)
        if self._hidden:
            for keyword in set(keywords_used(command)) & self._hidden:
                evidence = _seen("command", command.encode())
                self._count((NOTED, USED_HIDDEN + keyword), packet, time, evidence)
        if command.upper().split(maxsplit=1)[:1] in (["MAIL"], ["AUTH"]):  # it goes on without TLS
            self._no_tls = None
        if self._unended is not None:
            self._unended |= _seen("command", command.encode())
            self._unended = None

    def reply_seen(self, line: str, packet: int | None, time: float) -> None:
        """The server has sent this line, which a packet has completed."""
        if self._greeting.reply_seen(line, packet):
            evidence = _seen("greeting", line.encode())
            self._count((NOTED, UNFINISHED), self._greeting.packet, time, evidence)
        self._other.reply_seen(line, packet)

    def to_json(self) -> list[dict[str, Any]]:
        """The findings in the order of their first packets, but `NO_TLS` last: that a client left
        for want of TLS is likely only if nothing else tells why."""
        for direction, cause in ALREADY.items():
            if (NOTED, cause) in self._found:
                self._found[NOTED, cause]["did"] = self._other.did(direction)
        found = list(self._found.values())
        greeting = self._greeting.packet
        if greeting is not None:
            for finding in found:
                if finding["kind"] != MASKED and finding["cause"] != UNFINISHED:
                    finding["because"] = f"{UNFINISHED} (packet {greeting})"
        return found if self._no_tls is None else [*found, self._no_tls]


def counted(connections: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The findings of all *connections* by cause: those that closed most come first, `INJECTION` before
    all else that is noted, and `NO_TLS` last.

    Each has ``kind``, ``cause``, ``connections``, how often it acted (``count``), and ``places``, the
    numbers and first packets of the first `MOST_PLACES` connections, and the evidence of the first
    one.
    """
    causes: dict[tuple[str, str], dict[str, Any]] = {}
    for connection in connections:
        for finding in connection["findings"]:
            kind, cause = finding["kind"], finding["cause"]
            entry = causes.get((kind, cause))
            if entry is None:
                entry = {"kind": kind, "cause": cause, "connections": 0, "count": 0, "places": []}
                entry |= {name: finding[name] for name in EVIDENCE if name in finding}
                causes[kind, cause] = entry
            entry["connections"] += 1
            entry["count"] += finding["count"]
            if len(entry["places"]) < MOST_PLACES:
                entry["places"].append([connection["number"], finding["packet"]])
    return sorted(
        causes.values(),
        key=lambda entry: (
            entry["cause"] == NO_TLS,
            KINDS.index(entry["kind"]),
            entry["cause"] != INJECTION,
            entry["cause"] != UNFINISHED,
            -entry["connections"],
        ),
    )
