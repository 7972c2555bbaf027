"""The table of criteria: complete, consistent, and what docs/policy.md says."""

import pytest

from nfinspect.events import ClauseAction
from nfinspect.policy.conditions import Above, Condition, Expression, Matches, Not, OneOf
from nfinspect.policy.criteria import (
    CRITERIA,
    MOST,
    ROWS,
    Criterion,
    CriterionRow,
    Kind,
)
from nfinspect.policy.model import Clause
from tests.unit.policy.document import DOCUMENT, written


def test_every_criterion_has_one_row() -> None:
    assert [row.criterion for row in ROWS] == list(Criterion)
    assert list(CRITERIA.values()) == list(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.criterion.value)
def test_row_has_words_or_a_range_or_an_expression(row: CriterionRow) -> None:
    assert (row.kind is Kind.WORDS) == bool(row.words)
    assert list(row.words) == sorted(set(row.words))
    assert (row.kind in MOST) == (row.kind in (Kind.LENGTH, Kind.COUNT))
    assert {ClauseAction.DROP_CONNECTION, ClauseAction.RESET, ClauseAction.LOG} <= {*row.actions}


def test_mask_is_for_verbs_and_keywords_only() -> None:
    takes_mask = {row.criterion for row in ROWS if ClauseAction.MASK in row.actions}
    assert takes_mask == {Criterion.COMMAND_VERB, Criterion.EHLO_REPLY_PARAMETER}


def test_document_has_the_table() -> None:
    assert DOCUMENT.read_text() == written(), "python -m tests.unit.policy.document"


REGEX = Expression("exe", "\\.exe$", "\\.exe$")


@pytest.mark.parametrize(
    ("criterion", "condition", "words"),
    [
        (Criterion.BODY_LENGTH, Above(512), "body length gt 512"),
        (Criterion.COMMAND_VERB, OneOf(("VRFY", "HELP")), "cmd verb VRFY HELP"),
        (Criterion.MIME_FILETYPE, Matches("exe", (REGEX,)), "MIME filetype regex exe"),
        (Criterion.SENDER_ADDRESS, Matches("c", (REGEX,), True), "sender-address regex class c"),
        (Criterion.TO_FIELDS, Not(Above(1)), "not header to-fields count gt 1"),
    ],
)
def test_clause_is_worded_as_it_is_configured(
    criterion: Criterion, condition: Condition, words: str
) -> None:
    assert Clause(1, criterion, condition, ClauseAction.LOG, True).words == words


@pytest.mark.parametrize(
    ("action", "log", "rate", "words"),
    [
        (ClauseAction.RATE_LIMIT, False, 5, "rate-limit 5"),
        (ClauseAction.RESET, True, 0, "reset log"),
        (ClauseAction.MASK, False, 0, "mask"),
        (ClauseAction.LOG, True, 0, "log"),
    ],
)
def test_action_is_worded_as_it_is_configured(
    action: ClauseAction, log: bool, rate: int, words: str
) -> None:
    clause = Clause(1, Criterion.COMMAND_VERB, OneOf(("HELP",)), action, log, rate)
    assert clause.action_words == words
