"""The texts of RESULTS.md and PROFILE.md."""

import json
from collections import Counter

import pytest

from bench import instructions
from bench.loads import LOADS, SINGLE, SMALL
from bench.machine import ROOT
from bench.micro import Workload, run
from bench.profiling import name, profiles, read
from bench.report import describe, results, table
from bench.sampled import Sampler
from bench.session import SEGMENT, session
from bench.summary import ACCEPT_ONLY, FILTER, PLAIN, SPINNING, Sample
from nfinspect.lab.topology import LabError


def samples(filter_seconds: float) -> list[Sample]:
    made = []
    for number in (1, 2, 3):
        for load in LOADS:
            rest = (load.name, load.sessions, load.octets)
            made += [
                Sample(PLAIN, number, *rest, 1.0),
                Sample(ACCEPT_ONLY, number, *rest, 1.0, 0.5, 2**24, 66000, 0),
                Sample(FILTER, number, *rest, filter_seconds, 0.75, 2**25, 66000, 0),
            ]
    return made


def row(text: str, *cells: str) -> list[str]:
    """The cells of the one row that begins with *cells*."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    (found,) = (row for row in rows if row[: len(cells)] == list(cells))
    return found[len(cells) :]


def test_table_has_aligned_columns() -> None:
    assert table(["a", "long head"], [["wide cell", "b"], ["c", ""]]) == [
        "| a         | long head |",
        "| --------- | --------- |",
        "| wide cell | b         |",
        "| c         |           |",
    ]


def test_results_have_medians_and_the_ratios_to_both_references() -> None:
    text = results(samples(2.0), LOADS, {"kernel": "6.1"}, "script/bench --rounds 3")
    assert row(text, "sessions/s", "small", FILTER) == ["1,500", "0.50", "0.50"]
    assert row(text, "CPU s per 1,000 sessions", "small", FILTER) == ["0.250", "–", "1.50"]
    assert row(text, "peak memory, MiB", "bulk", FILTER) == ["32.0", "–", "2.00"]
    assert row(text, "sessions/s", "small", PLAIN) == ["3,000", "–", "1.00"]
    assert "`script/bench --rounds 3`" in text
    assert "3 interleaved rounds" in text
    assert row(text, "kernel") == ["6.1"]


@pytest.mark.parametrize(("seconds", "verdict"), [(1.25, "met"), (2.0, "short")])
def test_results_say_whether_an_aim_is_met(seconds: float, verdict: str) -> None:
    text = results(samples(seconds), LOADS, {}, "script/bench")
    assert row(text, "sessions/s", "at least 0.75 of accept-only")[-1] == verdict


@pytest.mark.parametrize(("seconds", "verdict"), [(1.0, "met"), (1.2, "short")])
def test_aim_of_the_spinning_filter_is_judged_by_its_own_path(seconds: float, verdict: str) -> None:
    spinning = Sample(SPINNING, 1, SINGLE.name, SINGLE.sessions, SINGLE.octets, seconds)
    text = results([*samples(9.0), spinning], LOADS, {}, "script/bench")
    assert row(text, f"ms per session, {SPINNING}")[-1] == verdict
    assert row(text, "ms per session", "at most 1.40 of accept-only")[-1] == "short"


def test_profile_without_samples_is_an_error() -> None:
    nothing = json.dumps({"samples": 0, "running": [], "on_stack": []})
    with pytest.raises(LabError, match="not sampled"):
        read(nothing, SMALL, cpu_seconds=1.0)


def test_results_of_differing_rounds_show_the_least_and_the_greatest() -> None:
    made = samples(2.0)
    slow = Sample(FILTER, 4, SMALL.name, SMALL.sessions, SMALL.octets, 3.0)
    text = results([*made, slow], LOADS, {}, "script/bench")
    assert row(text, "sessions/s", "small", FILTER)[0] == "1,500 (1,000 to 1,500)"


def test_micro_benchmark_has_a_row_for_every_kind_of_packet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(instructions, "VALGRIND", "a-program-that-does-not-exist")
    workload = Workload("two small", SMALL.size, SEGMENT, sessions=2, counted=(1, 2))
    text = "\n".join(run(workload, passes=1))
    for packet in session(SMALL.size, SEGMENT):
        assert len(row(text, packet.kind)) == 2
    assert "instructions: not counted, valgrind is not installed" in text


def test_load_is_described_with_its_numbers() -> None:
    assert describe(SMALL) == "3,000 sessions of one mail of 2 KiB, 20 at a time"


def test_sampler_counts_the_running_line_and_each_function_on_the_stack_once() -> None:
    import sys

    sampler = Sampler()

    def outer(depth: int) -> None:
        if depth:
            outer(depth - 1)
        else:
            sampler.sample(0, sys._getframe())

    outer(3)
    assert sampler.samples == 1
    (running,) = sampler.running
    assert running[1].endswith("outer")
    (counted,) = (count for place, count in sampler.on_stack.items() if place[1] == running[1])
    assert counted == 1


def test_profile_distributes_the_cpu_time_of_a_session() -> None:
    engine = str(ROOT / "nfinspect/engine.py")
    written = {
        "samples": 4,
        "running": [[engine, "arrive", 10, 1], [engine, "arrive", 11, 2], [engine, "parse", 5, 1]],
        "on_stack": [[engine, "arrive", 0, 4], [engine, "parse", 0, 1]],
    }
    profile = read(json.dumps(written), SMALL, cpu_seconds=SMALL.sessions * 400e-6)
    assert profile.by_function == Counter({(engine, "arrive", 0): 3, (engine, "parse", 0): 1})
    text = profiles([profile], {}, "script/bench --profile")
    assert row(text, "nfinspect/engine.py arrive") == ["75.0%", "300.0", "100.0%"]
    assert row(text, "nfinspect/engine.py:11 arrive") == ["50.0%"]


def test_profile_shows_no_absolute_path_of_a_library() -> None:
    assert name((str(ROOT / ".venv/lib/site-packages/click/core.py"), "main", 3)) == (
        "click/core.py:3 main"
    )
    assert name(("/usr/lib/python3.11/socket.py", "f", 0)) == "socket.py f"
    assert name(("<string>", "<module>", 0)) == "<string> <module>"
