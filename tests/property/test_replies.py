"""Servers that answer as they should not: see tests/fuzz/replies.py."""

import pytest

from nfinspect.esmtp.dialogue import Dialogue
from tests.fuzz.replies import run_many

TOTAL, BATCH = 8000, 1000


@pytest.mark.parametrize("first", range(0, TOTAL, BATCH))
def test_no_way_in_and_no_standstill_whatever_the_server_says(first: int) -> None:
    packets, failures = run_many(range(first, first + BATCH))
    assert not failures, "\n".join(failures)
    assert packets > 20 * BATCH


@pytest.mark.parametrize(
    ("method", "harmless"),
    [("_leave", False), ("settle", 0), ("end_doubtful", None)],
)
def test_a_dialogue_that_lacks_a_rule_is_found_out(
    method: str, harmless: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dialogue, method, lambda *arguments: harmless)
    assert run_many(range(BATCH))[1]
