"""The lab's cases, from which the demo and the captures are made: every clause of the default map
takes its action and counts it, and everything else happens as the case says."""

from pathlib import Path

import pytest

from nfinspect.lab.case import EHLO_MASK, Case, Outcome, run_case
from nfinspect.lab.cases import CASES
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.stage import MailStage
from nfinspect.policy import default_policy

DEFAULT = [case for case in CASES if case.config is None]
CONFIGURED = [case for case in CASES if case.config is not None]


@pytest.mark.parametrize("case", DEFAULT, ids=lambda case: case.name)
def test_case_has_the_expected_outcome(
    case: Case, stage: MailStage, running: RunningFilter, tmp_path: Path
) -> None:
    outcome = run_case(case, stage, running, tmp_path)
    assert outcome.as_expected, unmet(outcome)


@pytest.mark.parametrize("case", CONFIGURED, ids=lambda case: case.name)
def test_case_with_a_policy_of_its_own_has_the_expected_outcome(case: Case, tmp_path: Path) -> None:
    config = tmp_path / "policy.cfg"
    config.write_text(case.config or "")
    with Lab(offloads=False) as lab:
        running = lab.filter(config)
        outcome = run_case(case, MailStage(lab), running, tmp_path)
        running.stop()
    assert outcome.as_expected, unmet(outcome)


def unmet(outcome: Outcome) -> str:
    return "\n".join(text for text, met in outcome.judgements if not met)


def test_every_clause_of_the_default_map_is_counted_by_a_case() -> None:
    """That a case counts what it says is checked with its outcome; here, that no clause is missing."""
    (inspection,) = default_policy().inspections
    clauses = {f"match {clause.words}" for clause in inspection.map.clauses}
    assert clauses == {words for case in CASES for words in case.counts} | {EHLO_MASK}
