"""The benchmark of memory: its scenes do what they say, and the report."""

from __future__ import annotations

import pytest

from bench.memory import (
    Expiry,
    Kept,
    Stage,
    after_mail,
    expiry,
    idle,
    one_behind_each_gap,
    results,
    unacknowledged,
    window_behind_each_gap,
)


@pytest.mark.parametrize("scene", [idle, after_mail])
def test_idle_connections_are_open_and_keep_no_payload(scene: object) -> None:
    stage = Stage()
    scene(stage, 50)  # type: ignore[operator]
    assert stage.engine.connections == 51
    assert stage.engine.ledger.memory_bytes == 0
    assert not stage.refused


def test_one_segment_or_a_window_is_held_beyond_each_gap() -> None:
    stage = Stage()
    one_behind_each_gap(stage, 10)
    assert (stage.engine.connections, stage.engine.held) == (10, 10)
    assert not stage.refused

    stage = Stage()
    window_behind_each_gap(stage, 10)
    assert (stage.engine.connections, stage.engine.held) == (10, 430)
    assert not stage.refused


def test_unacknowledged_mail_is_kept() -> None:
    stage = Stage()
    unacknowledged(stage, 1)
    assert 5_000_000 < stage.engine.ledger.memory_bytes < 5_001_000
    assert not stage.refused


def test_all_idle_connections_expire() -> None:
    expired = expiry(50)
    assert expired.connections == 50
    assert expired.expired > 0


def test_report_has_bytes_per_connection_and_the_bounds() -> None:
    worst = {"held_packets": 4096, "held_bytes": 7, "memory_bytes": 0}
    kept = Kept("idle", 200, 700_000, 0, worst, {"hold-bound": 1234})
    traced = Kept("idle", 10, 0, 30_000, {}, {})
    expired = Expiry(1000, 2_345_000, 1e-7, 2.5e-6)
    text = results([(kept, traced)], [expired], {}, "python -m bench memory")
    assert "| 1,000       | 2,345                | 0.10       | 2.5                  |" in text
    assert "3,500" in text
    assert "3,000" in text
    assert "4,096 of 4,096" in text
    assert "1,234 hold-bound" in text
