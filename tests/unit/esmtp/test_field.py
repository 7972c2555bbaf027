"""Dialogues that users of inspecting firewalls have reported: what passes, and what does not."""

import pytest

from nfinspect.events import CloseCause
from tests.unit.esmtp.transcript import Transcript, banner, ehlo_masked, masked, matched


def test_exchange_keeps_auth_and_binarymime_and_the_letters_count_masked_lines_only() -> None:
    talk = Transcript().greeted(pipelining=False).client(b"EHLO c\r\n")
    talk.server(
        b"250-mx\r\n250-SIZE 37748736\r\n250-PIPELINING\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n"
        b"250-STARTTLS\r\n250-X-ANONYMOUSTLS\r\n250-AUTH\r\n250-X-EXPS GSSAPI NTLM\r\n"
        b"250-8BITMIME\r\n250-BINARYMIME\r\n250-CHUNKING\r\n250 XEXCH50\r\n",
        ehlo_masked(),
        client_gets=b"250-mx\r\n250-SIZE 37748736\r\n250-PIPELINING\r\n250-DSN\r\n"
        b"250-ENHANCEDSTATUSCODES\r\n250-XXXXXXXA\r\n250-XXXXXXXXXXXXXB\r\n250-AUTH\r\n"
        b"250-XXXXXXXXXXXXXXXXXC\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250-XXXXXXXD\r\n250 XXXXXXE\r\n",
    )


def test_client_that_waits_for_a_slow_greeting_of_two_lines() -> None:
    talk = Transcript().server(
        b"220-mail.example.net\r\n", banner(), client_gets=b"220-" + b"*" * 16 + b"\r\n"
    )
    talk.server(b"220 mail\r\n", client_gets=b"220 ****\r\n").client(b"EHLO x\r\n")
    talk.server(b"250 x\r\n").client(b"QUIT\r\n")


def test_early_pipelining_is_held_until_the_greeting_and_then_passes() -> None:
    talk = Transcript().client(b"EHLO x\r\n", server_gets=b"")
    talk.server(b"220 mail\r\n", banner(), client_gets=b"220 ****\r\n").client(b"EHLO x\r\n")


def test_expn_after_a_refused_data_is_masked() -> None:
    talk = Transcript().greeted(pipelining=False).client(b"DATA\r\n").server(b"503 no\r\n")
    talk.client(b"EXPN root\r\n", masked(), server_gets=b"XXXXXXXXX\r\n")


def test_lone_dot_after_refused_recipients_is_an_empty_message() -> None:
    talk = Transcript().greeted()
    talk.client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    talk.server(b"250 ok\r\n550 no\r\n354 go\r\n").client(b".\r\n").server(b"554 no\r\n")
    talk.client(b"RSET\r\n").server(b"250 ok\r\n")
    talk.client(b"EXPN x\r\n", masked(), server_gets=b"XXXXXX\r\n")


def test_header_names_inside_a_dkim_signature_are_text() -> None:
    talk = Transcript().greeted()
    talk.client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    talk.server(b"250 ok\r\n250 ok\r\n354 go\r\n")
    talk.client(
        b"DKIM-Signature: v=1; d=example.net; s=x;\r\n\th=MIME-Version:From:\r\n"
        b" Content-Type:Content-Transfer-Encoding:content-disposition:\r\n content-type; b=def=\r\n"
        b"Subject: x\r\n\r\nhi\r\n.\r\n"
    ).owes(1)


@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM: <a@example.net>",
        b"mail from:<>",
        b'MAIL FROM:<"john doe"@example.net> SIZE=12 BODY=8BITMIME RET=HDRS ENVID=QQ314159',
        b"MAIL FROM:<a@example.net> AUTH=<>",
        b"RCPT TO: <b@example.net>",
        b"Rcpt To:<@a.example,@b.example:user@example.net>",
        b"RCPT TO:<b@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bc@example.net",
    ],
)
def test_legal_addresses_pass(line: bytes) -> None:
    Transcript().greeted(pipelining=False).client(line + b"\r\n").server(b"250 ok\r\n")


def test_long_lines_of_an_auth_exchange_pass() -> None:
    talk = Transcript().greeted(pipelining=False).client(b"AUTH GSSAPI\r\n").server(b"334\r\n")
    talk.client(b"Y" * 4000 + b"\r\n").server(b"334 " + b"Y" * 4000 + b"\r\n")
    talk.client(b"\r\n").server(b"334 YYYY\r\n").client(b"YYYY\r\n").server(b"235 ok\r\n")
    talk.client(b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n")


def test_greeting_one_byte_a_packet() -> None:
    talk = Transcript()
    greeting, masked_greeting = b"220 mail 2.0\r\n", b"220 *****2*0\r\n"
    for at in range(len(greeting)):
        byte, shown = greeting[at : at + 1], masked_greeting[at : at + 1]
        events = [banner()] if at == 2 else []
        talk.server(byte, *events, client_gets=None if byte == shown else shown)
    talk.client(b"EHLO x\r\n")


@pytest.mark.parametrize(("length", "closes"), [(998, False), (999, True)])
def test_header_line_of_999_closes(length: int, closes: bool) -> None:
    talk = Transcript().greeted(pipelining=False)
    for says, reply in (
        (b"MAIL FROM:<a@b>\r\n", b"250 ok\r\n"),
        (b"RCPT TO:<c@d>\r\n", b"250 ok\r\n"),
        (b"DATA\r\n", b"354 go\r\n"),
    ):
        talk.client(says).server(reply)
    line = b"X: ".ljust(length, b"y") + b"\r\n"
    if closes:
        clause = matched(4)
        talk.client(line, clause, server_gets=b"", closes=CloseCause.CLAUSE)
    else:
        talk.client(line)


def test_server_that_answers_only_quit() -> None:
    talk = Transcript().server(b"220 2\r\n", banner()).client(b"QUIT\r\n").server(b"221 bye\r\n")
    talk.owes(0)
