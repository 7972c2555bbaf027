"""The one evaluation of a map's clauses (docs/appliance.md, sections 4 and 10).

A scanner reports *facts*: what it has met, where, and how large it is. They are judged in the order
of their positions, for criteria are met as the protocol is parsed, byte by byte; each fact by the
clauses of its criterion in the map's order. A clause logs before it acts. The first that drops ends
the evaluation, so a log-only clause of the same criterion logs if it comes before that, and never after it.

A length matches at the byte that exceeds the limit, once for each line, however many packets the line
takes: so a fact says how much of it had arrived before this packet.
"""

from __future__ import annotations

import enum
from typing import Final

from nfinspect.esmtp.asked import UNLIMITED
from nfinspect.esmtp.clauses import Rule
from nfinspect.esmtp.session import SHOWN, Session
from nfinspect.events import (
    REPLY,
    REQUEST,
    ClauseAction,
    ClauseMatched,
    CloseCause,
    Evidence,
    MaliciousAddress,
    ParameterMatched,
)
from nfinspect.policy.criteria import Criterion, Kind
from nfinspect.policy.model import Reaction

_WHAT: Final = {
    Criterion.COMMAND_VERB: "command",
    Criterion.COMMAND_LINE_LENGTH: "command",
    Criterion.SENDER_LENGTH: "sender",
    Criterion.SENDER_ADDRESS: "sender",
    Criterion.RECIPIENT_COUNT: "recipient",
    Criterion.INVALID_RECIPIENTS: "refusal",
    Criterion.EHLO_REPLY_PARAMETER: "EHLO keyword",
    Criterion.HEADER_LENGTH: "header",
    Criterion.HEADER_LINE_LENGTH: "header field",
    Criterion.TO_FIELDS: "To field",
    Criterion.BODY_LENGTH: "body",
    Criterion.BODY_LINE_LENGTH: "body line",
    Criterion.MIME_ENCODING: "encoding",
    Criterion.MIME_FILENAME_LENGTH: "file name",
    Criterion.MIME_FILETYPE: "file type",
}
"""What each criterion is about."""


class Standing(enum.Enum):
    """What the parameters of a map ask about; the value is the word of the parameter."""

    PIPE = "pipe-character"
    SPECIAL_CHARACTER = "special-character"
    MAIL_RELAY = "mail-relay"
    BARE_NEWLINE = "bare-newline"


class Fact:
    """Something that a scanner has met in a packet, for the clauses of one criterion, or for a
    parameter of the map."""

    __slots__ = (
        "before",
        "complete",
        "criterion",
        "position",
        "text",
        "unknown",
        "value",
        "values",
        "word",
    )

    def __init__(
        self,
        criterion: Criterion | Standing,
        position: int,
        value: int = 0,
        text: bytes = b"",
        before: int = -1,
        *,
        word: str = "",
        values: tuple[bytes, ...] = (),
        complete: bool = False,
        unknown: bool = False,
    ) -> None:
        self.criterion = criterion
        self.position = position
        """Where in the packet's data. Facts at one position are judged in the order of their
        reports."""
        self.value = value
        """Bytes as far as they have arrived, or a count."""
        self.text = text
        """What is shown of it, from its beginning."""
        self.before = before
        """``value`` before this packet; -1 if it begins here."""
        self.word = word
        """The configuration's word for it: a verb, an EHLO keyword, an encoding."""
        self.values = values
        """What expressions are compared with: one of them has to match, for ``match not`` none."""
        self.complete = complete
        """``value`` is final, so that ``match not`` can be judged."""
        self.unknown = unknown
        """It is too long to be known, and meets every clause of its criterion."""


def evaluate(session: Session, facts: list[Fact]) -> None:
    """Judge what a scanner has met, in the order of positions, up to what closes the connection."""
    if len(facts) > 1:
        facts.sort(key=_position)
    for fact in facts:
        if isinstance(fact.criterion, Standing):
            _judge_parameter(session, fact, fact.criterion)
        else:
            judge(session, fact, fact.criterion)
        if session.closing is not None:
            return


def judge(session: Session, fact: Fact, criterion: Criterion) -> None:
    """Try the clauses of the fact's criterion in the map's order."""
    group = session.rules.groups[criterion]
    kind = group.kind
    if fact.unknown:
        met = group.bits
    elif kind is Kind.WORDS:
        met = group.met_by_word(fact.word)
    elif kind is Kind.EXPRESSION:
        met = group.met_by_text(fact.values)
    else:
        met = group.met_by_number(fact.value, fact.before, fact.complete)
    # What only logs has nothing to do a second time in the same packet.
    met &= ~(session.matched & session.rules.only_log)
    while met:
        bit = met & -met
        met ^= bit
        rule = session.rules.in_order[bit.bit_length() - 1]
        limit = rule.limit if rule.limit != UNLIMITED else 0
        evidence = Evidence(_WHAT[criterion], fact.text[:SHOWN], fact.value, limit)
        match(session, rule, evidence)
        if session.closing is not None:
            return


def _judge_parameter(session: Session, fact: Fact, standing: Standing) -> None:
    parameters = session.rules.parameters
    evidence = Evidence("command", fact.text[:SHOWN])
    if standing is Standing.PIPE:
        session.events.append(MaliciousAddress(session.connection, fact.text, session.mail))
        session.close(CloseCause.PIPE)
    elif standing is Standing.SPECIAL_CHARACTER:
        if parameters.special_character is not None:
            react(session, standing, parameters.special_character, evidence)
    elif standing is Standing.MAIL_RELAY:
        if parameters.mail_relay is not None:
            react(session, standing, parameters.mail_relay.reaction, evidence)


def react(
    session: Session, standing: Standing, reaction: Reaction, evidence: Evidence | None
) -> None:
    """A parameter's case has come: log it, and act as its line says."""
    if session.closing is not None:
        return
    session.events.append(
        ParameterMatched(
            session.connection,
            REQUEST,
            session.rules.map.name,
            standing.value,
            reaction.action,
            reaction.log or reaction.action is ClauseAction.LOG,
            evidence,
            session.mail,
        )
    )
    if reaction.action is ClauseAction.DROP_CONNECTION:
        session.close(CloseCause.PARAMETER)
    elif reaction.action is ClauseAction.RESET:
        session.close(CloseCause.PARAMETER, reset=True)


def match(session: Session, rule: Rule, evidence: Evidence | None = None) -> None:
    """A clause matches: emit one event per packet, log and act as its action says."""
    if session.closing is not None:
        return
    clause = rule.clause
    if not session.matched & rule.bit:
        session.matched |= rule.bit
        log = clause.log
        if clause.action is ClauseAction.LOG:
            log = not session.logged & rule.bit
            if rule.once_a_mail or rule.direction is REPLY:
                session.logged |= rule.bit
        session.events.append(
            ClauseMatched(
                session.connection,
                rule.direction,
                session.rules.map.name,
                clause.position,
                rule.words,
                clause.action,
                log,
                evidence,
                session.mail if rule.once_a_mail or rule.direction is REQUEST else None,
            )
        )
        session.reported |= rule.once_a_mail
    if clause.action is ClauseAction.DROP_CONNECTION:
        session.close(CloseCause.CLAUSE)
    elif clause.action is ClauseAction.RESET:
        session.close(CloseCause.CLAUSE, reset=True)


def _position(fact: Fact) -> int:
    return fact.position
