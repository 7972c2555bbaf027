"""Clauses of an inspection map that never act, or that close what everybody sends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nfinspect.events import ClauseAction
from nfinspect.policy.commands.inspection import MapDraft
from nfinspect.policy.conditions import Above, Condition, Matches, Not, OneOf
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.errors import Finding
from nfinspect.policy.expressions import compiled
from nfinspect.policy.grammar import advice
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import Clause, InspectionMap

READ = "docs/policy.md#advice-about-clauses"

MOST_COMPARED = 100
"""Earlier clauses of its criterion that a clause is compared with."""

CLOSING = (ClauseAction.DROP_CONNECTION, ClauseAction.RESET)

_EVERY_MAIL = frozenset({"MAIL", "RCPT", "DATA"})
"""Commands without which there is no mail."""


def useless_clauses(
    maps: Mapping[str, MapDraft], inspection_maps: tuple[InspectionMap, ...]
) -> Iterator[Finding]:
    """Yield advice about the clauses of *inspection_maps*, those that a text defines."""
    judged: dict[str, bool] = {}
    for inspection_map in inspection_maps:
        words = [draft.word for draft in maps[inspection_map.name].clauses.values()]
        yield from _never_act(inspection_map, words)
        for clause in inspection_map.clauses:
            reason = _closes_everything(clause, judged) if clause.action in CLOSING else ""
            if reason:
                message = f"{reason}: no ordinary mail gets through"
                yield advice(words[clause.position - 1], message, "closes-everything", READ)


def _never_act(inspection_map: InspectionMap, words: list[Word]) -> Iterator[Finding]:
    closing: dict[Criterion, list[tuple[int, _Asked]]] = {}
    for clause in inspection_map.clauses:
        asked = _Asked.by(clause.condition)
        earlier = closing.setdefault(clause.criterion, [])
        for position, other in earlier[:MOST_COMPARED]:
            if other.includes(asked):
                line = words[position - 1].line.number
                yield advice(
                    words[clause.position - 1],
                    f"never acts: line {line} has closed the connection by then",
                    "never-acts",
                    READ,
                )
                break
        if clause.action in CLOSING:
            earlier.append((clause.position, asked))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a condition asks, as can be compared."""

    negated: bool
    limit: int | None
    choices: frozenset[str]
    """Words, or expressions."""
    kind: type

    @classmethod
    def by(cls, condition: Condition) -> _Asked:
        negated = isinstance(condition, Not)
        plain = condition.condition if isinstance(condition, Not) else condition
        match plain:
            case Above(limit):
                return cls(negated, limit, frozenset(), Above)
            case OneOf(choices):
                return cls(negated, None, frozenset(choices), OneOf)
            case Matches():
                patterns = frozenset(expression.re2 for expression in plain.expressions)
                return cls(negated, None, patterns, Matches)

    def includes(self, other: _Asked) -> bool:
        """Whether whatever meets *other* surely meets this."""
        if self.kind is not other.kind:
            return False
        if self.negated != other.negated:
            return self.negated and self.kind is OneOf and self.choices.isdisjoint(other.choices)
        more, less = (other, self) if self.negated else (self, other)
        if more.limit is not None and less.limit is not None:
            return more.limit <= less.limit
        return less.choices <= more.choices


def _closes_everything(clause: Clause, judged: dict[str, bool]) -> str:
    """Return how every ordinary mail meets the clause; empty if not, as far as is known. *judged*
    says of expressions whether they are found in nothing."""
    condition = clause.condition
    match condition:
        case Not(Above(limit)):
            return f"what is not above {limit} is ordinary"
        case Not(OneOf(choices)) if clause.criterion is Criterion.COMMAND_VERB:
            missing = sorted(_EVERY_MAIL.difference(choices))
            return f"{' and '.join(missing)} are none of these commands" if missing else ""
        case OneOf(choices) if clause.criterion is Criterion.COMMAND_VERB:
            found = sorted(_EVERY_MAIL.intersection(choices))
            return f"every mail needs {' and '.join(found)}" if found else ""
        case Matches(_, expressions):
            for expression in expressions:
                if expression.re2 not in judged:
                    judged[expression.re2] = compiled(expression).search(b"") is not None
                if judged[expression.re2]:
                    return "the expression matches whatever it is given"
    return ""
