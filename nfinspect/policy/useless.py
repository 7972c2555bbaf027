"""Clauses of an inspection map that never act, or that close what everybody sends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
    for inspection_map in inspection_maps:
        words = [draft.word for draft in maps[inspection_map.name].clauses.values()]
        yield from _never_act(inspection_map, words)
        for clause in inspection_map.clauses:
            reason = _closes_everything(clause)
            if reason and clause.action in CLOSING:
                message = f"{reason}: no ordinary mail gets through"
                yield advice(words[clause.position - 1], message, "closes-everything", READ)


def _never_act(inspection_map: InspectionMap, words: list[Word]) -> Iterator[Finding]:
    closing: dict[Criterion, list[Clause]] = {}
    for clause in inspection_map.clauses:
        earlier = closing.setdefault(clause.criterion, [])
        for other in earlier[:MOST_COMPARED]:
            if _includes(other.condition, clause.condition):
                line = words[other.position - 1].line.number
                yield advice(
                    words[clause.position - 1],
                    f"never acts: line {line} has closed the connection by then",
                    "never-acts",
                    READ,
                )
                break
        if clause.action in CLOSING:
            earlier.append(clause)


def _includes(one: Condition, other: Condition) -> bool:
    """Whether whatever meets *other* surely meets *one*."""
    match one, other:
        case Above(least), Above(limit):
            return least <= limit
        case OneOf(some), OneOf(few):
            return set(few) <= set(some)
        case Matches(), Matches():
            patterns = {expression.re2 for expression in one.expressions}
            return all(expression.re2 in patterns for expression in other.expressions)
        case Not(unmet), Not(others_unmet):
            return _includes(others_unmet, unmet)
        case Not(OneOf(some)), OneOf(few):
            return set(some).isdisjoint(few)
    return False


def _closes_everything(clause: Clause) -> str:
    """Return how every ordinary mail meets the clause; empty if not, as far as is known."""
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
        case Matches() if any(compiled(e).search(b"") is not None for e in condition.expressions):
            return "the expression matches whatever it is given"
    return ""
