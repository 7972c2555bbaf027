"""``nfinspect top``: what one look shows."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from nfinspect import cli
from nfinspect.audit.show import QueueState
from nfinspect.cli import top
from nfinspect.cli.top import Snapshot, picture
from nfinspect.policy.questions import Reply


def connection(number: int, passed: int, idle: float = 1.0) -> dict:
    return {
        "connection": number, "client": f"192.0.2.{number}:4000", "server": "10.0.0.1:25",
        "flags": "UIOMB", "idle": idle, "uptime": 75.0, "bytes": passed,
    }  # fmt: skip


QUEUE = asdict(
    QueueState(0, received=100, verdicts={"accepted": 90}, dropped={"connection-limit": 4})
)
LIMITS = [
    {
        "of": "class mail", "connections": 3, "embryonic": 1, "refused": 4,
        "intercepted": 2, "intercept": {"targets": 1, "listed": []},
        "limits": {"conn_max": 50, "embryonic_conn_max": 0},
    }
]  # fmt: skip
FIRST = Snapshot(
    10.0,
    QUEUE,
    {"in_use": 3, "most_used": 7, "connections": [connection(n, 500) for n in (1, 2, 3)],
     "not_listed": 5},
    LIMITS,
)  # fmt: skip


def printed(now: Snapshot, before: Snapshot | None, height: int = 60) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=160).print(picture(now, before, height))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_first_look_has_counters_limits_and_connections() -> None:
    lines = printed(FIRST, None)
    assert lines[:3] == [
        "queue 0: received 100, accepted 90, waiting 0, held 0, lost 0",
        "dropped: connection-limit 4",
        "connections: 3 in use, 7 most used",
    ]
    assert lines[4].split() == ["class", "mail", "3", "50", "1", "-", "4", "1", "(2", "open)"]
    assert lines[6].split()[:3] == ["1", "192.0.2.1:4000", "10.0.0.1:25"]
    assert "and 5 more" in lines[-1]


def test_second_look_has_rates_and_the_busiest_first() -> None:
    busy = [connection(1, 500), connection(2, 900), connection(3, 500, idle=0.0)]
    now = replace(
        FIRST,
        time=12.0,
        queue={**QUEUE, "received": 140},
        connections={**FIRST.connections, "connections": busy},
    )
    lines = printed(now, FIRST)
    assert lines[0].startswith("queue 0: received 140 (20/s), accepted 90 (0/s),")
    assert [line.split()[0] for line in lines[6:9]] == ["2", "3", "1"]
    assert lines[6].endswith("900      200")


def test_as_many_connections_as_there_is_room_for() -> None:
    lines = printed(FIRST, None, height=5)
    assert sum("10.0.0.1:25" in line for line in lines) == 3
    many = {**FIRST.connections, "connections": [connection(n, 1) for n in range(1, 90)]}
    lines = printed(replace(FIRST, connections=many), None, height=30)
    assert len(lines) <= 30
    assert any(f"and {5 + 89 - 15} more" in line for line in lines)


def test_not_on_a_terminal_it_looks_as_often_as_said(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"queue": FIRST.queue, "conn": FIRST.connections, "service-policy": FIRST.limits}
    monkeypatch.setattr(top, "ask_filter", lambda words, control: Reply("", answers[words[1]]))
    monkeypatch.setattr(top.time, "sleep", lambda seconds: None)
    result = CliRunner().invoke(cli.main, ["top", "--count", "2"])
    assert result.exit_code == 0
    assert result.stdout.count("connections: 3 in use") == 2


def test_without_a_filter_it_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.main, ["top", "--control", str(tmp_path / "none")])
    assert result.exit_code == 1
