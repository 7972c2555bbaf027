"""The clauses of a map, prepared for evaluation (docs/appliance.md, sections 4 and 10).

Criteria are evaluated as the protocol is parsed, byte by byte; for one line, address or field, the
clauses of its kind in the map's order. The first clause that drops the connection ends the
evaluation, so a log-only clause of the same kind logs if it comes before it, and never after it. A
length clause matches at the byte that exceeds its limit, once per line, however many packets the
line takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nfinspect.esmtp.keywords import KEYWORDS, OTHERS
from nfinspect.esmtp.verbs import OF_RFC_821, PERMITTED, PERMITTED_WITH_TLS, Verb, prefixes
from nfinspect.events import ClauseAction, Direction
from nfinspect.policy.conditions import Above, OneOf
from nfinspect.policy.criteria import CRITERIA, Criterion
from nfinspect.policy.model import Clause, InspectionMap, Parameters

UNLIMITED: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Rule:
    """A clause, prepared for evaluation."""

    clause: Clause
    limit: int
    """The N of ``gt N``: anything above it matches."""
    bit: int
    """The clause's bit in the bit sets of a session."""
    direction: Direction
    words: str
    once_a_mail: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """An inspection map, prepared once for all its connections."""

    map: InspectionMap
    parameters: Parameters
    verbs: dict[bytes, Verb]
    prefixes: frozenset[bytes]
    by_criterion: dict[Criterion, tuple[Rule, ...]]
    """The clauses of each criterion, in the map's order."""
    # The lowest limit of each kind; only a value above it can match a clause.
    command_line: int
    header_line: int
    body_line: int
    sender: int
    recipients: int
    filename: int
    by_parameter: dict[str, tuple[Rule, ...]]
    """The clauses of each EHLO keyword, by its configuration word."""
    masked_parameters: frozenset[str]
    once_a_mail: int
    """The bits of the clauses that log once per mail."""

    def wants(self, criterion: Criterion) -> bool:
        """Whether any clause asks for it; if none does, it need not be measured."""
        return bool(self.by_criterion[criterion])

    def lowest(self, criterion: Criterion) -> int:
        """Only a value above this can match a clause, and has to be reported."""
        return _lowest(self.by_criterion[criterion])

    def limits(self, criterion: Criterion) -> tuple[int, ...]:
        """The different limits of its clauses, the lowest first; without those of ``match not``."""
        return tuple(sorted({rule.clause.limit for rule in self.by_criterion[criterion]}))

    def completes(self, criterion: Criterion) -> bool:
        """Whether values that do not exceed a limit can match, too (``match not``): then each has to
        be reported when it is final."""
        return False

    def masks_prefix(self, beginning: bytes) -> bool:
        """Whether every keyword with this prefix is masked."""
        if OTHERS not in self.masked_parameters:
            return False
        known = (word for keyword, word in KEYWORDS.items() if keyword.startswith(beginning))
        return self.masked_parameters.issuperset(known) and not (
            self.parameters.allow_tls and b"STARTTLS".startswith(beginning)
        )


def compile_map(inspection_map: InspectionMap) -> Rules:
    """The clauses of a map as its inspectors need them."""
    rules = [
        Rule(
            clause,
            clause.condition.limit if isinstance(clause.condition, Above) else UNLIMITED,
            1 << index,
            Direction.REPLY
            if clause.criterion is Criterion.EHLO_REPLY_PARAMETER
            else Direction.REQUEST,
            clause.words,
            CRITERIA[clause.criterion].once_a_mail,
        )
        for index, clause in enumerate(inspection_map.clauses)
    ]
    by_criterion = {
        criterion: tuple(rule for rule in rules if rule.clause.criterion is criterion)
        for criterion in Criterion
    }
    by_parameter = {}
    masked = set()
    for word in [*KEYWORDS.values(), OTHERS]:
        applying = []
        for rule in by_criterion[Criterion.EHLO_REPLY_PARAMETER]:
            condition = rule.clause.condition
            if isinstance(condition, OneOf) and word in condition.choices:
                applying.append(rule)
                if rule.clause.action is ClauseAction.MASK:
                    masked.add(word)
                elif rule.clause.action is ClauseAction.DROP_CONNECTION:
                    break
        by_parameter[word] = tuple(applying)
    verbs = PERMITTED if inspection_map.extended else OF_RFC_821
    if inspection_map.parameters.allow_tls:
        verbs = PERMITTED_WITH_TLS
    return Rules(
        map=inspection_map,
        parameters=inspection_map.parameters,
        verbs=verbs,
        prefixes=prefixes(verbs),
        by_criterion=by_criterion,
        command_line=_lowest(by_criterion[Criterion.COMMAND_LINE_LENGTH]),
        header_line=_lowest(by_criterion[Criterion.HEADER_LINE_LENGTH]),
        body_line=_lowest(by_criterion[Criterion.BODY_LINE_LENGTH]),
        sender=_lowest(by_criterion[Criterion.SENDER_LENGTH]),
        recipients=_lowest(by_criterion[Criterion.RECIPIENT_COUNT]),
        filename=_lowest(by_criterion[Criterion.MIME_FILENAME_LENGTH]),
        by_parameter=by_parameter,
        masked_parameters=frozenset(masked),
        once_a_mail=sum(rule.bit for rule in rules if rule.once_a_mail),
    )


def _lowest(rules: tuple[Rule, ...]) -> int:
    return min((rule.limit for rule in rules), default=UNLIMITED)
