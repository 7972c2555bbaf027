"""Connections that inspection has closed, while their clients keep retransmitting."""

import pytest

from nfinspect.lab.conversation import REQUEST
from nfinspect.lab.streams import conversations
from tests.end_to_end.two_minutes import CLOSINGS, LENGTH, TwoMinutes


@pytest.mark.timeout(LENGTH + 60)
def test_segment_that_closed_the_connection_retransmitted_for_two_minutes_never_passes(
    two_minutes: TwoMinutes,
) -> None:
    nothing_reached_the_server(two_minutes)
    assert two_minutes.syslog_differences() == []
    two_minutes.running.stop()


@pytest.mark.timeout(LENGTH + 60)
def test_nor_does_it_if_the_filter_is_killed_and_started_again(
    two_minutes_with_restarts: TwoMinutes,
) -> None:
    nothing_reached_the_server(two_minutes_with_restarts)
    running = two_minutes_with_restarts.running
    kept = f"connections that an earlier run closed, and that stay closed: {len(CLOSINGS)}"
    assert f"nfinspect: {kept}" in running.errors
    assert running.syslog == []
    assert running.show_json("queue")["uninspected"] == {}


def nothing_reached_the_server(two_minutes: TwoMinutes) -> None:
    """Of each connection, nothing that follows what passed before it was closed."""
    two_minutes.wait()
    outside, inside = (
        conversations(capture.file) for capture in (two_minutes.outside, two_minutes.inside)
    )
    assert len(outside) == len(inside) == len(CLOSINGS)
    for closing, lawful, before, after, recording in zip(
        CLOSINGS, two_minutes.passed, outside, inside, two_minutes.server.recordings, strict=True
    ):
        attempts = [
            each.time
            for each in before.segments
            if each.direction == REQUEST and each.payload == closing.last
        ]
        # The kernel doubles its timeout, starting at 0.2 s; the last one in two minutes is at 102 s.
        assert len(attempts) >= 9, closing.name
        assert attempts[-1] - attempts[0] > 100, closing.name
        reached = [each for each in after.segments if each.offset + len(each.payload) > len(lawful)]
        # Bare ACKs of the replies may pass.
        assert [
            each
            for each in reached
            if each.direction == REQUEST and (each.payload or each.flags != "A")
        ] == [], closing.name
        assert after.request.data == recording.received == lawful, closing.name
