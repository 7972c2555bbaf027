"""What a configuration text says, collected line by line: the actions of the grammar's rows.

A draft only records names; `resolve` checks that what they name exists. Errors that show at once,
such as a second definition, are collected in ``findings``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nfinspect.events import ClauseAction
from nfinspect.policy.errors import Finding
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import Clause, Criterion
from nfinspect.policy.syntax import Statement


@dataclass(slots=True)
class ClauseDraft:
    """A ``match`` line and, once read, its action."""

    word: Word
    criterion: Criterion
    limit: int = 0
    parameters: tuple[str, ...] = ()
    action: ClauseAction | None = None
    log: bool = False

    def clause(self, position: int) -> Clause | None:
        """Return the clause, or None if it has no action."""
        if self.action is None:
            return None
        return Clause(position, self.criterion, self.action, self.log, self.limit, self.parameters)


ClauseKey = tuple[Criterion, int, tuple[str, ...]]
"""Two ``match`` lines with the same key are the same match."""


@dataclass(slots=True)
class MapDraft:
    """A ``policy-map type inspect esmtp``."""

    name: Word
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Values set for fields of `model.Parameters`."""
    parameter_words: dict[str, Word] = field(default_factory=dict)
    """The word that set each of them last."""
    clauses: dict[ClauseKey, ClauseDraft] = field(default_factory=dict)
    """In the order of the lines."""


@dataclass(slots=True)
class ClassMapDraft:
    name: Word
    criterion: Word | None = None


@dataclass(slots=True)
class ClassDraft:
    """A ``class`` in a policy-map."""

    name: Word
    said: Word | None = None
    """The word ``esmtp`` in the last ``inspect`` or ``no inspect`` line of the class."""
    inspect: Word | None = None
    """The same word, if the class inspects."""
    map_name: Word | None = None
    """None: the default map."""


@dataclass(slots=True)
class PolicyMapDraft:
    name: Word
    classes: dict[str, ClassDraft] = field(default_factory=dict)


@dataclass(slots=True)
class Draft:
    """The content of one text; filled by the functions below, line by line."""

    maps: dict[str, MapDraft] = field(default_factory=dict)
    class_maps: dict[str, ClassMapDraft] = field(default_factory=dict)
    policy_maps: dict[str, PolicyMapDraft] = field(default_factory=dict)
    service_policy: Word | None = None
    """The name of the policy-map applied globally."""
    findings: list[Finding] = field(default_factory=list)
    notices: list[Finding] = field(default_factory=list)

    # What the lines of the current mode refer to.
    map: MapDraft | None = None
    clause: ClauseDraft | None = None
    class_map: ClassMapDraft | None = None
    policy_map: PolicyMapDraft | None = None
    policy_class: ClassDraft | None = None


Meaning = Callable[[Draft, Statement[Any]], None]
"""What a row of the grammar does; called only in its row's mode."""


def nothing(draft: Draft, statement: Statement[Any]) -> None:
    """Do nothing: the line is accepted but has no effect."""


def begin_map(draft: Draft, statement: Statement[Any]) -> None:
    """``policy-map type inspect esmtp NAME``."""
    name = statement.arguments["NAME"]
    draft.map = MapDraft(name)
    if not _taken(draft, name, draft.maps, draft.policy_maps):
        draft.maps[name.text] = draft.map


def describe_map(draft: Draft, statement: Statement[Any]) -> None:
    """``description TEXT`` of an inspection map."""
    assert draft.map is not None
    draft.map.description = statement.arguments["TEXT"].text


def set_parameters(**values: object) -> Meaning:
    """Return the action of a ``parameters`` line that sets these fields of `model.Parameters`."""

    def meaning(draft: Draft, statement: Statement[Any]) -> None:
        _set_parameters(draft, statement.words[-1], values)

    return meaning


def choose_parameter(name: str, kind: Callable[[str], object]) -> Meaning:
    """Return the action of a ``parameters`` line whose last word is the value of a field."""

    def meaning(draft: Draft, statement: Statement[Any]) -> None:
        word = statement.words[-1]
        _set_parameters(draft, word, {name: kind(word.text.lower())})

    return meaning


def begin_clause(criterion: Criterion) -> Meaning:
    """Return the action of a ``match`` line in an inspection map."""

    def meaning(draft: Draft, statement: Statement[Any]) -> None:
        assert draft.map is not None
        limits = [int(word.text) for word in statement.arguments.values()]
        parameters = () if limits else statement.keywords[2:]
        clause = ClauseDraft(statement.words[0], criterion, sum(limits), parameters)
        key = criterion, clause.limit, parameters
        if key in draft.map.clauses:
            line = draft.map.clauses[key].word.line.number
            draft.findings.append(clause.word.finding(f"line {line} already has the same match"))
        draft.map.clauses[key] = draft.clause = clause

    return meaning


def act(action: ClauseAction) -> Meaning:
    """Return the action of an action line below a ``match``."""

    def meaning(draft: Draft, statement: Statement[Any]) -> None:
        assert draft.clause is not None
        clause, word = draft.clause, statement.words[0]
        if clause.action is not None:
            message = f"the match in line {clause.word.line.number} already has an action"
            draft.findings.append(word.finding(message))
        if action is ClauseAction.MASK and clause.criterion is not Criterion.EHLO_REPLY_PARAMETER:
            message = f"mask is not allowed for {clause.criterion.value}"
            draft.findings.append(word.finding(message, ("drop-connection", "log")))
        clause.action = action
        clause.log = "log" in statement.keywords
        if statement.keywords[0] == "drop" or "send-protocol-error" in statement.keywords:
            message = "7.x syntax, read as drop-connection; no protocol error is sent"
            draft.notices.append(word.finding(message))

    return meaning


def begin_class_map(draft: Draft, statement: Statement[Any]) -> None:
    """``class-map NAME``."""
    name = statement.arguments["NAME"]
    draft.class_map = ClassMapDraft(name)
    if not _taken(draft, name, draft.class_maps):
        draft.class_maps[name.text] = draft.class_map


def classify(draft: Draft, statement: Statement[Any]) -> None:
    """``match default-inspection-traffic``."""
    assert draft.class_map is not None
    if draft.class_map.criterion is not None:
        line = draft.class_map.criterion.line.number
        message = f"this class-map already has a match, in line {line}"
        draft.findings.append(statement.words[0].finding(message))
    draft.class_map.criterion = statement.words[1]


def begin_policy_map(draft: Draft, statement: Statement[Any]) -> None:
    """``policy-map NAME``: opens a new or an existing one."""
    name = statement.arguments["NAME"]
    draft.policy_map = draft.policy_maps.get(name.text, PolicyMapDraft(name))
    if not _taken(draft, name, draft.maps):
        draft.policy_maps[name.text] = draft.policy_map


def begin_class(draft: Draft, statement: Statement[Any]) -> None:
    """``class NAME``: opens a new or an existing one."""
    assert draft.policy_map is not None
    name = statement.arguments["NAME"]
    draft.policy_class = draft.policy_map.classes.setdefault(name.text, ClassDraft(name))


def inspect(draft: Draft, statement: Statement[Any]) -> None:
    """``inspect esmtp [NAME]``."""
    assert draft.policy_class is not None
    word = statement.words[1]
    if draft.policy_class.inspect is not None:
        line = draft.policy_class.inspect.line.number
        message = f"this class already has an inspect esmtp, in line {line}"
        draft.findings.append(word.finding(message))
    draft.policy_class.said = draft.policy_class.inspect = word
    draft.policy_class.map_name = statement.arguments.get("NAME")


def do_not_inspect(draft: Draft, statement: Statement[Any]) -> None:
    """``no inspect esmtp [NAME]``."""
    assert draft.policy_class is not None
    draft.policy_class.said = statement.words[2]
    draft.policy_class.inspect = draft.policy_class.map_name = None


def apply_globally(draft: Draft, statement: Statement[Any]) -> None:
    """``service-policy NAME global``."""
    name = statement.arguments["NAME"]
    if draft.service_policy is not None:
        line = draft.service_policy.line.number
        message = f"there is already a global service-policy, in line {line}"
        draft.findings.append(name.finding(message))
    draft.service_policy = name


def _set_parameters(draft: Draft, word: Word, values: dict[str, object]) -> None:
    """Set fields of the map's parameters; as on the appliance, the last line wins."""
    assert draft.map is not None
    said = draft.map.parameter_words
    replaced = {
        said[n].line.number for n, v in values.items() if draft.map.parameters.get(n, v) != v
    }
    for line in replaced:
        draft.notices.append(word.finding(f"this overrides line {line}"))
    draft.map.parameters |= values
    said |= dict.fromkeys(values, word)


def _taken(draft: Draft, name: Word, *spaces: dict[str, Any]) -> bool:
    """Whether *name* is already in one of these namespaces; if so, adds an error."""
    for space in spaces:
        if name.text in space:
            line = space[name.text].name.line.number
            draft.findings.append(name.finding(f"{name.quoted} is already defined in line {line}"))
            return True
    return False
