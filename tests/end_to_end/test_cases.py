"""The lab's cases, which the demo and the captures are made of: every row of the default map does
its action and counts it, and all else goes as the table says."""

from pathlib import Path

import pytest

from nfinspect.lab.case import EHLO_MASK, Case, Outcome, run_case
from nfinspect.lab.cases import CASES
from nfinspect.lab.filter import Filter
from nfinspect.lab.lab import Lab
from nfinspect.lab.stage import Stage
from nfinspect.policy import default_policy

DEFAULT = [case for case in CASES if case.config is None]
CONFIGURED = [case for case in CASES if case.config is not None]


@pytest.mark.parametrize("case", DEFAULT, ids=lambda case: case.name)
def test_case_goes_as_its_table_says(
    case: Case, stage: Stage, running: Filter, tmp_path: Path
) -> None:
    outcome = run_case(case, stage, running, tmp_path)
    assert outcome.as_expected, unmet(outcome)


@pytest.mark.parametrize("case", CONFIGURED, ids=lambda case: case.name)
def test_case_with_a_policy_of_its_own_goes_as_its_table_says(case: Case, tmp_path: Path) -> None:
    config = tmp_path / "policy.cfg"
    config.write_text(case.config or "")
    with Lab(offloads=False) as lab:
        running = lab.filter(config)
        outcome = run_case(case, Stage(lab), running, tmp_path)
        running.stop()
    assert outcome.as_expected, unmet(outcome)


def unmet(outcome: Outcome) -> str:
    return "\n".join(text for text, met in outcome.judgements if not met)


def test_every_clause_of_the_default_map_is_counted_by_a_case() -> None:
    """Each case is judged by its counts too, see `performance`; this tells that none is left out."""
    (inspection,) = default_policy().inspections
    clauses = {f"match {clause.words}" for clause in inspection.map.clauses}
    assert clauses == {words for case in CASES for words in case.counts} | {EHLO_MASK}
