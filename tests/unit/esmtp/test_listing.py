"""The list of commands and replies in a session, as they arrived, before masking."""

import pytest

from nfinspect.esmtp.session import REMEMBERED
from nfinspect.events import AnomalyKind, CloseCause, UninspectedCause
from tests.unit.esmtp.transcript import (
    LINE_LENGTH,
    Transcript,
    anomaly,
    banner,
    bare,
    chunk,
    command,
    default_with,
    ehlo_masked,
    fragment,
    injection,
    malicious,
    masked,
    matched,
    message,
    replaced,
    reply,
    tls,
)


def session() -> Transcript:
    return Transcript(transcript=True).greeted()


def test_commands_and_replies_are_listed_as_they_arrived() -> None:
    talk = Transcript(transcript=True)
    talk.server(
        b"220-a\r\n220 b\r\n",
        banner(),
        reply(b"220-a"),
        reply(b"220 b"),
        client_gets=b"220-*\r\n220 *\r\n",
    )
    talk.client(b"EHLO x\r\n", command(b"EHLO x"))
    talk.server(
        b"250-s\r\n250 HELP\r\n",
        reply(b"250-s"),
        ehlo_masked(),
        reply(b"250 HELP"),
        client_gets=b"250-s\r\n250 XXXA\r\n",
    )
    talk.client(b"\r\n", command(b"")).server(b"500 x\r\n", reply(b"500 x"))
    talk.client(b"STARTTLS\r\n", command(b"STARTTLS"), masked(), server_gets=b"XXXXXXXX\r\n")
    talk.server(b"500 y\r\n", reply(b"500 y"))
    talk.client(
        b"RCPT TO:a>\r\n",
        command(b"RCPT TO:a>"),
        replaced(">", b"RCPT TO:a>"),
        server_gets=b"RCPT TO:a \r\n",
    )
    talk.server(b"250 z\r\n", reply(b"250 z"))


def test_lines_split_over_packets_are_listed_complete() -> None:
    talk = session()
    talk.client(b"N", fragment(), server_gets=b"X").client(b"OOP", server_gets=b"XXX")
    talk.client(b"\r").client(b"\n", command(b"NOOP"))
    talk.server(b"5").server(b"00 n").server(b"o\r").server(b"\n", reply(b"500 no"))


def test_bare_line_ends_are_listed_as_part_of_the_line() -> None:
    session().client(b"NOOP\nA\rB\r\n", command(b"NOOP\nA\rB"), bare(), server_gets=b"NOOPXXXX\r\n")


def test_lines_of_a_message_are_not_listed_but_its_end_is() -> None:
    talk = session().client(b"DATA\r\n", command(b"DATA")).server(b"354 go\r\n", reply(b"354 go"))
    talk.client(b"QUIT\r\n\r\nNOOP\r\n.\r\nQUIT\r\n", message(), command(b"QUIT"))


def test_credentials_are_not_listed() -> None:
    talk = session().client(b"AUTH LOGIN\r\n", command(b"AUTH LOGIN"))
    talk.server(b"334 VXNl\r\n", reply(b"334 VXNl")).client(b"Zm9v\r\n", command(b"***"))
    talk.server(b"334 UGFz\r\n", reply(b"334 UGFz")).client(b"*\r\n", command(b"***"))
    talk.server(b"501 x\r\n", reply(b"501 x"))
    talk.client(b"auth  PLAIN\tZm9v x\r\n", command(b"auth  PLAIN\t***"))
    talk.server(b"235 x\r\n", reply(b"235 x"))


def test_credentials_in_a_masked_auth_are_not_listed() -> None:
    session().client(b"AU", fragment(), server_gets=b"XX").client(
        b"TH PLAIN Zm9v\r\n", command(b"AUTH PLAIN ***"), server_gets=b"X" * 13 + b"\r\n"
    )


def test_chunk_is_not_listed() -> None:
    session().client(
        b"BDAT 6\r\nRSET\r\nNOOP\r\n",
        command(b"BDAT 6"),
        masked(),
        chunk(6),
        command(b"NOOP"),
        server_gets=b"XXXXXX\r\nXXXX\r\nNOOP\r\n",
    )


def test_long_lines_are_truncated() -> None:
    talk = Transcript(default_with(), transcript=True).greeted()
    talk.client(b"AUTH X\r\n", command(b"AUTH X")).server(b"334 \r\n", reply(b"334 "))
    talk.client(b"y" * 5000 + b"\r\n", command(b"***"))
    long = b"250 " + b"z" * 5000
    talk.server(long[:700]).server(long[700:]).server(b"\r\n", reply(long[:REMEMBERED]))
    assert len(talk.inspector.commands.arrived) == 0


def test_violating_line_and_the_rest_of_its_packet_are_listed() -> None:
    session().client(
        b"NOOP\r\n" + b"N" * 600 + b"\r\nRSET\r\nDATA\r\nSubject: x\r\n",
        command(b"NOOP"),
        command(b"N" * 600),
        matched(LINE_LENGTH),
        command(b"RSET"),
        command(b"DATA"),
        closes=CloseCause.CLAUSE,
    )
    session().client(
        b"RCPT TO:<|>\r\nauth plain x\r\n",
        command(b"RCPT TO:<|>"),
        malicious(b"TO:<|>"),
        command(b"auth plain ***"),
        closes=CloseCause.PIPE,
    )


def test_violating_line_that_is_incomplete_is_not_listed() -> None:
    session().client(b"N" * 600, matched(LINE_LENGTH), closes=CloseCause.CLAUSE)


def test_reply_that_closes_is_listed_with_the_rest_of_its_packet() -> None:
    session().server(
        b"354 go\r\n250 x\r\n",
        anomaly(AnomalyKind.UNASKED_354, b"354 go"),
        reply(b"354 go"),
        reply(b"250 x"),
        closes=CloseCause.UNASKED_354,
    )


def test_reply_that_closes_split_over_packets_is_listed_complete() -> None:
    session().server(b"3").server(
        b"54 go\r\n250 x\r\n25",
        anomaly(AnomalyKind.UNASKED_354, b"354 go"),
        reply(b"354 go"),
        reply(b"250 x"),
        closes=CloseCause.UNASKED_354,
    )


def test_replies_in_the_packet_that_ends_inspection_are_listed() -> None:
    talk = Transcript(transcript=True, unfiltered=True).greeted()
    talk.client(b"XFOO\r\n", command(b"XFOO"), masked(), server_gets=b"XXXX\r\n")
    talk.server(
        b"250 a\r\n250 b\r\n",
        reply(b"250 a"),
        reply(b"250 b"),
        uninspected=UninspectedCause.RECORDED_WITHOUT_FILTER,
    )


def test_tls_is_not_listed() -> None:
    talk = Transcript(default_with(allow_tls=True), transcript=True).greeted()
    talk.client(b"STARTTLS\r\n", command(b"STARTTLS"))
    talk.server(b"220 go\r\n", reply(b"220 go"), tls())
    talk.client(b"\x16\x03\x01\r\n", uninspected=UninspectedCause.TLS)


def test_injected_commands_are_listed() -> None:
    Transcript(default_with(allow_tls=True), transcript=True).greeted().client(
        b"STARTTLS\r\nRSET\r\n",
        command(b"STARTTLS"),
        injection(),
        command(b"RSET"),
        closes=CloseCause.STARTTLS_INJECTION,
    )


def test_replies_owed_after_a_close_are_listed() -> None:
    talk = session().client(b"NOOP\r\n", command(b"NOOP"))
    talk.client(b"N" * 600, matched(LINE_LENGTH), closes=CloseCause.CLAUSE)
    talk.server(b"250 ok\r\n421 x\r\n", reply(b"250 ok"), client_gets=b"250 ok\r\n")


@pytest.mark.parametrize("line", [b"250", b"250 ", b"250-", b"\xff"])
def test_any_reply_line_is_listed_without_its_end(line: bytes) -> None:
    talk = session().client(b"NOOP\r\n", command(b"NOOP"))
    events = [anomaly(AnomalyKind.NOT_NUMERIC, line)] if line == b"\xff" else []
    talk.server(line + b"\r\n", *events, reply(line))
