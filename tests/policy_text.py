"""The rows of tests/unit/engine/test_criteria.py as configuration text, for tests of the whole program."""

from __future__ import annotations

from nfinspect.events import ClauseAction
from nfinspect.policy.conditions import Matches, Not
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.model import Clause
from tests.unit.engine.test_criteria import CASES


def clause_of(criterion: Criterion, negated: bool, action: ClauseAction, log: bool) -> Clause:
    case = CASES[criterion]
    condition = Not(case.negated or case.condition) if negated else case.condition
    return Clause(1, criterion, condition, action, log, rate=1)


def configuration(clause: Clause) -> str:
    condition = (
        clause.condition.condition if isinstance(clause.condition, Not) else clause.condition
    )
    expressions = condition.expressions if isinstance(condition, Matches) else ()
    return "\n".join(
        (
            *(f'regex {each.name} "{each.pattern}"' for each in expressions),
            "policy-map type inspect esmtp m",
            f" match {clause.words}",
            f"  {clause.action_words}",
            "class-map inspection_default",
            " match default-inspection-traffic",
            "policy-map global_policy",
            " class inspection_default",
            "  inspect esmtp m",
            "service-policy global_policy global",
            "",
        )
    )
