"""What the scanners of one connection share: the dialogue, the rules, and what they have found.

Scanners report only here, so that there is one place that evaluates clauses and closes.
"""

from __future__ import annotations

from typing import Final

from nfinspect.esmtp.clauses import Rule, prepare
from nfinspect.esmtp.dialogue import Dialogue
from nfinspect.events import (
    AlreadyMasked,
    AnomalyKind,
    ClauseAction,
    ClauseMatched,
    CloseCause,
    Connection,
    Direction,
    Event,
    ServerAnomaly,
    UninspectedCause,
)
from nfinspect.policy.model import Criterion, InspectionMap, ServerAnomalyAction

REMEMBERED: Final = 1024
"""Bytes of an unfinished line kept for events and transcripts; scanning needs fewer."""


class Session:
    """The shared state, and the methods by which scanners report what they find."""

    __slots__ = (
        "already",
        "bare_line_feed",
        "blob",
        "closing",
        "connection",
        "dialogue",
        "edited",
        "events",
        "logged",
        "matched",
        "recorded",
        "refusing",
        "replied",
        "rules",
        "transcript",
        "uninspected",
    )

    def __init__(
        self,
        connection: Connection,
        inspection_map: InspectionMap,
        *,
        transcript: bool = False,
        recorded: bool = False,
    ) -> None:
        self.connection = connection
        self.rules = prepare(inspection_map)
        self.transcript = transcript
        self.recorded = recorded
        self.dialogue = Dialogue()
        self.events: list[Event] = []
        self.closing: CloseCause | None = None
        self.uninspected: UninspectedCause | None = None
        self.refusing = False
        self.edited: bytearray | None = None
        """A copy of the packet's data with the changes made so far; None if there are none."""
        self.already: set[Direction] = set()
        """The directions that have been reported as masked before."""
        self.bare_line_feed = False
        """The client's unfinished line holds a bare LF, which a server may take for its end."""
        self.blob = 0
        """Bytes that the last masked line, an XEXCH50, announced."""
        self.matched = 0
        """Bits of the clauses that this packet has matched."""
        self.logged = 0
        """Bits of the bare log clauses that have logged for this mail or EHLO reply."""
        self.replied = 0
        """Bytes of the reply stream before this packet."""

    @property
    def over(self) -> bool:
        """Whether inspection has ended. (Asked of the field itself, a type checker, and with it the
        compiled form, would take a second answer to be that of the first.)"""
        return self.uninspected is not None

    @property
    def bare_line_feed_answered(self) -> bool:
        """Whether inspection has ended because of that."""
        return self.uninspected is UninspectedCause.BARE_LF_ANSWERED

    def overwrite(self, data: bytes, start: int, replacement: bytes) -> None:
        """Replace bytes of ``data``, the packet's data, from ``start`` on."""
        edited = self.edited
        if edited is None:
            edited = self.edited = bytearray(data)
        edited[start : start + len(replacement)] = replacement

    def already_masked(self, direction: Direction) -> None:
        """A mask changes nothing, since the bytes are masked already."""
        if direction not in self.already:
            self.already.add(direction)
            self.events.append(AlreadyMasked(self.connection, direction))

    def close(self, cause: CloseCause) -> None:
        """Close the connection at this packet; the first cause wins."""
        if self.closing is None:
            self.closing = cause

    def match(self, rule: Rule) -> None:
        """A clause matches: emit one event per packet, log and act as its action says."""
        if self.closing is not None:
            return
        clause = rule.clause
        if not self.matched & rule.bit:
            self.matched |= rule.bit
            log = clause.log
            if clause.action is ClauseAction.LOG:
                log = not self.logged & rule.bit
                if rule.once_a_mail or rule.direction is Direction.REPLY:
                    self.logged |= rule.bit
            self.events.append(
                ClauseMatched(
                    self.connection,
                    rule.direction,
                    self.rules.map.name,
                    clause.position,
                    rule.words,
                    clause.action,
                    log,
                )
            )
        if clause.action is ClauseAction.DROP_CONNECTION:
            self.close(CloseCause.CLAUSE)

    def measured(self, criterion: Criterion, value: int, before: int = -1) -> None:
        """A value has been measured: match every clause of its criterion whose limit it exceeds and
        did not exceed ``before``."""
        for rule in self.rules.by_criterion[criterion]:
            if before <= rule.clause.limit < value:
                self.match(rule)

    def begin_mail(self) -> None:
        """A new mail: its bare log clauses may log again."""
        self.logged &= ~self.rules.once_a_mail

    def begin_ehlo_reply(self) -> None:
        """A new EHLO reply: its bare log clauses may log again."""
        for rule in self.rules.by_criterion[Criterion.EHLO_REPLY_PARAMETER]:
            self.logged &= ~rule.bit

    def anomaly(self, kind: AnomalyKind, line: bytes) -> None:
        """The server has violated the protocol."""
        if self.closing is not None:
            return
        self.events.append(ServerAnomaly(self.connection, kind, line))
        if kind is AnomalyKind.UNASKED_354:
            self.close(CloseCause.UNASKED_354)
        elif kind is AnomalyKind.ABANDONED:
            pass  # the client is to learn why; the inspector closes at its next byte
        elif self.rules.parameters.server_anomaly is ServerAnomalyAction.DROP_CONNECTION:
            self.close(CloseCause.SERVER_ANOMALY)


def without_ending(line: bytes) -> bytes:
    """A line without its CR LF, bare LF or final CR."""
    if line.endswith(b"\r\n"):
        return line[:-2]
    return line[:-1] if line.endswith((b"\n", b"\r")) else line
