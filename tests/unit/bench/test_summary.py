"""The arithmetic of the benchmark, with made-up samples."""

import pytest

from bench.loads import BULK, MB, SINGLE, SMALL, Load
from bench.measure import order
from bench.summary import (
    ACCEPT_ONLY,
    AIMS,
    CPU_BULK,
    CPU_SESSIONS,
    FILTER,
    LATENCY,
    MEMORY,
    PACKETS,
    PATHS,
    PLAIN,
    SESSIONS,
    THROUGHPUT,
    Sample,
    Spread,
    figures,
    judge,
    ratios,
    spread,
)


def sample(
    path: str,
    seconds: float,
    *,
    load: Load = SMALL,
    round: int = 1,
    cpu: float | None = None,
    memory: int | None = None,
    packets: int | None = None,
) -> Sample:
    return Sample(path, round, load.name, load.sessions, load.octets, seconds, cpu, memory, packets)


@pytest.mark.parametrize(
    ("measure", "of", "figure"),
    [
        (SESSIONS, sample(FILTER, 2.0), SMALL.sessions / 2),
        (LATENCY, sample(FILTER, 2.0, load=SINGLE), 2000 / SINGLE.sessions),
        (THROUGHPUT, sample(FILTER, 4.0, load=BULK), BULK.octets / MB / 4),
        (CPU_SESSIONS, sample(FILTER, 2.0, cpu=1.5), 1.5 / (SMALL.sessions / 1000)),
        (CPU_BULK, sample(FILTER, 2.0, load=BULK, cpu=1.5), 1.5 / (BULK.octets / 1e9)),
        (MEMORY, sample(FILTER, 2.0, load=BULK, memory=3 * 1024 * 1024), 3.0),
        (PACKETS, sample(FILTER, 2.0, packets=SMALL.sessions * 22), 22.0),
    ],
)
def test_measure_computes_its_figure_in_its_unit(measure, of, figure) -> None:
    assert measure.value(of) == pytest.approx(figure)


def test_plain_forwarding_has_no_cpu_time_of_its_own() -> None:
    assert figures([sample(PLAIN, 1.0)], CPU_SESSIONS, PLAIN) == {}


def test_figures_are_selected_by_path_and_load_and_keyed_by_round() -> None:
    samples = [
        sample(FILTER, 1.0, round=1),
        sample(FILTER, 2.0, round=2),
        sample(PLAIN, 4.0, round=2),
        sample(FILTER, 8.0, round=2, load=BULK),
    ]
    assert figures(samples, SESSIONS, FILTER) == {1: 3000.0, 2: 1500.0}


def test_median_of_an_even_number_of_figures_is_the_mean_of_the_middle_two() -> None:
    assert spread([4.0, 1.0, 2.0, 9.0]) == Spread(3.0, 1.0, 9.0)


def test_spread_of_no_figures_is_none() -> None:
    assert spread([]) is None


def test_ratio_is_taken_within_a_round() -> None:
    # The machine was four times as slow in round 2, but the ratio is the same.
    samples = [
        sample(PLAIN, 1.0, round=1),
        sample(FILTER, 2.0, round=1),
        sample(PLAIN, 4.0, round=2),
        sample(FILTER, 8.0, round=2),
    ]
    assert ratios(samples, SESSIONS, FILTER, PLAIN) == [0.5, 0.5]


def test_round_without_the_reference_has_no_ratio() -> None:
    samples = [sample(FILTER, 2.0, round=1), sample(FILTER, 2.0, round=2)]
    samples.append(sample(PLAIN, 1.0, round=2))
    assert ratios(samples, SESSIONS, FILTER, PLAIN) == [0.5]


def test_aim_is_judged_by_the_median_over_the_rounds() -> None:
    samples = []
    for number, seconds in enumerate(
        (1 / 0.96, 10.0, 1 / 0.96), start=1
    ):  # one round was disturbed
        samples += [
            sample(PLAIN, 1.0, round=number, load=BULK),
            sample(FILTER, seconds, round=number, load=BULK),
        ]
    (bulk,) = (judgement for judgement in judge(samples) if judgement.aim.measure is THROUGHPUT)
    assert bulk.ratio == Spread(0.96, 0.1, 0.96)
    assert bulk.is_met


def test_aim_that_was_not_measured_is_not_met() -> None:
    assert [judgement.ratio for judgement in judge([])] == [None] * len(AIMS)
    assert not any(judgement.is_met for judgement in judge([]))


def test_aim_for_cpu_time_is_an_upper_bound() -> None:
    def is_met(filter_cpu: float) -> bool:
        samples = [sample(ACCEPT_ONLY, 1.0, cpu=0.5), sample(FILTER, 1.0, cpu=filter_cpu)]
        (cpu,) = (found for found in judge(samples) if found.aim.measure is CPU_SESSIONS)
        return cpu.is_met

    assert is_met(0.64)
    assert not is_met(0.66)


def test_each_path_is_first_second_and_last_in_turn() -> None:
    orders = [order(number, PATHS) for number in range(1, len(PATHS) + 1)]
    for position in range(len(PATHS)):
        assert {turn[position] for turn in orders} == set(PATHS)
    assert order(len(PATHS) + 1, PATHS) == order(1, PATHS)
