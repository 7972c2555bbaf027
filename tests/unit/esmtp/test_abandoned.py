"""The server leaves DATA, an AUTH exchange or STARTTLS by itself: its reply passes, the client's
bytes never again (docs/esmtp.md)."""

import pytest

from nfinspect.events import AnomalyKind, CloseCause, ServerAnomaly
from nfinspect.policy.model import ServerAnomalyAction
from tests.unit.esmtp.transcript import Transcript, anomaly, default_with, tls

LEFT = CloseCause.ABANDONED_BY_SERVER
BOTH = pytest.mark.parametrize("action", list(ServerAnomalyAction))
NEXT = [b"EXPN all\r\n", b"XCLIENT ADDR=1\r\n", b"STARTTLS\r\n", b"more text\r\n", b".\r\n", b"x"]


def left(line: bytes) -> ServerAnomaly:
    return anomaly(AnomalyKind.ABANDONED, line)


def in_message(**parameters: object) -> Transcript:
    talk = Transcript(default_with(**parameters)).greeted()
    talk.client(b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n")
    talk.client(b"RCPT TO:<c@d>\r\n").server(b"250 ok\r\n")
    return talk.client(b"DATA\r\n").server(b"354 go\r\n").client(b"Subject: x\r\n")


def challenged(**parameters: object) -> Transcript:
    talk = Transcript(default_with(**parameters)).greeted()
    return talk.client(b"AUTH LOGIN\r\n").server(b"334 VXNlcm5hbWU6\r\n")


@BOTH
@pytest.mark.parametrize("reply", [b"552 too long", b"451 later", b"250 queued", b"220 x"])
@pytest.mark.parametrize("following", NEXT)
def test_reply_in_the_message_passes_and_nothing_of_the_client_does(
    reply: bytes, following: bytes, action: ServerAnomalyAction
) -> None:
    talk = in_message(server_anomaly=action)
    talk.server(reply + b"\r\n", left(reply))
    talk.client(following, server_gets=b"", closes=LEFT)


@BOTH
@pytest.mark.parametrize("reply", [b"535 no", b"235 yes", b"334 again", b"500 what"])
def test_reply_before_the_response_to_a_challenge(
    reply: bytes, action: ServerAnomalyAction
) -> None:
    talk = challenged(server_anomaly=action).server(reply + b"\r\n", left(reply))
    talk.client(b"XCLIENT ADDR=1\r\n", server_gets=b"", closes=LEFT)


@BOTH
@pytest.mark.parametrize("reply", [b"454 no TLS", b"421 closing", b"250 x", b"220 again"])
@pytest.mark.parametrize("following", [*NEXT, b"\x16\x03\x01"])
def test_reply_between_the_220_to_starttls_and_the_client_hello(
    reply: bytes, following: bytes, action: ServerAnomalyAction
) -> None:
    talk = Transcript(default_with(server_anomaly=action, allow_tls=True)).greeted()
    talk.client(b"STARTTLS\r\n").server(b"220 go\r\n", tls())
    talk.server(reply + b"\r\n", *[left(reply)] * (reply[:3] != b"421"))
    talk.client(following, server_gets=b"", closes=LEFT)


def test_challenge_and_refusal_in_one_packet() -> None:
    talk = Transcript().greeted().client(b"AUTH LOGIN\r\n")
    talk.server(b"334 x\r\n535 no\r\n", left(b"535 no"))
    talk.client(b"dXNlcg==\r\n", server_gets=b"", closes=LEFT)


def test_354_and_the_reply_to_the_message_in_one_packet() -> None:
    talk = Transcript().greeted().client(b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n")
    talk.client(b"RCPT TO:<c@d>\r\n").server(b"250 ok\r\n").client(b"DATA\r\n")
    talk.server(b"354 go\r\n250 queued\r\n", left(b"250 queued"))
    talk.client(b"Subject: x\r\n\r\n.\r\n", server_gets=b"", closes=LEFT)


@pytest.mark.parametrize("begin", [in_message, challenged])
def test_421_is_no_anomaly_but_nothing_of_the_client_passes_after_it(begin: object) -> None:
    talk = begin()  # type: ignore[operator]
    talk.server(b"421 closing\r\n").client(b"XCLIENT x\r\n", server_gets=b"", closes=LEFT)


def test_line_without_a_code_leaves_the_message_too() -> None:
    talk = in_message().server(b"5.3.4 too long\r\n", left(b"5.3.4 too long"))
    talk.client(b"EXPN all\r\n", server_gets=b"", closes=LEFT).owes(0)


def test_the_whole_of_a_long_reply_passes_though_the_client_has_gone_on_meanwhile() -> None:
    talk = in_message().server(b"552-too", left(b"552-too"))
    talk.client(b"EXPN all\r\n", server_gets=b"", closes=LEFT).owes(1)
    talk.server(b" long\r\n552 really\r\n").owes(0)
    talk.server(b"421 bye\r\n", client_gets=b"")


def test_reply_to_the_final_dot_is_an_ordinary_one() -> None:
    in_message().client(b".\r\n").server(b"552 too long\r\n").client(b"QUIT\r\n").owes(1)


def test_354_again_still_closes_at_once() -> None:
    talk = in_message()
    talk.server(
        b"354 go\r\n",
        anomaly(AnomalyKind.UNASKED_354, b"354 go"),
        client_gets=b"",
        closes=CloseCause.UNASKED_354,
    )


def test_mail_text_behind_the_reply_is_not_listed_as_commands() -> None:
    talk = Transcript(transcript=True)
    for says in (b"220 x\r\n",):
        talk.inspector.reply(says)
    inspector = talk.inspector
    for request, reply in (
        (b"HELO c\r\n", b"250 s\r\n"),
        (b"MAIL FROM:<a@b>\r\n", b"250 ok\r\n"),
        (b"RCPT TO:<a@b>\r\n", b"250 ok\r\n"),
        (b"DATA\r\n", b"354 go\r\n552 no\r\n"),
    ):
        assert inspector.request(request, len(request), 1000) == request
        assert inspector.reply(reply) == reply
    inspector.events.clear()
    assert inspector.request(b"Dear friend,\r\nhello\r\n", 21, 1000) == b""
    assert inspector.events == []
