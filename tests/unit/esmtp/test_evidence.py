"""What a finding says about the thing that it is about, and about the mail it belongs to."""

from __future__ import annotations

import pytest

from nfinspect.esmtp.clauses import compile_map
from nfinspect.esmtp.inspector import Inspector
from nfinspect.events import (
    ClauseMatched,
    Evidence,
    KeywordsHidden,
    Mail,
    MailAnswered,
    MaliciousAddress,
)
from tests.unit.esmtp.transcript import CONNECTION, DEFAULT

MAIL = Mail(b"MAIL FROM:<a@example>", b"RCPT TO:<b@example>", 1, b"")


class Talk:
    """A session; ``found`` are the events of the last packet that say something of a finding."""

    def __init__(self, *, transcript: bool = False, ehlo: bytes = b"250 ok\r\n") -> None:
        self.inspector = Inspector(CONNECTION, compile_map(DEFAULT), transcript=transcript)
        self.replied = 0
        self.server(b"220 hello\r\n")
        self.client(b"EHLO client\r\n")
        self.server(ehlo)

    def client(self, data: bytes) -> Talk:
        self.inspector.events.clear()
        self.inspector.request(data, len(data), self.inspector.replied)
        return self

    def server(self, data: bytes) -> Talk:
        self.inspector.events.clear()
        self.inspector.reply(data)
        return self

    def message(self) -> Talk:
        for command in (b"MAIL FROM:<a@example>\r\n", b"RCPT TO:<b@example>\r\n"):
            self.client(command).server(b"250 ok\r\n")
        return self.client(b"DATA\r\n").server(b"354 go\r\n")

    @property
    def matched(self) -> ClauseMatched:
        (event,) = [each for each in self.inspector.events if isinstance(each, ClauseMatched)]
        return event


def evidence(what: str, text: bytes, measured: int, allowed: int = 998) -> Evidence:
    return Evidence(what, text, measured, allowed)


LONG = b"a" * 1000


@pytest.mark.parametrize(
    ("header", "name", "length"),
    [
        (b"Subject: x\r\nX-Long: " + LONG + b"\r\n", b"X-Long", 1008),
        (b"DKIM-Signature: v=1;\r\n\tt=1;\r\n b=" + LONG + b"\r\n", b"DKIM-Signature", 1003),
        (b"X-Long : " + LONG, b"X-Long", 1009),
        (LONG + b"\r\n", b"", 1000),
        (b" " + LONG, b"", 1001),
    ],
)
def test_header_line_has_its_fields_name_and_its_length(
    header: bytes, name: bytes, length: int
) -> None:
    found = Talk().message().client(header).matched
    assert found.evidence == evidence("header field", name, length)
    assert found.mail == MAIL


def test_header_line_that_began_in_an_earlier_packet_has_its_name() -> None:
    talk = Talk().message().client(b"X-Long: " + LONG[:500])
    assert talk.client(LONG[500:]).matched.evidence == evidence("header field", b"X-Long", 1008)


def test_body_line_shows_no_text_of_the_mail() -> None:
    found = Talk().message().client(b"\r\n" + LONG + b"\r\n.\r\n").matched
    assert found.evidence == evidence("body line", b"", 1000)


def test_command_line_too_long_is_shown_by_its_beginning() -> None:
    found = Talk().client(b"NOOP " + LONG + b"\r\n").matched
    assert found.evidence == evidence("command", (b"NOOP " + LONG)[:320], 1007, 512)
    assert found.mail is None


@pytest.mark.parametrize("line", [b"AUTH PLAIN " + LONG, b"c2VjcmV0" + LONG])
def test_credential_is_not_shown(line: bytes) -> None:
    found = Talk().client(line + b"\r\n").matched
    assert found.evidence is not None
    assert found.evidence.text in (b"AUTH PLAIN ***", b"***")


def test_sender_recipient_and_file_name_are_shown() -> None:
    sender = b"s" * 321
    assert Talk().client(b"MAIL FROM:<" + sender + b">\r\n").matched.evidence == evidence(
        "sender", (b"FROM:<" + sender)[:320], 321, 320
    )
    talk = Talk().client(b"MAIL FROM:<a>\r\n").server(b"250 ok\r\n")
    for number in range(101):
        talk.client(b"RCPT TO:<%d>\r\n" % number)
        if number < 100:
            talk.server(b"250 ok\r\n")
    assert talk.matched.evidence == evidence("recipient", b"TO:<100>", 101, 100)
    assert talk.matched.mail == Mail(b"MAIL FROM:<a>", b"RCPT TO:<100>", 101, b"")
    name = b"n" * 256
    field = b'Content-Disposition: attachment;\r\n filename="' + name + b'"\r\n\r\n'
    assert Talk().message().client(field).matched.evidence == evidence("file name", name, 256, 255)


def test_pipe_belongs_to_its_mail() -> None:
    talk = Talk().client(b"MAIL FROM:<a@example>\r\n").server(b"250 ok\r\n")
    (event,) = talk.client(b"RCPT TO:<|x>\r\n").inspector.events
    assert isinstance(event, MaliciousAddress)
    assert event.mail == Mail(b"MAIL FROM:<a@example>", b"", 0, b"")


@pytest.mark.parametrize(
    ("transcript", "packets", "known"),
    [
        (False, [b"Message-ID: <1@x>\r\nX: " + LONG], True),
        (False, [b"X: " + LONG + b"\r\nmessage-id:\r\n <1@x>\r\n"], True),
        (False, [b"Message-ID: <1@x>\r\n", b"X: " + LONG], False),
        (True, [b"Message-ID: <1@x>\r\n", b"X: " + LONG], True),
    ],
)
def test_message_id_is_known_in_its_packet_and_in_a_transcript_afterwards(
    transcript: bool, packets: list[bytes], known: bool
) -> None:
    talk = Talk(transcript=transcript).message()
    for packet in packets:
        talk.client(packet)
    mail = talk.matched.mail
    assert mail is not None
    assert mail.message_id == (b"<1@x>" if known else b"")


def test_answer_to_a_mail_with_a_finding_is_reported_and_to_another_is_not() -> None:
    talk = Talk().message().client(b"\r\n" + LONG + b"\r\n.\r\n")
    talk.server(b"250 2.0.0 Ok: queued as 4BC\r\n")
    assert talk.inspector.events == [MailAnswered(CONNECTION, b"250 2.0.0 Ok: queued as 4BC")]
    talk.message().client(b"\r\nshort\r\n.\r\n").server(b"250 2.0.0 Ok: queued as 4BD\r\n")
    assert talk.inspector.events == []


def test_answer_of_several_lines_or_in_pieces_is_reported_by_its_last_line() -> None:
    talk = Talk().message().client(b"\r\n" + LONG + b"\r\n.\r\n")
    talk.server(b"250-one\r\n250 queu").server(b"ed as 4BC\r\n")
    assert talk.inspector.events == [MailAnswered(CONNECTION, b"250 queued as 4BC")]


def test_mail_of_an_earlier_transaction_is_not_the_mail_of_a_finding() -> None:
    talk = Talk().message().client(b"\r\nshort\r\n.\r\n").server(b"250 ok\r\n")
    assert talk.client(b"NOOP " + LONG + b"\r\n").matched.mail is None
    talk = Talk().client(b"MAIL FROM:<a@example>\r\n").server(b"250 ok\r\n")
    talk.client(b"RSET\r\n").server(b"250 ok\r\n")
    assert talk.client(b"NOOP " + LONG + b"\r\n").matched.mail is None


def hidden(ehlo: bytes) -> list[KeywordsHidden]:
    events = Talk(ehlo=ehlo).inspector.events
    return [event for event in events if isinstance(event, KeywordsHidden)]


def test_ehlo_masking_names_what_it_hid() -> None:
    reply = b"250-mail.example\r\n250-PIPELINING\r\n250-starttls\r\n250-XFOO a b\r\n250 SIZE\r\n"
    assert hidden(reply) == [KeywordsHidden(CONNECTION, (b"STARTTLS", b"XFOO"))]


def test_ehlo_masking_that_hides_nothing_or_was_there_before_names_nothing() -> None:
    assert hidden(b"250-mail.example\r\n250 SIZE\r\n") == []
    assert hidden(b"250-mail.example\r\n250-XXXXXXXA\r\n250 SIZE\r\n") == []


def test_hidden_keywords_are_bounded() -> None:
    lines = b"".join(b"250-Y%d\r\n" % number for number in range(100))
    (event,) = hidden(b"250-mail.example\r\n" + lines + b"250 Z" + b"z" * 500 + b"\r\n")
    assert len(event.keywords) == 32
    assert max(map(len, event.keywords)) <= 40
