"""What has to wait, in the notes of a replay with the engine: which packet, for the reply to which."""

from __future__ import annotations

import io
import json
from io import StringIO

import pytest

from nfinspect.engine import RECORDED, Engine, EngineOptions
from nfinspect.policy import default_policy
from nfinspect.replay.capture import Capture
from nfinspect.replay.driver import Replay
from tests.unit.replay.mail import DIALOGUE, ethernet, session
from tests.unit.replay.stand_in import pcap

SIX_SECONDS, MOMENT = 6_000_000, 1_000
"""Between two packets, in microseconds."""


def waits(dialogue: tuple[tuple[str, bytes], ...], step: int) -> list[dict[str, object]]:
    """The notes of a capture that ends with the last line of the dialogue, which begins with
    packet 4."""
    packets = [ethernet(packet) for packet in session(dialogue)[: 3 + len(dialogue)]]
    policy = default_policy()
    engine = Engine(policy, EngineOptions(RECORDED, transcript=True), started=0.0)
    replay = Replay(policy, engine)
    replay.feed(Capture(io.BytesIO(pcap(packets, step=step)), "test.pcap"))
    result = replay.finish()
    text = StringIO()
    result.write_json(text)
    result.close()
    report = json.loads(text.getvalue())
    (connection,) = report["connections"]
    found = [
        note for note in connection["notes"] if note["event"] in ("reply-awaited", "line-unended")
    ]
    tallies = report["counters"]
    assert len(found) == tallies["replies_awaited"] + tallies["unended_lines"]
    return found


QUIT = (">", b"QUIT\r\n")


@pytest.mark.parametrize(
    ("last", "awaits", "line"),
    [
        (0, "greeting", "QUIT"),
        (2, "reply to HELO", "QUIT"),
        (4, "reply to MAIL", "QUIT"),
        (8, "reply to DATA", "***"),
        (10, "reply to the message", "QUIT"),
    ],
)
def test_packet_that_waits_and_the_one_whose_reply_is_owed_are_named(
    last: int, awaits: str, line: str
) -> None:
    """The capture goes on, six seconds later, with a repetition."""
    (note,) = waits((*DIALOGUE[:last], QUIT, (">", b"RSET\r\n")), SIX_SECONDS)
    assert note == {
        "event": "reply-awaited",
        "line": line,
        "count": 6,
        "awaits": awaits,
        "outstanding": 1,
        "duration": 5.0,
        "reply_to": 3 + last if last else None,
        "packet": 4 + last,
    }


def test_complete_mail_with_six_seconds_between_its_packets_waits_for_nothing() -> None:
    assert waits(DIALOGUE, SIX_SECONDS) == []


def test_wait_that_lasts_when_the_capture_ends_is_noted_with_its_length_so_far() -> None:
    (note,) = waits((*DIALOGUE[:4], QUIT, (">", b"RSET\r\n")), MOMENT)
    assert (note["packet"], note["reply_to"]) == (8, 7)
    assert note["duration"] == 0.001
    assert note["count"] == 12


def test_capture_that_ends_before_a_reply_waits_for_nothing() -> None:
    assert waits(DIALOGUE[:4], MOMENT) == []


@pytest.mark.parametrize(("step", "duration"), [(SIX_SECONDS, 5.0), (MOMENT, 0.001)])
def test_line_that_ends_in_a_bare_lf_is_noted_at_its_packet(step: int, duration: float) -> None:
    (note,) = waits((*DIALOGUE[:1], (">", b"HELO me\n"), (">", b"QUIT\n")), step)
    assert note == {
        "event": "line-unended",
        "line": "HELO me",
        "duration": duration,
        "packet": 5,
    }
