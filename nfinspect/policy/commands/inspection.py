"""Inspection maps: what is done to a mail session (docs/appliance.md, section 4).

The rows of ``match`` lines are those of the table of criteria.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nfinspect.events import ClauseAction
from nfinspect.policy.commands import regex
from nfinspect.policy.conditions import Above, Condition, Matches, Not, OneOf
from nfinspect.policy.criteria import MOST, ROWS, CriterionRow, Kind
from nfinspect.policy.grammar import GLOBAL, Draft, Family, Meaning, Mode, Row, Skipped
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import (
    Clause,
    IncompleteCommand,
    InspectionMap,
    MailRelay,
    Parameters,
    PipeCharacter,
    Reaction,
    ServerAnomalyAction,
    UnseenDataAction,
    action_words,
)
from nfinspect.policy.syntax import Argument, Statement, WordError, number
from nfinspect.policy.words import parameter_lines

MAP = Mode("policy-map type inspect esmtp")
PARAMETERS = Mode("parameters")
CLAUSE = Mode("match")

READ = "docs/configuration.md#inspection-maps"


@dataclass(slots=True)
class ClauseDraft:
    """A ``match`` line and, once read, its action."""

    word: Word
    row: CriterionRow
    negated: bool
    value: Above | OneOf | RegexName
    text: str
    """The line in canonical form."""
    action: ClauseAction | None = None
    log: bool = False
    rate: int = 0


@dataclass(frozen=True, slots=True)
class RegexName:
    """What a match names by ``regex NAME`` or ``regex class NAME``."""

    name: Word
    is_class: bool

    @property
    def words(self) -> str:
        return f"regex class {self.name.text}" if self.is_class else f"regex {self.name.text}"


@dataclass(slots=True)
class MapDraft:
    """A ``policy-map type inspect esmtp``."""

    name: Word
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Values set for fields of `model.Parameters`."""
    parameter_words: dict[str, Word] = field(default_factory=dict)
    """The word that set each of them last."""
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


def _react(name: str) -> Meaning:
    """Return the meaning of a ``parameters`` line ``… action ACTION [log]`` for a field."""

    def meaning(draft: Draft, subject: MapDraft, statement: Statement[Any]) -> None:
        action = ClauseAction(statement.get("action", "log"))
        reaction = Reaction(action, "log" in statement)
        value = MailRelay(statement["domain"], reaction) if "domain" in statement else reaction
        _set_parameters(draft, subject, statement.word(), {name: value})

    return meaning


def _set_parameters(draft: Draft, subject: MapDraft, word: Word, values: dict[str, object]) -> None:
    """Set fields of the map's parameters; as on the appliance, the last line wins."""
    said = subject.parameter_words
    replaced = {said[n].line.number for n, v in values.items() if subject.parameters.get(n, v) != v}
    for line in replaced:
        draft.notice(word, f"this overrides line {line}", "overridden", READ)
    subject.parameters |= values
    said |= dict.fromkeys(values, word)


def _clause(row: CriterionRow) -> Meaning:
    """Return the meaning of a ``match`` line in an inspection map."""

    def meaning(draft: Draft, subject: MapDraft, statement: Statement[Any]) -> ClauseDraft:
        value: Above | OneOf | RegexName
        match row.kind:
            case Kind.WORDS:
                spelt = {word.lower(): word for word in row.words}
                value = OneOf(tuple(dict.fromkeys(spelt[word] for word in statement["words"])))
            case Kind.EXPRESSION:
                value = RegexName(statement.word("name"), "class" in statement)
            case _:
                value = Above(statement["limit"])
        negated = "not" in statement
        criterion = f"not {row.criterion.value}" if negated else row.criterion.value
        text = f"match {criterion} {value.words}"
        clause = ClauseDraft(statement.word(), row, negated, value, text)
        return _add(draft, subject, clause)

    return meaning


def _add(draft: Draft, subject: MapDraft, clause: ClauseDraft) -> ClauseDraft:
    key = clause.text if isinstance(clause.value, RegexName) else clause.text.lower()
    if key in subject.clauses:
        line = subject.clauses[key].word.line.number
        draft.error(clause.word, f"line {line} already has the same match")
    subject.clauses[key] = clause
    return clause


def _act(action: ClauseAction) -> Meaning:
    """Return the meaning of an action line below a ``match``."""

    def meaning(draft: Draft, subject: ClauseDraft, statement: Statement[Any]) -> None:
        word = statement.word()
        if subject.action is not None:
            message = f"the match in line {subject.word.line.number} already has an action"
            draft.error(word, message)
        if action not in subject.row.actions:
            message = f"{action.value} is not allowed for {subject.row.criterion.value}"
            draft.error(word, message, tuple(allowed.value for allowed in subject.row.actions))
        subject.action = action
        subject.log = "log" in statement
        subject.rate = statement.get("rate", 0)
        if "drop" in statement or "error" in statement:
            message = "7.x syntax, read as drop-connection; no protocol error is sent"
            draft.notice(word, message, "old-words", READ)

    return meaning


def _no_classes(draft: Draft, subject: MapDraft, statement: Statement[Any]) -> None:
    draft.error(
        statement.word(), "there are no classes for esmtp: an inspection map has match lines only"
    )


_VALUES = {
    Kind.LENGTH: "gt limit:LENGTH",
    Kind.COUNT: "gt limit:COUNT",
    Kind.EXPRESSION: "regex [class:class] NAME",
}


def _match(row: CriterionRow) -> str:
    """Return the pattern of the ``match`` lines for a criterion."""
    value = _VALUES.get(row.kind) or f"words+:{{{' | '.join(row.words).lower()}}}..."
    return f"match [not:not] {row.criterion.value.lower()} {value}"


def _domain(text: str, _: object) -> str:
    if len(text) > 253 or not _IS_DOMAIN(text):
        raise WordError("no domain")
    return text.lower()


_IS_DOMAIN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?").fullmatch
_DOMAIN = Argument("a domain", _domain)

_DROP_OR_LOG = "{action:drop-connection [log:log] | log:log}"

FAMILY = Family(
    {
        GLOBAL: (Row("policy-map type inspect esmtp NAME", _begin, MAP),),
        MAP: (
            Row("description TEXT", _describe),
            Row("parameters", _parameters, PARAMETERS),
            *(Row(_match(row), _clause(row), CLAUSE) for row in ROWS),
            Row("class [REST]", _no_classes),
        ),
        PARAMETERS: (
            Row("mask-banner", _set(mask_banner=True)),
            Row("no mask-banner", _set(mask_banner=False)),
            Row("allow-tls", _set(allow_tls=True, allow_tls_log=False)),
            Row("allow-tls action log", _set(allow_tls=True, allow_tls_log=True)),
            Row("no allow-tls", _set(allow_tls=False, allow_tls_log=False)),
            Row("no mail-relay", _set(mail_relay=None)),
            Row(f"mail-relay DOMAIN action {_DROP_OR_LOG}", _react("mail_relay")),
            Row("no special-character", _set(special_character=None)),
            Row(f"special-character action {_DROP_OR_LOG}", _react("special_character")),
            Row("no bare-newline", _set(bare_newline=None)),
            Row(
                "bare-newline action {action:{mask | drop-connection | reset} [log:log] | log:log}",
                _react("bare_newline"),
            ),
            Row(
                "starttls-injection value:{drop-connection | reset}",
                _choose("starttls_injection", ClauseAction),
            ),
            Row(
                "bdat-chunk value:{mask | drop-connection | reset}",
                _choose("bdat_chunk", ClauseAction),
            ),
            Row("closing-reply", _set(closing_reply=True)),
            Row("no closing-reply", _set(closing_reply=False)),
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
            Row("reset [log:log]", _act(ClauseAction.RESET)),
            Row("rate-limit rate:COUNT", _act(ClauseAction.RATE_LIMIT)),
        ),
    },
    {
        "LENGTH": number(1, MOST[Kind.LENGTH]),
        "COUNT": number(1, MOST[Kind.COUNT]),
        "SECONDS": number(0, 86400),
        "DOMAIN": _DOMAIN,
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
    },
)


# Resolving.


def resolve(draft: Draft, map_draft: MapDraft) -> InspectionMap:
    """Return the inspection map; adds an error for each match without an action."""
    clauses = []
    for position, clause in enumerate(map_draft.clauses.values(), 1):
        if clause.action is None:
            expected = ("its action on the next line",)
            draft.error(clause.word, "the match has no action", expected)
        condition = _condition(draft, clause)
        if condition is not None and clause.action is not None:
            criterion = clause.row.criterion
            clauses.append(
                Clause(position, criterion, condition, clause.action, clause.log, clause.rate)
            )
    parameters = Parameters(**map_draft.parameters)
    return InspectionMap(map_draft.name.text, map_draft.description, parameters, tuple(clauses))


def _condition(draft: Draft, clause: ClauseDraft) -> Condition | None:
    """Return what a clause asks; None if that is not defined."""
    value = clause.value
    if isinstance(value, RegexName):
        found = regex.resolve(draft, value.name, is_class=value.is_class)
        if found is None:
            return None
        return Not(found) if clause.negated else found
    return Not(value) if clause.negated else value


# Writing.


def conditions(draft: Draft, map_draft: MapDraft) -> Iterator[Matches]:
    """Yield the expressions and classes that a map uses."""
    for clause in map_draft.clauses.values():
        value = clause.value
        if isinstance(value, RegexName):
            found = regex.resolve(draft, value.name, is_class=value.is_class)
            if found is not None:
                yield found


def lines(map_draft: MapDraft) -> Iterator[str]:
    """Yield the lines that define a map, indented as on the appliance."""
    yield f"policy-map type inspect esmtp {map_draft.name.text}"
    if map_draft.description:
        yield f" description {map_draft.description}"
    yield " parameters"
    for line in parameter_lines(Parameters(**map_draft.parameters)):
        yield f"  {line}"
    for clause in map_draft.clauses.values():
        yield f" {clause.text}"
        if clause.action is not None:
            yield f"  {action_words(clause.action, log=clause.log, rate=clause.rate)}"
