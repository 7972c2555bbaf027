"""The clauses of a map, prepared once for all its connections (docs/appliance.md, sections 4 and 10).

A clause is a bit, the first of the map the lowest: a set of clauses is a number, and a map of many clauses
costs what its criteria cost. `ClauseGroup` tells which clauses of one criterion something meets; expressions of
one criterion are searched for together.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Final

import re2  # type: ignore[import-untyped]

from nfinspect.esmtp.asked import UNLIMITED, Asked, asked_by
from nfinspect.esmtp.keywords import KEYWORDS, OTHERS
from nfinspect.esmtp.rate import Bucket
from nfinspect.esmtp.verbs import OF_RFC_821, PERMITTED, PERMITTED_WITH_TLS, Verb, prefixes
from nfinspect.events import REPLY, REQUEST, ClauseAction, Direction
from nfinspect.policy.conditions import Above, Condition, Expression, Matches, Not, OneOf
from nfinspect.policy.criteria import CRITERIA, Criterion, Kind, Scope
from nfinspect.policy.expressions import options as expression_options
from nfinspect.policy.model import Clause, InspectionMap, Parameters
from nfinspect.tcp.inspection import Clock

SET_MEMORY: Final = 64 * 2**20
"""Bytes that all expressions of one criterion may take together, compiled."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A clause, prepared for evaluation."""

    clause: Clause
    limit: int
    """The N of ``gt N``: anything above it matches."""
    negated: bool
    """``match not``."""
    bit: int
    """The clause's bit in the bit sets of a session."""
    direction: Direction
    words: str
    once_a_mail: bool

    @property
    def ends(self) -> bool:
        """Whether it closes the connection."""
        return self.clause.action.closes


class ClauseGroup:
    """The clauses of one criterion."""

    __slots__ = (
        "_above",
        "_any",
        "_any_word",
        "_by_word",
        "_expressions",
        "_limits",
        "_owners",
        "_set",
        "bits",
        "completes",
        "kind",
        "limits",
        "lowest",
        "negated",
        "rules",
    )

    def __init__(self, criterion: Criterion, rules: tuple[Rule, ...]) -> None:
        self.kind = CRITERIA[criterion].kind
        self.rules = rules
        self.bits = sum(rule.bit for rule in rules)
        self.negated = sum(rule.bit for rule in rules if rule.negated)
        """Those of ``match not``."""
        self.completes = bool(self.negated)
        """Whether what is complete and meets no other clause has to be reported, too."""
        measured = self.kind in (Kind.LENGTH, Kind.COUNT)
        self._limits = sorted({rule.limit for rule in rules}) if measured else []
        self._above = [0]
        for limit in self._limits:
            bits = sum(rule.bit for rule in rules if rule.limit == limit)
            self._above.append(self._above[-1] | bits)
        positive = [rule.limit for rule in rules if not rule.negated] if measured else []
        self.limits = tuple(sorted(set(positive)))
        """The different limits, the lowest first; without those of ``match not``."""
        self.lowest = min(positive, default=UNLIMITED)
        """Only a value above this can meet a clause that is not ``match not``."""
        self._by_word: dict[str, int] = {}
        if self.kind is Kind.WORDS:
            self._by_word = {
                word: sum(rule.bit for rule in rules if _names(rule.clause.condition, word))
                for word in CRITERIA[criterion].words
            }
        self._any_word = self.negated
        self._expressions: list[Any] = []
        self._owners: list[int] = []
        """The clauses of each expression in the set."""
        self._set: Any = None
        """All expressions; it finds which ones match. None: they are too many for that."""
        self._any: Any = None
        """One expression for all of them."""
        if self.kind is Kind.EXPRESSION and rules:
            self._prepare_expressions(rules)

    def _prepare_expressions(self, rules: tuple[Rule, ...]) -> None:
        owners: dict[str, int] = {}
        for rule in rules:
            for expression in _expressions(rule.clause.condition):
                owners[expression.re2] = owners.get(expression.re2, 0) | rule.bit
        self._owners = list(owners.values())
        texts = [_bytes(text) for text in owners]
        options = expression_options(SET_MEMORY)
        self._expressions = [re2.compile(text, options) for text in texts]
        try:
            self._any = re2.compile(b"|".join(b"(?:%s)" % text for text in texts), options)
            together = re2.Set.SearchSet(options)
            for text in texts:
                together.Add(text)
            together.Compile()
            self._set = together
        except re2.error:
            self._set = None  # too large together

    def above(self, value: int) -> int:
        """The clauses, of either kind, whose limit *value* exceeds."""
        return self._above[bisect_left(self._limits, value)]

    def met_by_number(self, value: int, before: int, complete: bool) -> int:
        """The clauses that a length or a count meets, and did not when it was *before*."""
        above = self.above(value)
        met = above & ~self.negated
        if before >= 0:
            met &= ~self.above(before)
        return met | (self.negated & ~above) if complete else met

    def met_by_word(self, word: str) -> int:
        """The clauses that a word meets; a word that no clause can name meets each ``match not``."""
        return self._by_word.get(word, self._any_word)

    def met_by_text(self, values: tuple[bytes, ...]) -> int:
        """The clauses of which an expression is found in one of the values, and each ``match not``
        of which none is."""
        found = 0
        for value in values:
            for index in self._search(value):
                found |= self._owners[index]
        return found ^ self.negated

    def _search(self, value: bytes) -> list[int]:
        """Which expressions are found in *value*. A set that runs out of memory says that none is,
        and so they are searched for one by one where another search contradicts it."""
        if self._set is not None:
            if self._any.search(value) is None:
                return []
            found = self._set.Match(value)
            if found is not None:
                return list(found)
        return [
            index for index, each in enumerate(self._expressions) if each.search(value) is not None
        ]


@dataclass(frozen=True, slots=True)
class Rules:
    """An inspection map, prepared once for all its connections."""

    map: InspectionMap
    parameters: Parameters
    clock: Clock
    verbs: dict[bytes, Verb]
    """Those that may pass: without those that a clause masks."""
    plain: dict[bytes, Verb]
    """Those of which no clause and no parameter asks anything but lengths."""
    prefixes: frozenset[bytes]
    in_order: tuple[Rule, ...]
    """All clauses, in the map's order."""
    groups: dict[Criterion, ClauseGroup]
    # The lowest limit of each kind; only a value above it can match a clause.
    command_line: int
    sender: int
    recipients: int
    refused: int
    counts_recipients: bool
    """The reply to DATA shows that few recipients were refused: ``match not``."""
    asked: Asked
    """What is measured of a message."""
    by_parameter: dict[str, tuple[Rule, ...]]
    """The clauses of each EHLO keyword, by its configuration word."""
    masked_parameters: frozenset[str]
    once_a_mail: int
    """The bits of the clauses that log once per mail."""
    only_log: int
    """The bits of the clauses that do nothing else."""
    buckets: dict[int, Bucket]
    """Of each clause with a rate, by its bit."""
    rated: int
    """Their bits."""

    def wants(self, criterion: Criterion) -> bool:
        """Whether any clause asks for it; if none does, it need not be measured."""
        return bool(self.groups[criterion].rules)

    def lowest(self, criterion: Criterion) -> int:
        """Only a value above this can match a clause, and has to be reported (see `completes`)."""
        return self.groups[criterion].lowest

    def limits(self, criterion: Criterion) -> tuple[int, ...]:
        """The different limits of its clauses, the lowest first; without those of ``match not``."""
        return self.groups[criterion].limits

    def completes(self, criterion: Criterion) -> bool:
        """Whether values that do not exceed a limit can match, too (``match not``): then each has to
        be reported when it is final."""
        return self.groups[criterion].completes

    def masks_prefix(self, beginning: bytes) -> bool:
        """Whether every keyword with this prefix is masked."""
        if OTHERS not in self.masked_parameters:
            return False
        known = (word for keyword, word in KEYWORDS.items() if keyword.startswith(beginning))
        return self.masked_parameters.issuperset(known) and not (
            self.parameters.allow_tls and b"STARTTLS".startswith(beginning)
        )


def compile_map(inspection_map: InspectionMap, clock: Clock | None = None) -> Rules:
    """The clauses of a map as its inspectors need them."""
    rules = tuple(_rule(clause, 1 << index) for index, clause in enumerate(inspection_map.clauses))
    groups = {
        criterion: ClauseGroup(
            criterion, tuple(rule for rule in rules if rule.clause.criterion is criterion)
        )
        for criterion in Criterion
    }
    parameters = inspection_map.parameters
    by_parameter: dict[str, tuple[Rule, ...]] = {}
    masked = set()
    for word in [*KEYWORDS.values(), OTHERS]:
        applying = _up_to_the_end(groups[Criterion.EHLO_REPLY_PARAMETER], word)
        by_parameter[word] = applying
        if any(rule.clause.action is ClauseAction.MASK for rule in applying):
            masked.add(word)
    permitted = PERMITTED if inspection_map.extended else OF_RFC_821
    if parameters.allow_tls:
        permitted = PERMITTED_WITH_TLS
    of_verbs = groups[Criterion.COMMAND_VERB]
    verbs = {
        word: verb
        for word, verb in permitted.items()
        if not any(
            rule.clause.action is ClauseAction.MASK
            for rule in _up_to_the_end(of_verbs, word.decode("ascii"))
        )
    }
    return Rules(
        map=inspection_map,
        parameters=parameters,
        clock=clock or Clock(),
        verbs=verbs,
        plain={
            word: verb
            for word, verb in verbs.items()
            if not of_verbs.met_by_word(word.decode("ascii"))
            and _is_plain(verb, groups, parameters)
        },
        prefixes=prefixes(verbs),
        in_order=rules,
        groups=groups,
        command_line=groups[Criterion.COMMAND_LINE_LENGTH].lowest,
        sender=groups[Criterion.SENDER_LENGTH].lowest,
        recipients=groups[Criterion.RECIPIENT_COUNT].lowest,
        refused=groups[Criterion.INVALID_RECIPIENTS].lowest,
        counts_recipients=groups[Criterion.INVALID_RECIPIENTS].completes,
        asked=asked_by([rule.clause for rule in rules]),
        by_parameter=by_parameter,
        masked_parameters=frozenset(masked),
        once_a_mail=sum(rule.bit for rule in rules if rule.once_a_mail),
        only_log=sum(rule.bit for rule in rules if rule.clause.action is ClauseAction.LOG),
        buckets={
            rule.bit: Bucket(rule.clause.rate)
            for rule in rules
            if rule.clause.action is ClauseAction.RATE_LIMIT
        },
        rated=sum(rule.bit for rule in rules if rule.clause.action is ClauseAction.RATE_LIMIT),
    )


def _rule(clause: Clause, bit: int) -> Rule:
    row = CRITERIA[clause.criterion]
    condition = clause.condition
    negated = isinstance(condition, Not)
    inner = condition.condition if isinstance(condition, Not) else condition
    return Rule(
        clause,
        inner.limit if isinstance(inner, Above) else UNLIMITED,
        negated,
        bit,
        REPLY if row.scope is Scope.REPLY else REQUEST,
        clause.words,
        row.once_a_mail,
    )


def _names(condition: Condition, word: str) -> bool:
    """Whether a word meets the condition."""
    if isinstance(condition, Not):
        return not _names(condition.condition, word)
    return isinstance(condition, OneOf) and word in condition.choices


def _expressions(condition: Condition) -> tuple[Expression, ...]:
    inner = condition.condition if isinstance(condition, Not) else condition
    return inner.expressions if isinstance(inner, Matches) else ()


def _up_to_the_end(group: ClauseGroup, word: str) -> tuple[Rule, ...]:
    """The clauses that a word meets, up to the first that closes the connection."""
    met = group.met_by_word(word)
    applying = []
    for rule in group.rules:
        if met & rule.bit:
            applying.append(rule)
            if rule.ends:
                break
    return tuple(applying)


def _is_plain(verb: Verb, groups: dict[Criterion, ClauseGroup], parameters: Parameters) -> bool:
    """Whether a line of this verb needs no more than the lengths of the line and of a sender."""
    if groups[Criterion.COMMAND_LINE_LENGTH].completes:
        return False
    if verb.address and parameters.special_character is not None:
        return False
    if verb.recipient:
        return parameters.mail_relay is None
    if verb.sender:
        return not (
            groups[Criterion.SENDER_ADDRESS].rules or groups[Criterion.SENDER_LENGTH].completes
        )
    return True


def _bytes(text: str) -> bytes:
    """An expression as it is searched for: each character is a byte."""
    return text.encode("latin-1")
