"""Events as JSON objects."""

import json

import pytest

from nfinspect.audit.json_lines import to_json
from nfinspect.events import (
    ClauseAction,
    ClauseMatched,
    CommandSeen,
    Connection,
    ConnectionTornDown,
    DeniedNoConnection,
    Direction,
    Endpoint,
    Event,
    ReplyAwaited,
    TeardownReason,
)

CONNECTION = Connection(
    7,
    Endpoint("outside", bytes([192, 0, 2, 1]), 4321),
    Endpoint("inside", bytes.fromhex("20010db8000000000000000000000025"), 25),
)
ENDS = {
    "connection": 7,
    "client": "192.0.2.1:4321",
    "client_interface": "outside",
    "server": "[2001:db8::25]:25",
    "server_interface": "inside",
}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            ClauseMatched(CONNECTION, Direction.REQUEST, "m", 2, "cmd RCPT count gt 100",
                          ClauseAction.DROP_CONNECTION, True),
            {
                "event": "clause-matched",
                **ENDS,
                "direction": "Request",
                "map_name": "m",
                "position": 2,
                "criterion": "cmd RCPT count gt 100",
                "action": "drop-connection",
                "log": True,
                "evidence": None,
                "mail": None,
            },
        ),
        (
            ConnectionTornDown(CONNECTION, TeardownReason.TCP_FINS, 1.5, 99),
            {
                "event": "connection-torn-down",
                **ENDS,
                "reason": "TCP FINs",
                "duration": 1.5,
                "bytes_passed": 99,
            },
        ),
        (
            DeniedNoConnection(CONNECTION.client, CONNECTION.server, 16),
            {
                "event": "denied-no-connection",
                "source": "192.0.2.1:4321",
                "source_interface": "outside",
                "destination": "[2001:db8::25]:25",
                "destination_interface": "inside",
                "flags": 16,
            },
        ),
        (
            ReplyAwaited(CONNECTION, b"\x16\x03\x01", 517, "greeting", 1, 5.0),
            {
                "event": "reply-awaited",
                **ENDS,
                "line": "\\x16\\x03\\x01",
                "count": 517,
                "awaits": "greeting",
                "outstanding": 1,
                "duration": 5.0,
            },
        ),
        (
            CommandSeen(CONNECTION, b"NOOP \xff\n\\"),
            {"event": "command-seen", **ENDS, "line": "NOOP \\xff\\x0a\\\\"},
        ),
    ],
)  # fmt: skip
def test_event_becomes_an_object_of_json_types(event: Event, expected: dict[str, object]) -> None:
    assert to_json(event) == expected
    assert json.loads(json.dumps(to_json(event))) == expected


def test_event_with_a_known_time_has_it_in_utc() -> None:
    timed = to_json(CommandSeen(CONNECTION, b"QUIT"), 1_700_000_000.25)
    assert timed["time"] == "2023-11-14T22:13:20.250000+00:00"
    assert "time" not in to_json(CommandSeen(CONNECTION, b"QUIT"))
