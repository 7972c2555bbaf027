"""What waits in silence for more than five seconds is reported, once, and nothing else is."""

from __future__ import annotations

import pytest

from nfinspect.actions import DropReason
from nfinspect.engine import LIVE, RECORDED, EngineOptions
from nfinspect.events import ConnectionTornDown, LineUnended, ReplyAwaited, TeardownReason
from nfinspect.policy import parse_policy
from nfinspect.tcp.limits import Limits
from tests.model.talk import ACK, FIN, PSH, RST, Talk

PROXY = b"PROXY TCP4 192.0.2.1 198.51.100.25 4321 25\r\n"


def greeted(options: EngineOptions | None = None) -> Talk:
    talk = Talk(options=options).open()
    assert talk.server(b"220 \r\n") == b"220 \r\n"
    assert talk.client(flags=ACK) == b""
    return talk


def said_hello(talk: Talk, *, pipelining: bool = False) -> Talk:
    talk.client(b"EHLO c\r\n")
    talk.server(b"250-s\r\n250 PIPELINING\r\n" if pipelining else b"250 s\r\n")
    talk.client(flags=ACK)
    return talk


def awaited(talk: Talk) -> list[ReplyAwaited]:
    return talk.emitted(ReplyAwaited)


def unended(talk: Talk) -> list[LineUnended]:
    return talk.emitted(LineUnended)


# ---- for a reply -------------------------------------------------------------------------------


def test_bytes_held_before_the_greeting_are_reported_once_after_five_seconds() -> None:
    talk = Talk().open()
    assert talk.client(PROXY) is None
    talk.wait(4.9)
    assert awaited(talk) == []
    assert talk.engine.waits == (0, 0)
    talk.wait(0.2)
    (event,) = awaited(talk)
    assert event.line == PROXY[:-2]
    assert (event.count, event.awaits, event.outstanding) == (len(PROXY), "greeting", 1)
    assert event.duration == 5.0
    assert talk.engine.waits == (1, 0)
    for _ in range(30):
        talk.wait(10)
        talk.client(PROXY, at=0)
    assert len(awaited(talk)) == 1
    assert talk.server(b"220 \r\n", ack=0) == b"220 \r\n"
    assert talk.engine.waits == (0, 0)


def test_bytes_cut_off_are_reported_although_their_packet_has_passed() -> None:
    talk = Talk().open()
    talk.server(b"220 \r\n")
    assert talk.client(b"HELO c\r\nMAIL FROM:<a@b>\r\n") == b"HELO c\r\n"  # it acknowledges
    talk.wait(6)
    (event,) = awaited(talk)
    assert event.line == b"MAIL FROM:<a@b>"
    assert (event.count, event.awaits, event.duration) == (17, "reply to HELO", 5.0)
    assert talk.engine.waits == (1, 0)


def test_all_bytes_that_have_arrived_are_counted_the_first_line_is_shown() -> None:
    talk = Talk().open()
    talk.client(b"EHLO c\r\nRSET\r\n")
    talk.client(b"NOOP\r\n")
    talk.wait(6)
    (event,) = awaited(talk)
    assert (event.line, event.count) == (b"EHLO c", 20)


def test_bytes_that_are_not_even_held_are_counted_when_they_arrive() -> None:
    talk = Talk(options=EngineOptions(limits=Limits(held_packets=0))).open()
    assert talk.client(b"HELO c\r\n") is DropReason.AWAITS_REPLY
    assert talk.client(b"HELO c\r\nQUIT\r\n", at=0) is DropReason.AWAITS_REPLY
    assert talk.client(b"HELO", at=0) is DropReason.AWAITS_REPLY
    talk.wait(6)
    assert [(event.line, event.count) for event in awaited(talk)] == [(b"HELO c", 14)]


@pytest.mark.parametrize(
    ("said", "awaits"),
    [
        (b"RCPT TO:<a@b>\r\n", "reply to RCPT"),
        (b"VRFY a\r\n", "reply to VRFY"),
        (b"XCLIENT a\r\n", "reply to a masked line"),
        (b"BDAT 5 LAST\r\n", "reply to a masked BDAT"),
    ],
)
def test_the_reply_that_is_owed_is_named(said: bytes, awaits: str) -> None:
    talk = said_hello(greeted())
    assert talk.client(said) is not None
    if b"BDAT" in said:
        talk.client(b"hello")
    assert talk.client(b"QUIT\r\n") is None
    talk.wait(6)
    assert [event.awaits for event in awaited(talk)] == [awaits]


def test_replies_owed_before_the_one_that_opens_are_counted() -> None:
    talk = said_hello(greeted(), pipelining=True)
    talk.client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: secret\r\n")
    talk.wait(6)
    (event,) = awaited(talk)
    assert (event.awaits, event.outstanding) == ("reply to DATA", 3)
    assert (event.line, event.count) == (b"***", 17)  # it may be the message


def test_reply_to_the_message_is_named() -> None:
    talk = said_hello(greeted())
    for line in (b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n"):
        talk.client(line)
        talk.server(b"250 \r\n")
    talk.client(b"DATA\r\n")
    talk.server(b"354 \r\n")
    talk.client(b"\r\nhello\r\n.\r\nQUIT\r\n")
    talk.wait(6)
    assert [(e.line, e.awaits) for e in awaited(talk)] == [(b"QUIT", "reply to the message")]


@pytest.mark.parametrize(
    ("passes", "waits", "shown"),
    [
        (b"AUTH LOGIN\r\n", b"dXNlcg==\r\n", b"***"),
        (b"AUTH LOGIN\r\n", b"NOOP\r\n", b"***"),
        (b"NOOP\r\n", b"AUTH PLAIN AGEAYg==\r\n", b"AUTH PLAIN ***"),
        (b"dXNlcg==\r\n", b"cGFzcw==\r\n", b"***"),  # the server has refused AUTH
        (b"NOOP\r\n", b"MAIL FROM:<" + b"a" * 100 + b">\r\n", b"MAIL FROM:<" + b"a" * 69),
        (b"NOOP\r\n", b"MA", b"MA"),
        (b"NOOP\r\n", b"\r\n", b""),
    ],
)
def test_no_credential_is_shown(passes: bytes, waits: bytes, shown: bytes) -> None:
    talk = said_hello(greeted())
    talk.client(passes)
    assert talk.client(waits) is None
    talk.wait(6)
    assert [event.line for event in awaited(talk)] == [shown]


def test_idle_session_waits_for_nothing() -> None:
    talk = said_hello(greeted())
    before = talk.engine.deadline()
    talk.client(b"NOOP\r\n")  # and the server never answers, but the client wants nothing more
    talk.wait(3000)
    assert before is not None
    assert awaited(talk) == []


def test_reply_within_five_seconds_ends_the_wait_although_nothing_is_sent_again() -> None:
    talk = Talk().open()
    talk.server(b"220 \r\n")
    talk.client(b"HELO c\r\nQUIT\r\n")
    talk.wait(4.9)
    assert talk.server(b"250 \r\n", ack=8) == b"250 \r\n"
    talk.wait(600)
    assert awaited(talk) == []
    assert talk.engine.waits == (0, 0)


def test_each_of_the_held_commands_waits_for_a_reply_of_its_own() -> None:
    """What has been held for long has not waited for the present reply for long."""
    talk = said_hello(greeted())
    for _ in range(5):
        talk.client(b"NOOP\r\n")
    for answered in range(1, 4):
        talk.wait(3)
        assert talk.server(b"250 \r\n", ack=8 + 6 * answered) == b"250 \r\n"
    talk.wait(4)
    assert awaited(talk) == []
    talk.wait(2)
    (event,) = awaited(talk)
    assert event.duration == 5.0


def test_next_wait_of_the_same_session_is_reported_too() -> None:
    talk = said_hello(greeted())
    for verb in (b"NOOP", b"RSET"):
        talk.client(verb + b"\r\n")
        assert talk.client(b"VRFY a\r\n") is None
        talk.wait(6)
        talk.server(b"250 \r\n", ack=talk.next["client"] - 8)
        talk.server(b"252 \r\n")
        assert talk.engine.waits == (0, 0)
    assert [event.awaits for event in awaited(talk)] == ["reply to NOOP", "reply to RSET"]


def test_fragment_that_the_map_drops_waits_for_no_reply() -> None:
    policy = parse_policy(
        """policy-map type inspect esmtp m
parameters
incomplete-command drop
policy-map global_policy
class inspection_default
no inspect esmtp
inspect esmtp m""",
        "a.cfg",
    ).policy
    talk = Talk(policy).open()
    talk.server(b"220 \r\n")
    talk.client(flags=ACK)
    assert talk.client(b"HE") is DropReason.REFUSED
    talk.wait(60)
    assert awaited(talk) == []


@pytest.mark.parametrize("answered", [False, True])
def test_full_memory_is_no_wait_for_a_reply(answered: bool) -> None:
    options = EngineOptions(limits=Limits(memory_bytes=1000))
    talk = said_hello(greeted(options), pipelining=True)
    talk.server(flags=ACK)
    lines = b"NOOP\r\n" * 160
    assert talk.client(lines) == lines
    if answered:
        talk.server(b"250 \r\n" * 160, ack=8)
    assert talk.client(lines[-6:] + b"NOOP " + b"x" * 60 + b"\r\n", at=8 + 954) == lines[-6:]
    talk.wait(60)
    assert awaited(talk) == []


# ---- for the end of a line ---------------------------------------------------------------------


@pytest.mark.parametrize("line", [b"HELO me\n", b"HELO me\nMAIL FROM:<a@b>\n", b"HELO me\r \n"])
def test_line_with_a_bare_ending_is_reported_once_if_it_does_not_end(line: bytes) -> None:
    talk = greeted()
    assert len(talk.client(line)) == len(line)
    talk.wait(4.9)
    assert unended(talk) == []
    talk.wait(0.2)
    (event,) = unended(talk)
    assert (event.line, event.duration) == (b"HELO me", 5.0)
    assert talk.engine.waits == (0, 1)
    for _ in range(10):
        talk.client(b"QUIT\n")
        talk.wait(10)
    assert len(unended(talk)) == 1
    assert talk.engine.waits == (0, 1)
    talk.client(b"\r\n")
    assert talk.engine.waits == (0, 0)
    assert awaited(talk) == []


def test_line_that_goes_on_after_its_bare_ending_is_still_unended() -> None:
    talk = greeted()
    for _ in range(6):
        talk.client(b"NOOP\n")
        talk.wait(1)
    assert len(unended(talk)) == 1


def test_line_that_ends_within_five_seconds_is_not_reported() -> None:
    talk = greeted()
    talk.client(b"HELO me\n")
    talk.wait(4)
    talk.client(b"\r\n")
    talk.wait(60)
    assert unended(talk) == []
    assert talk.client(b"NOOP\r\n") is None  # the line expects its reply


def test_unfinished_line_without_a_bare_ending_is_that_of_a_slow_user() -> None:
    talk = greeted()
    talk.client(b"XY")
    talk.client(b"Z a")
    talk.wait(60)
    assert unended(talk) == []


def test_response_in_an_auth_exchange_is_not_shown() -> None:
    talk = said_hello(greeted())
    talk.client(b"AUTH LOGIN\r\n")
    talk.server(b"334 \r\n")
    talk.client(b"HELP\n")  # which is valid base64
    talk.wait(6)
    assert [event.line for event in unended(talk)] == [b"***"]


def test_unknown_word_with_a_bare_ending_is_not_shown() -> None:
    talk = said_hello(greeted())
    talk.client(b"cGFzcw==\n")
    talk.wait(6)
    assert [event.line for event in unended(talk)] == [b"***"]


# ---- the end -----------------------------------------------------------------------------------

ENDS = {
    "reset": lambda talk: talk.client(flags=RST | ACK, at=0),
    "closed by inspection": lambda talk: talk.server(b"354 \r\n", ack=0),
    "timed out": lambda talk: talk.wait(7200),
    "closed": lambda talk: talk.server(b"220 \r\n", ack=0) and talk.close(),
}


@pytest.mark.parametrize("pause", [1, 6])
@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_kept_of_a_connection_that_has_ended(end: str, pause: float) -> None:
    talk = Talk().open()
    talk.client(b"QUIT\r\n")
    talk.wait(pause)
    waiting = talk.engine._core.waiting
    assert len(waiting._fresh) + len(waiting._reported) == 1
    ENDS[end](talk)
    assert not waiting._fresh
    assert not waiting._reported
    assert talk.engine.waits == (0, 0)
    assert len(awaited(talk)) == (pause > 5 or end == "timed out")


def test_connection_that_times_out_while_it_waits_is_reported_before_it_ends() -> None:
    talk = Talk().open()
    talk.client(b"QUIT\r\n")
    talk.now += 7200  # the driver has been asleep
    talk.wait(0)
    kinds = [type(event) for event in talk.events[-2:]]
    assert kinds == [ReplyAwaited, ConnectionTornDown]
    assert talk.emitted(ConnectionTornDown)[0].reason is TeardownReason.CONNECTION_TIMEOUT


def test_connection_that_is_no_longer_inspected_waits_for_nothing() -> None:
    talk = Talk(options=EngineOptions(RECORDED)).open()
    talk.client(b"HELO c\r\n")
    talk.server(b"220 \r\n", ack=14)  # of a command that is not in the capture
    assert not talk.engine._core.waiting._fresh
    talk.wait(60)
    assert awaited(talk) == []


@pytest.mark.parametrize(("recorded", "reported"), [(False, []), (True, [0.5])])
def test_wait_that_lasts_is_reported_at_the_end_of_a_capture(
    recorded: bool, reported: list[float]
) -> None:
    """A filter that stops knows that the next one will go on; a capture's reader knows nothing."""
    talk = Talk(options=EngineOptions(RECORDED if recorded else LIVE)).open()
    talk.client(b"QUIT\r\n")
    talk.wait(0.5)
    talk._verdict(talk.engine.flush(talk.now), None)
    assert [event.duration for event in awaited(talk)] == reported


def test_wait_that_is_over_is_not_reported_at_the_end_of_a_capture() -> None:
    talk = Talk(options=EngineOptions(RECORDED)).open()
    talk.client(b"EHLO c\r\n", flags=ACK | PSH)
    talk.server(b"220 \r\n", ack=0)
    talk._verdict(talk.engine.flush(talk.now), None)
    assert awaited(talk) == []


def test_client_that_has_closed_its_side_no_longer_waits_for_the_end_of_a_line() -> None:
    talk = greeted()
    talk.client(b"HELO me\n")
    talk.client(flags=FIN | ACK)
    talk.wait(60)
    assert unended(talk) == []
