"""A capture made without limits, replayed under some."""

from __future__ import annotations

import io
import json

import pytest

from nfinspect.cli.replay import OPTIONS
from nfinspect.engine import Engine
from nfinspect.policy import parse_policy
from nfinspect.replay.capture import Capture
from nfinspect.replay.driver import Replay
from tests.unit.replay.mail import session
from tests.unit.replay.stand_in import pcap

CLASS = "policy-map global_policy\n class class-default\n  set connection {}\n"
STATIC = "static (inside,outside) 203.0.113.9 198.51.100.25 netmask 255.255.255.255 tcp 2 100\n"


def replayed(text: str, count: int, *, together: bool) -> dict:
    """The report on so many sessions, one behind the other or at the same time."""
    policy = parse_policy(text, "a.cfg").policy
    sessions = [session(port=40_000 + number) for number in range(count)]
    if together:
        packets = [packet for one_of_each in zip(*sessions, strict=True) for packet in one_of_each]
    else:
        packets = [packet for one in sessions for packet in one]
    run = Replay(policy, Engine(policy, OPTIONS, started=0.0), None)
    run.feed(Capture(io.BytesIO(pcap(packets, 101)), "mail.pcap"))
    result, text_out = run.finish(), io.StringIO()
    result.write_json(text_out)
    result.close()
    return json.loads(text_out.getvalue())


@pytest.mark.parametrize(
    ("text", "number", "reason"),
    [
        (STATIC, 201011, "connection-limit"),
        (CLASS.format("conn-max 2"), 201011, "connection-limit"),
        (CLASS.format("per-client-max 2"), 201013, "per-client-limit"),
    ],
)
def test_sessions_above_the_limit_would_not_have_been(text: str, number: int, reason: str) -> None:
    report = replayed(text, 5, together=True)
    assert len(report["connections"]) == 2
    assert sum(f"-{number}: " in line for line in report["syslog"]) == 3
    assert not any("106015" in line for line in report["syslog"])
    dropped = report["counters"]["dropped_packets"]
    assert dropped == {reason: 3 * len(session())}


def test_sessions_one_behind_the_other_are_within_it() -> None:
    report = replayed(STATIC, 5, together=False)
    assert len(report["connections"]) == 5
    assert report["counters"]["limits_reached"] == {}
