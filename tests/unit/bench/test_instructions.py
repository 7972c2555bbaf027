"""Counting instructions: what valgrind says is read, and the count of a session is that of its packets."""

from __future__ import annotations

import pytest

from bench import instructions
from bench.instructions import NoValgrindError, per_session, read
from bench.loads import SMALL
from bench.session import SEGMENT, session

SAID = """==12== Cachegrind, a cache and branch-prediction profiler
==12==
==12== I refs:        1,234,567,890
"""


def test_count_is_read_from_what_valgrind_says() -> None:
    assert read(SAID) == 1_234_567_890


@pytest.mark.parametrize("said", ["", "==12== I refs:\n", "Traceback: I refs: 12"])
def test_no_count_is_an_error(said: str) -> None:
    with pytest.raises(NoValgrindError):
        read(said)


def test_no_valgrind_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "VALGRIND", "a-program-that-does-not-exist")
    with pytest.raises(NoValgrindError, match="not installed"):
        per_session([], 1, 2)


def test_count_repeats_and_leaves_out_the_start_of_the_interpreter() -> None:
    packets = session(SMALL.size, SEGMENT)
    count = per_session(packets, 2, 4)
    assert count == pytest.approx(per_session(packets, 2, 4), rel=0.001)
    assert 1_000 < count / len(packets) < 1_000_000  # the start takes hundreds of millions
