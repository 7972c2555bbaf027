"""The benchmark of lossy paths: what is sent together, the ratios, the report; with made-up
samples."""

from __future__ import annotations

import pytest

from bench.loads import MB
from bench.loss import (
    CONDITIONS,
    PATHS,
    RECEIVER,
    SENDER,
    Condition,
    Transfer,
    batches,
    ratios,
    results,
)
from bench.summary import FILTER, PLAIN

LOSSY = Condition(SENDER, loss=0.01)


def transfer(path: str, seconds: float, *, round: int = 1, where: Condition = LOSSY) -> Transfer:
    cpu = 1.5 if path == FILTER else None
    return Transfer(where, path, round, 50 * MB, seconds, 30, 2, cpu)


def test_every_loss_rate_is_measured_on_both_sides_with_both_congestion_controls() -> None:
    for control in ("cubic", "bbr"):
        for side in (SENDER, RECEIVER):
            found = [c for c in CONDITIONS if (c.control, c.side, c.far) == (control, side, False)]
            assert [c.loss for c in found if not c.late] == [0.0, 0.001, 0.01, 0.03]
            assert [c.loss for c in found if c.late] == [0.0]


def test_each_condition_is_sent_once_through_each_path() -> None:
    tasks = [task for batch in batches(CONDITIONS, 1) for task in batch]
    assert sorted(map(str, tasks)) == sorted(str((c, path)) for c in CONDITIONS for path in PATHS)


def test_only_slow_transfers_run_together_and_only_with_others_of_their_kind() -> None:
    for batch in batches(CONDITIONS, 1):
        kinds = {(condition.loss, condition.far) for condition, _ in batch}
        assert len(kinds) == 1
        assert len(batch) == 1 or all(condition.is_slow for condition, _ in batch)


@pytest.mark.parametrize(("number", "first"), [(1, PLAIN), (2, FILTER), (3, PLAIN)])
def test_paths_alternate_in_being_first(number: int, first: str) -> None:
    (batch, *_) = batches(CONDITIONS, number)
    assert batch[0][1] == first


def test_ratio_is_taken_within_a_round_that_has_both() -> None:
    samples = [transfer(PLAIN, 10), transfer(FILTER, 11), transfer(PLAIN, 20, round=2)]
    samples += [transfer(FILTER, 30, round=2), transfer(FILTER, 99, round=3)]
    assert ratios(samples, LOSSY) == [1.1, 1.5]


def test_report_has_ratios_and_the_conditions_on_the_senders_side_that_miss_the_aim() -> None:
    other, far = Condition(RECEIVER, loss=0.01), Condition(SENDER, loss=0.03, control="bbr")
    samples = [transfer(PLAIN, 10), transfer(FILTER, 11)]
    samples += [transfer(PLAIN, 10, where=other), transfer(FILTER, 20, where=other)]
    text = results(samples, {"processor": "slow"}, "python -m bench loss", 50 * MB)
    assert "`python -m bench loss`" in text
    assert "Met in every row." in text
    row = next(line for line in text.splitlines() if line.startswith("| the sender's"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:] == ["1.0% lost", "cubic", "10.0", "11.0", "1.10", "30 / 30", "2 / 2", "30"]

    samples += [transfer(PLAIN, 10, where=far), transfer(FILTER, 12, where=far)]
    assert "Missed: 3.0% lost, bbr." in results(samples, {}, "", 50 * MB)
