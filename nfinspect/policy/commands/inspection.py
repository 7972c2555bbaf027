"""Inspection maps: what is done to a mail session (docs/appliance.md, section 4).

Clauses that nfinspect does not know keep their place, because syslog numbers clauses by place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nfinspect.events import ClauseAction
from nfinspect.policy.conditions import Above, Condition, OneOf
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.grammar import GLOBAL, Draft, Family, Meaning, Mode, Row, Skipped, nothing
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import (
    Clause,
    IncompleteCommand,
    InspectionMap,
    Parameters,
    PipeCharacter,
    ServerAnomalyAction,
    UnseenDataAction,
)
from nfinspect.policy.syntax import Statement, number
from nfinspect.policy.words import parameter_lines

MAP = Mode("policy-map type inspect esmtp")
PARAMETERS = Mode("parameters")
CLAUSE = Mode("match")

READ = "docs/configuration.md#inspection-maps"


@dataclass(slots=True)
class ClauseDraft:
    """A ``match`` line and, once read, its action."""

    word: Word
    criterion: Criterion | None
    """None: the criterion is not done, or the action."""
    text: str
    condition: Condition | None = None
    action: ClauseAction | None = None
    action_text: str = ""
    log: bool = False


@dataclass(slots=True)
class MapDraft:
    """A ``policy-map type inspect esmtp``."""

    name: Word
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Values set for fields of `model.Parameters`."""
    parameter_words: dict[str, Word] = field(default_factory=dict)
    """The word that set each of them last."""
    other_parameters: list[str] = field(default_factory=list)
    """Lines that are not done."""
    clauses: dict[str, ClauseDraft] = field(default_factory=dict)
    """In the order of the lines, by what tells one match from another."""


@dataclass(slots=True)
class InspectionMaps:
    """The inspection maps of a text."""

    maps: dict[str, MapDraft] = field(default_factory=dict)


@dataclass(slots=True)
class MapNames:
    """The one name space of inspection maps and policy-maps."""

    words: dict[str, tuple[Word, str]] = field(default_factory=dict)
    """Where a name was given first, and to what kind."""


def is_taken(draft: Draft, name: Word, kind: str) -> bool:
    """Whether *name* is that of a map of another kind; if so, adds an error."""
    word, kind_there = draft[MapNames].words.setdefault(name.text, (name, kind))
    if kind_there != kind:
        draft.error(name, f"{name.quoted} is already defined in line {word.line.number}")
    return kind_there != kind


def _begin(draft: Draft, _: None, statement: Statement[Any]) -> MapDraft:
    name = statement.word("name")
    if is_taken(draft, name, "inspection"):
        return MapDraft(name)
    return draft[InspectionMaps].maps.setdefault(name.text, MapDraft(name))


def _describe(draft: Draft, subject: MapDraft, statement: Statement[Any]) -> None:
    subject.description = statement["text"]


def _parameters(draft: Draft, subject: MapDraft, statement: Statement[Any]) -> MapDraft:
    return subject


def _set(**values: object) -> Meaning:
    """Return the meaning of a ``parameters`` line that sets these fields of `model.Parameters`."""

    def meaning(draft: Draft, subject: MapDraft, statement: Statement[Any]) -> None:
        _set_parameters(draft, subject, statement.word(len(statement.line.words) - 1), values)

    return meaning


def _choose(name: str, kind: Callable[[Any], object]) -> Meaning:
    """Return the meaning of a ``parameters`` line whose last word is the value of a field."""

    def meaning(draft: Draft, subject: MapDraft, statement: Statement[Any]) -> None:
        word = statement.word("value")
        _set_parameters(draft, subject, word, {name: kind(statement["value"])})

    return meaning


def _set_parameters(draft: Draft, subject: MapDraft, word: Word, values: dict[str, object]) -> None:
    """Set fields of the map's parameters; as on the appliance, the last line wins."""
    said = subject.parameter_words
    replaced = {said[n].line.number for n, v in values.items() if subject.parameters.get(n, v) != v}
    for line in replaced:
        draft.notice(word, f"this overrides line {line}", "overridden", READ)
    subject.parameters |= values
    said |= dict.fromkeys(values, word)


def _other_parameter(draft: Draft, subject: MapDraft, statement: Statement[Any]) -> None:
    word = statement.word()
    draft.leave_out(word, f"not done: {word.quoted} has no effect yet")
    subject.other_parameters.append(statement.line.rest(0))


def _clause(criterion: Criterion) -> Meaning:
    """Return the meaning of a ``match`` line in an inspection map."""

    def meaning(draft: Draft, subject: MapDraft, statement: Statement[Any]) -> ClauseDraft:
        condition = Above(statement["limit"]) if "limit" in statement else OneOf(("others",))
        text = f"match {criterion.value} {condition.words}"
        clause = ClauseDraft(statement.word(), criterion, text, condition)
        return _add(draft, subject, clause)

    return meaning


def _other_clause(draft: Draft, subject: MapDraft, statement: Statement[Any]) -> ClauseDraft:
    clause = ClauseDraft(statement.word(), None, statement.line.rest(0))
    draft.leave_out(clause.word, "not done: this match and its action have no effect yet")
    return _add(draft, subject, clause)


def _add(draft: Draft, subject: MapDraft, clause: ClauseDraft) -> ClauseDraft:
    key = " ".join(clause.text.lower().split())
    if key in subject.clauses:
        line = subject.clauses[key].word.line.number
        draft.error(clause.word, f"line {line} already has the same match")
    subject.clauses[key] = clause
    return clause


def _act(action: ClauseAction) -> Meaning:
    """Return the meaning of an action line below a ``match``."""

    def meaning(draft: Draft, subject: ClauseDraft, statement: Statement[Any]) -> None:
        word = statement.word()
        _one_action(draft, subject, word)
        if action is ClauseAction.MASK and subject.criterion not in (
            Criterion.EHLO_REPLY_PARAMETER,
            None,
        ):
            message = f"mask is not allowed for {subject.criterion.value}"
            draft.error(word, message, ("drop-connection", "log"))
        subject.action = action
        subject.log = "log" in statement
        with_log = subject.log and action is not ClauseAction.LOG
        subject.action_text = f"{action.value} log" if with_log else action.value
        if "drop" in statement or "error" in statement:
            message = "7.x syntax, read as drop-connection; no protocol error is sent"
            draft.notice(word, message, "old-words", READ)

    return meaning


def _other_action(draft: Draft, subject: ClauseDraft, statement: Statement[Any]) -> None:
    word = statement.word()
    _one_action(draft, subject, word)
    subject.criterion = None
    subject.action_text = statement.line.rest(0)
    if not subject.action:
        draft.leave_out(word, f"not done: {word.quoted} and its match have no effect yet")


def _one_action(draft: Draft, subject: ClauseDraft, word: Word) -> None:
    if subject.action_text:
        message = f"the match in line {subject.word.line.number} already has an action"
        draft.error(word, message)


def _no_classes(draft: Draft, subject: MapDraft, statement: Statement[Any]) -> None:
    draft.error(
        statement.word(), "there are no classes for esmtp: an inspection map has match lines only"
    )


_CRITERIA = {
    "cmd line length gt limit:LENGTH": Criterion.COMMAND_LINE_LENGTH,
    "cmd rcpt count gt limit:COUNT": Criterion.RECIPIENT_COUNT,
    "body line length gt limit:LENGTH": Criterion.BODY_LINE_LENGTH,
    "header line length gt limit:LENGTH": Criterion.HEADER_LINE_LENGTH,
    "sender-address length gt limit:LENGTH": Criterion.SENDER_LENGTH,
    "mime filename length gt limit:LENGTH": Criterion.MIME_FILENAME_LENGTH,
    "ehlo-reply-parameter others": Criterion.EHLO_REPLY_PARAMETER,
}

_OTHER_CRITERIA = (
    "not REST",
    "cmd verb REST",
    "body length gt LENGTH",
    "header length gt LENGTH",
    "header to-fields count gt COUNT",
    "invalid-recipients count gt COUNT",
    "mime encoding REST",
    "mime filetype regex REST",
    "sender-address regex REST",
    "ehlo-reply-parameter {8bitmime | auth | binaryname | checkpoint | dsn | ecode | etrn"
    " | pipelining | size | vrfy} [REST]",
    "ehlo-reply-parameter others REST",
)

FAMILY = Family(
    {
        GLOBAL: (Row("policy-map type inspect esmtp NAME", _begin, MAP),),
        MAP: (
            Row("description TEXT", _describe),
            Row("parameters", _parameters, PARAMETERS),
            *(Row(f"match {words}", _clause(kind), CLAUSE) for words, kind in _CRITERIA.items()),
            *(Row(f"match {words}", _other_clause, CLAUSE) for words in _OTHER_CRITERIA),
            Row("class [REST]", _no_classes),
        ),
        PARAMETERS: (
            Row("mask-banner", _set(mask_banner=True)),
            Row("no mask-banner", _set(mask_banner=False)),
            Row("allow-tls", _set(allow_tls=True, allow_tls_log=False)),
            Row("allow-tls action log", _set(allow_tls=True, allow_tls_log=True)),
            Row("no allow-tls", _set(allow_tls=False, allow_tls_log=False)),
            Row("no mail-relay", nothing),
            Row("no special-character", nothing),
            Row("mail-relay WORD action REST", _other_parameter),
            Row("special-character action REST", _other_parameter),
            Row("bare-newline action REST", _other_parameter),
            Row(
                "server-anomaly value:{log | drop-connection}",
                _choose("server_anomaly", ServerAnomalyAction),
            ),
            Row(
                "incomplete-command value:{mask | stream | drop}",
                _choose("incomplete_command", IncompleteCommand),
            ),
            Row("pipe-character value:{close | blank}", _choose("pipe_character", PipeCharacter)),
            Row(
                "unseen-data value:{drop-connection | uninspected}",
                _choose("unseen_data", UnseenDataAction),
            ),
            Row("midstream-pickup value:SECONDS", _choose("midstream_pickup", int)),
        ),
        CLAUSE: (
            Row(
                "{drop-connection | drop:drop} [error:send-protocol-error] [log:log]",
                _act(ClauseAction.DROP_CONNECTION),
            ),
            Row("mask [log:log]", _act(ClauseAction.MASK)),
            Row("log:log", _act(ClauseAction.LOG)),
            Row("reset [log]", _other_action),
            Row("rate-limit COUNT [log]", _other_action),
        ),
    },
    {
        "LENGTH": number(1, 2**31 - 1),
        "COUNT": number(1, 65535),
        "SECONDS": number(0, 86400),
    },
    others={
        GLOBAL: {
            f"policy-map type inspect {other}": Skipped(
                frozenset({"class", "timeout", "parameters", "match"})
            )
            for other in (
                "ctiqbe dcerpc diameter dns ftp gtp h323 http icmp ils im ip-options"
                " ipsec-pass-thru ipv6 lisp m3ua mgcp mmp netbios pptp radius-accounting rsh rtsp"
                " scansafe sctp sip skinny smtp snmp sqlnet stun sunrpc tftp umbrella vxlan waas"
                " xdmcp"
            ).split()
        }
        | {"regex": None}
    },
)


# Resolving.


def resolve(draft: Draft, map_draft: MapDraft) -> InspectionMap:
    """Return the inspection map; adds an error for each match without an action."""
    clauses = []
    for position, clause in enumerate(map_draft.clauses.values(), 1):
        if not clause.action_text:
            expected = ("its action on the next line",)
            draft.error(clause.word, "the match has no action", expected)
        elif clause.criterion and clause.condition and clause.action:
            clauses.append(
                Clause(position, clause.criterion, clause.condition, clause.action, clause.log)
            )
    parameters = Parameters(**map_draft.parameters)
    return InspectionMap(map_draft.name.text, map_draft.description, parameters, tuple(clauses))


# Writing.


def lines(map_draft: MapDraft) -> Iterator[str]:
    """Yield the lines that define a map, indented as on the appliance."""
    yield f"policy-map type inspect esmtp {map_draft.name.text}"
    if map_draft.description:
        yield f" description {map_draft.description}"
    yield " parameters"
    for line in (*parameter_lines(Parameters(**map_draft.parameters)), *map_draft.other_parameters):
        yield f"  {line}"
    for clause in map_draft.clauses.values():
        yield f" {clause.text}"
        if clause.action_text:
            yield f"  {clause.action_text}"
