"""A connection that inspection has closed, for as long as its client goes on."""

import pytest

from nfinspect.lab.streams import REQUEST, conversations
from tests.end_to_end.two_minutes import CLOSINGS, LENGTH, TwoMinutes


@pytest.mark.timeout(LENGTH + 60)
def test_segment_that_closed_the_connection_sent_again_for_two_minutes_never_gets_through(
    two_minutes: TwoMinutes,
) -> None:
    two_minutes.wait()
    outside, inside = (
        conversations(capture.file) for capture in (two_minutes.outside, two_minutes.inside)
    )
    assert len(outside) == len(inside) == len(CLOSINGS)
    for closing, lawful, before, behind, recording in zip(
        CLOSINGS, two_minutes.passed, outside, inside, two_minutes.server.recordings, strict=True
    ):
        tries = [
            each.time
            for each in before.segments
            if each.direction == REQUEST and each.payload == closing.last
        ]
        # The kernel doubles its timeout from 0.2 s on; the last within two minutes comes at 102 s.
        assert len(tries) >= 9, closing.name
        assert tries[-1] - tries[0] > 100, closing.name
        reached = [
            each for each in behind.segments if each.offset + len(each.payload) > len(lawful)
        ]
        # Bare acknowledgements of the replies that the server is owed to hear of may pass.
        assert [
            each
            for each in reached
            if each.direction == REQUEST and (each.payload or each.flags != "A")
        ] == [], closing.name
        assert behind.request.data == recording.received == lawful, closing.name
    assert two_minutes.syslog_differences() == []
    two_minutes.running.stop()
