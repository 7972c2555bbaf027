"""Where a measured value meets a clause (docs/appliance.md, sections 4 and 10).

Order of evaluation: as the protocol is parsed, byte by byte; for one measured thing (a line, an
address, a field) the clauses of its kind in the map's order. The first that drops the connection
ends the evaluation, so a log-only clause of the same kind writes ahead of it and never behind it.
A length is met at the byte that exceeds it, once a line, however many packets the line takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nfinspect.esmtp.keywords import KEYWORDS, OTHERS
from nfinspect.esmtp.verbs import (
    PERMITTED,
    PERMITTED_WITH_TLS,
    PREFIXES,
    PREFIXES_WITH_TLS,
    Verb,
)
from nfinspect.events import ClauseAction, Direction
from nfinspect.policy.model import Clause, Criterion, InspectionMap, Parameters

UNLIMITED: Final = 2**63 - 1

_SCOPE_MAIL = frozenset(
    {
        Criterion.RECIPIENT_COUNT,
        Criterion.HEADER_LINE_LENGTH,
        Criterion.BODY_LINE_LENGTH,
        Criterion.MIME_FILENAME_LENGTH,
    }
)
"""Kinds whose bare ``log`` writes once a mail; the others' once a command or reply."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A clause, ready to be met."""

    clause: Clause
    bit: int
    """One bit of its own in the sets of clauses that a session keeps."""
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
    """The clauses of a kind, in the map's order."""
    header_lines: tuple[Rule, ...]
    body_lines: tuple[Rule, ...]
    # What no value exceeds without meeting a clause of its kind:
    command_line: int
    sender: int
    recipients: int
    filename: int
    by_parameter: dict[str, tuple[Rule, ...]]
    """The clauses of an EHLO keyword, by the configuration's word for it."""
    masked_parameters: frozenset[str]
    once_a_mail: int
    """The bits of the clauses whose ``log`` writes once a mail."""

    def masks_prefix(self, beginning: bytes) -> bool:
        """Whether every keyword that begins so is masked."""
        if OTHERS not in self.masked_parameters:
            return False
        known = (word for keyword, word in KEYWORDS.items() if keyword.startswith(beginning))
        return self.masked_parameters.issuperset(known) and not (
            self.parameters.allow_tls and b"STARTTLS".startswith(beginning)
        )


def prepare(inspection_map: InspectionMap) -> Rules:
    """The rules of a map; the same object for the same map while it is in use."""
    found = _prepared.get(id(inspection_map))
    if found is None or found.map is not inspection_map:
        if len(_prepared) >= _PREPARED_BOUND:
            _prepared.clear()
        found = _prepared[id(inspection_map)] = _prepare(inspection_map)
    return found


_PREPARED_BOUND: Final = 64
_prepared: dict[int, Rules] = {}
"""By identity, because hashing a map costs more than a small session; the entry keeps its map, so
an identity is not given to another one."""


def _prepare(inspection_map: InspectionMap) -> Rules:
    rules = [
        Rule(
            clause,
            1 << index,
            Direction.REPLY
            if clause.criterion is Criterion.EHLO_REPLY_PARAMETER
            else Direction.REQUEST,
            clause.words,
            clause.criterion in _SCOPE_MAIL,
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
            if word in rule.clause.parameters:
                applying.append(rule)
                if rule.clause.action is ClauseAction.MASK:
                    masked.add(word)
                elif rule.clause.action is ClauseAction.DROP_CONNECTION:
                    break
        by_parameter[word] = tuple(applying)
    allow_tls = inspection_map.parameters.allow_tls
    return Rules(
        map=inspection_map,
        parameters=inspection_map.parameters,
        verbs=PERMITTED_WITH_TLS if allow_tls else PERMITTED,
        prefixes=PREFIXES_WITH_TLS if allow_tls else PREFIXES,
        by_criterion=by_criterion,
        header_lines=by_criterion[Criterion.HEADER_LINE_LENGTH],
        body_lines=by_criterion[Criterion.BODY_LINE_LENGTH],
        command_line=_lowest(by_criterion[Criterion.COMMAND_LINE_LENGTH]),
        sender=_lowest(by_criterion[Criterion.SENDER_LENGTH]),
        recipients=_lowest(by_criterion[Criterion.RECIPIENT_COUNT]),
        filename=_lowest(by_criterion[Criterion.MIME_FILENAME_LENGTH]),
        by_parameter=by_parameter,
        masked_parameters=frozenset(masked),
        once_a_mail=sum(rule.bit for rule in rules if rule.once_a_mail),
    )


def _lowest(rules: tuple[Rule, ...]) -> int:
    return min((rule.clause.limit for rule in rules), default=UNLIMITED)
