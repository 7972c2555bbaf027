"""The limit on lines that one packet each can provoke."""

from __future__ import annotations

import dataclasses

import pytest

from nfinspect import events
from nfinspect.audit import json_lines, syslog
from nfinspect.audit.suppression import LIMITED, LinesSuppressed, Suppression
from nfinspect.events import (
    AnomalyKind,
    ClauseAction,
    ClauseMatched,
    CommandMaskReason,
    Connection,
    Direction,
    Endpoint,
    Event,
)

A, B = Endpoint("outside", bytes(4), 4321), Endpoint("inside", bytes(4), 25)
C = Connection(1, A, B)
DENIED = events.DeniedNoConnection(A, B, 4)
DUPLICATE = events.DuplicateSyn(C)
FULL = events.TableFull(A, B)
MATCHED = ClauseMatched(C, Direction.REPLY, "m", 1, "cmd verb NOOP", ClauseAction.LOG, True)
ONE_PACKET_EACH: list[Event] = [
    DENIED,
    DUPLICATE,
    FULL,
    MATCHED,
    events.CharacterReplaced(C, "<", b"MAIL FROM:<<a>"),
    events.ChunkMasked(C, 5),
    events.CommandMasked(C, CommandMaskReason.UNKNOWN_VERB),
    events.ConflictingBytes(C, Direction.REQUEST),
    events.KeywordsHidden(C, (b"DSN",)),
    events.LimitReached(
        A, B, events.LimitKind.CONNECTIONS, 3, 3, "class mail", True, False, "outside", False, True
    ),
    events.MailAnswered(C, b"250 ok"),
    events.ParameterMatched(C, Direction.REQUEST, "m", "mail-relay", ClauseAction.LOG, log=True),
    events.SizeExceeded(C, 9, 10),
    events.ServerAnomaly(C, AnomalyKind.UNASKED_REPLY, b"250 Ok"),
]
NEVER_LIMITED: list[Event] = [
    events.ConnectionBuilt(C),
    events.ConnectionTornDown(C, events.TeardownReason.TCP_FINS, 1.0, 1),
    events.InspectionClosed(C, Direction.REQUEST, events.CloseCause.CLAUSE),
    events.MaliciousAddress(C, b"|"),
    events.Uninspected(C, events.UninspectedCause.MIDSTREAM),
    dataclasses.replace(MATCHED, action=ClauseAction.DROP_CONNECTION),
    dataclasses.replace(MATCHED, action=ClauseAction.RESET),
]


def kind(event: Event) -> str:
    return type(event).__name__


def by_syslog(number: int = 3, seconds: float = 10) -> Suppression:
    return Suppression(number, seconds, syslog.number)


def admitted(suppression: Suppression, event: Event, *times: float) -> list[float]:
    return [now for now in times if suppression.admits(event, now)]


def test_lines_beyond_the_number_are_suppressed_counted_and_summed_up() -> None:
    suppression = by_syslog()
    assert admitted(suppression, DENIED, *range(100, 109)) == [100, 101, 102]
    assert suppression.suppressed == 6
    assert suppression.summaries(109.9) == []
    assert suppression.summaries(110.25) == [LinesSuppressed("106015", 6, 10.25)]
    assert suppression.summaries(111) == []
    assert admitted(suppression, DENIED, 111, 112, 113, 114) == [111, 112, 113]
    assert suppression.suppressed == 7


def test_lines_within_the_number_are_not_summed_up() -> None:
    suppression = by_syslog()
    for start in (100, 200, 300):
        assert len(admitted(suppression, DENIED, start, start + 5, start + 9)) == 3
    assert suppression.summaries(400, last=True) == []


def test_period_lasts_until_its_summary_has_been_taken() -> None:
    suppression = by_syslog()
    assert admitted(suppression, DENIED, 0, 0, 0, 0, 12, 13) == [0, 0, 0]
    assert suppression.summaries(13) == [LinesSuppressed("106015", 3, 13)]
    assert suppression.admits(DENIED, 13)


def test_each_message_has_its_own_number() -> None:
    suppression = by_syslog()
    admitted(suppression, DENIED, *[0] * 9)
    assert len(admitted(suppression, DUPLICATE, *[0] * 4)) == 3
    assert suppression.summaries(10) == [
        LinesSuppressed("106015", 6, 10),
        LinesSuppressed("419002", 1, 10),
    ]


def test_full_table_is_logged_once_in_a_period_with_its_count() -> None:
    suppression = by_syslog(number=1000)
    assert admitted(suppression, FULL, 5, 5, 6, 7) == [5]
    assert suppression.summaries(15) == [LinesSuppressed("201008", 3, 10)]
    assert suppression.admits(FULL, 15)


def test_end_sums_up_a_period_that_is_not_over() -> None:
    suppression = by_syslog()
    admitted(suppression, DENIED, 0, 0, 0, 0)
    assert suppression.summaries(1.5, last=True) == [LinesSuppressed("106015", 1, 1.5)]


@pytest.mark.parametrize("event", ONE_PACKET_EACH, ids=kind)
def test_what_one_packet_each_can_provoke_is_limited(event: Event) -> None:
    suppression = Suppression(1, 10, json_lines.kind_of)
    assert len(admitted(suppression, event, 0, 1)) == 1
    assert suppression.summaries(10) == [LinesSuppressed(json_lines.kind_of(event), 1, 10)]


def test_every_limited_event_is_tested_here() -> None:
    assert {type(event) for event in ONE_PACKET_EACH} == LIMITED


@pytest.mark.parametrize("event", NEVER_LIMITED, ids=kind)
def test_records_of_connections_are_never_suppressed(event: Event) -> None:
    suppression = Suppression(1, 10, json_lines.kind_of)
    assert len(admitted(suppression, event, 0, 0, 0)) == 3


def test_zero_is_no_limit() -> None:
    suppression = by_syslog(number=0)
    assert len(admitted(suppression, FULL, *[0] * 5000)) == 5000
    assert suppression.summaries(10, last=True) == []


def test_event_without_a_line_is_not_counted_as_suppressed() -> None:
    suppression = by_syslog(number=1)
    silent = dataclasses.replace(MATCHED, log=False)
    assert len(admitted(suppression, silent, 0, 0, 0)) == 3
    assert suppression.summaries(10) == []
    assert len(admitted(suppression, MATCHED, 0, 0, 0)) == 1
    assert suppression.summaries(10) == [LinesSuppressed("108005", 2, 10)]


def test_summary_is_a_line_of_its_own() -> None:
    suppressed = LinesSuppressed("106015", 4711, 10.04)
    assert syslog.summary(suppressed) == (
        "%NFINSPECT-4-SUPPRESSED: 4711 lines of message 106015 were suppressed in 10.0 seconds"
    )


def test_summary_is_an_event_in_json() -> None:
    suppressed = LinesSuppressed("denied-no-connection", 4711, 10.04)
    assert json_lines.to_json(suppressed) == {
        "event": "lines-suppressed",
        "message": "denied-no-connection",
        "count": 4711,
        "duration": 10.04,
    }
