"""The benchmark of floods: what is told of mails that are not delivered, and the report; with made-up samples."""

from __future__ import annotations

import pytest

from bench.flood import CONDITIONS, Condition, Sample, quantile, results, share
from nfinspect.policy import parse_policy
from nfinspect.rules.interception import intercepts

FLOOD = Condition(100_000, limited=True)


def sample(condition: Condition = FLOOD, *, lost: int = 5) -> Sample:
    times = (0.010, 0.020, None, 0.030)
    return Sample(condition, times, times[:2], 70_000.4, 0.25, 40 << 20, 48 << 20, 7000, 300, lost)


def test_both_rates_are_measured_with_the_limit_and_without_it() -> None:
    found = {(each.rate, each.limited) for each in CONDITIONS}
    assert found == {(0, False)} | {
        (rate, limited) for rate in (20_000, 100_000) for limited in (False, True)
    }


@pytest.mark.parametrize("limited", [False, True])
def test_policy_has_the_limit_only_where_it_is_said(limited: bool) -> None:
    from bench.flood import WITH, WITHOUT

    policy = parse_policy(WITH if limited else WITHOUT, "a.cfg").policy
    assert intercepts(policy) is limited
    assert list(policy.plans) == [25]


@pytest.mark.parametrize(
    ("part", "found"), [(0.25, 0.010), (0.5, 0.020), (0.75, 0.030), (0.99, None)]
)
def test_a_mail_that_is_not_delivered_counts_as_the_slowest(
    part: float, found: float | None
) -> None:
    assert quantile((0.030, None, 0.010, 0.020), part) == found
    assert share((0.030, None, 0.010, 0.020)) == "3 of 4"


def test_report_adds_the_mails_of_all_rounds() -> None:
    text = results([sample(), sample(lost=7), sample(lost=9)], {"kernel": "6"}, "bench flood")
    assert "3 rounds, whose mails are counted together" in text
    (mails, work) = (
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith("| 100,000, limit 100")
    )
    assert mails[1:] == ["70,000", "9 of 12", "20.0", "–", "6 of 6", "10.0", "20.0"]
    assert work[1:] == ["0.25", "40", "48", "7,000", "300", "7"]
