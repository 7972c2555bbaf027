"""The streaming evaluation of a message agrees with a naive one that has all of it in memory, and with
Python's email package (`tests.differential`; more cases: ``python -m tests.differential --cases N``)."""

import pytest

from nfinspect.esmtp.clauses import Rules
from nfinspect.policy.criteria import Criterion
from tests.differential import dialogue, drawing, session
from tests.differential.compare import differences
from tests.differential.naive import Outcome
from tests.differential.written import misread

CASES = 20_000
MAILS = 300
DIALOGUES = 3000


def test_naive_and_streaming_evaluation_agree() -> None:
    for difference in differences(CASES, seed=1):
        pytest.fail(str(difference))


def test_what_another_program_reads_of_its_mails_is_what_is_evaluated() -> None:
    for text in misread(MAILS, seed=1):
        pytest.fail(text)


def test_clauses_about_commands_and_replies_agree() -> None:
    for text in dialogue.differences(DIALOGUES, seed=1):
        pytest.fail(text)


def test_every_criterion_is_drawn() -> None:
    assert {*drawing.OF_MESSAGES, *dialogue.OF_DIALOGUES} == set(Criterion)


def test_a_difference_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = session.outcome

    def late(rules: Rules, text: bytes, cuts: list[int]) -> Outcome:
        return evaluate(rules, text, [*cuts[1:-1], len(text)])

    monkeypatch.setattr(session, "outcome", late)
    assert "streaming" in str(next(differences(1000, seed=1)))
