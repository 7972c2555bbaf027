"""Replies that may answer one line or another: nothing waits for ever, and nothing new passes.

"Goes on" is a packet of the client that has acknowledged all replies.
"""

import pytest

from nfinspect.esmtp.dialogue import OUTSTANDING_BOUND
from nfinspect.events import AnomalyKind, CloseCause
from tests.unit.esmtp.transcript import (
    Transcript,
    anomaly,
    banner,
    chunk,
    default_with,
    ehlo_masked,
    injection,
    masked,
)


def session(pipelining: bool = False, **parameters: object) -> Transcript:
    return Transcript(default_with(**parameters)).greeted(pipelining)


def without_code(line: bytes) -> object:
    return anomaly(AnomalyKind.NOT_NUMERIC, line)


# --- Empty lines


@pytest.mark.parametrize("answer", [b"", b"500 what\r\n"])
@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"MAIL FROM:<a@b>\r\n", b"451 later\r\n"),
        (b"EHLO c\r\n", b"550 no\r\n"),
        (b"HELO c\r\n", b"550 no\r\n"),
        (b"DATA\r\n", b"503 no\r\n"),
        (b"AUTH LOGIN\r\n", b"535 no\r\n"),
        (b"XCLIENT\r\n", b"500 no\r\n"),
    ],
)
@pytest.mark.parametrize("pipelining", [True, False])
def test_refusal_behind_an_empty_line_opens_again(
    command: bytes, reply: bytes, answer: bytes, pipelining: bool
) -> None:
    talk = session(pipelining).client(b"\r\n")
    x = b"X" * 7 + b"\r\n" if command == b"XCLIENT\r\n" else None
    talk.client(command, *([masked()] if x else []), server_gets=x)
    if answer:
        talk.server(answer)
    talk.server(reply).client(b"QUIT\r\n")


def test_empty_line_ehlo_refused_helo() -> None:
    talk = Transcript().server(b"220 2\r\n", banner()).client(b"\r\n").client(b"EHLO c\r\n")
    talk.server(b"550 no\r\n").client(b"HELO c\r\n").server(b"250 s\r\n").owes(0)


def test_pipelined_empty_line_with_a_refused_recipient_keeps_the_message() -> None:
    talk = session(True).client(b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n")
    talk.client(b"\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    talk.server(b"550 no\r\n250 ok\r\n354 go\r\n").client(b"\r\nEXPN is text\r\n.\r\n").owes(1)


def test_early_client_waits_for_the_true_reply() -> None:
    """The server has answered the empty line; the client sends the message without waiting."""
    talk = (
        session(True).client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n").server(b"250 1\r\n250 2\r\n")
    )
    talk.client(b"\r\nDATA\r\n").server(b"500 what\r\n")
    talk.client(b"XCLIENT\r\n", server_gets=b"", acknowledged=0)
    talk.server(b"354 go\r\n").client(b"XCLIENT\r\n").client(b".\r\n").owes(1)


def test_bound_of_empty_lines_that_a_server_ignores_shuts_nothing() -> None:
    talk = session()
    for _ in range(3):
        talk.client(b"\r\n" * OUTSTANDING_BOUND)
    talk.client(b"HELO c\r\n").server(b"250 s\r\n").client(b"QUIT\r\n")


def test_several_ignored_empty_lines() -> None:
    talk = session().client(b"\r\n\r\n\r\n").client(b"MAIL FROM:<a@b>\r\n")
    talk.server(b"451 later\r\n").client(b"QUIT\r\n").owes(1)


def test_one_reply_opens_for_one_line_only() -> None:
    """With two commands behind the empty line one reply does not account for both."""
    talk = session(True).client(b"\r\nMAIL FROM:<a@b>\r\nDATA\r\n").server(b"500 what\r\n")
    talk.client(b"XCLIENT\r\n", server_gets=b"")
    talk.server(b"503 no\r\n").client(b"XCLIENT\r\n", masked(), server_gets=b"XXXXXXX\r\n")


def test_late_ehlo_reply_is_still_masked() -> None:
    talk = session().client(b"\r\n").client(b"EHLO c\r\n").server(b"500 what\r\n")
    talk.client(b"NOOP\r\n").server(
        b"250-s\r\n250-STARTTLS\r\n250 SIZE\r\n",
        ehlo_masked(),
        client_gets=b"250-s\r\n250-XXXXXXXA\r\n250 SIZE\r\n",
    )


def test_reply_that_has_begun_is_waited_for() -> None:
    talk = session().client(b"\r\n").client(b"EHLO c\r\n").server(b"500 what\r\n250-s\r\n")
    talk.client(b"NOOP\r\n", server_gets=b"").server(b"250 SIZE\r\n").client(b"NOOP\r\n").owes(1)


@pytest.mark.parametrize("line", [[b"\r\r\n"], [b"\r", b"\r\n"]])
def test_line_of_bare_crs_is_an_empty_one(line: list[bytes]) -> None:
    """Some servers drop a CR before the line ending, and then ignore the empty line."""
    talk = session()
    for piece in line:
        talk.client(piece)
    talk.client(b"NOOP\r\n").server(b"250 ok\r\n").client(b"QUIT\r\n").owes(1)


@pytest.mark.parametrize("pieces", [[b"x\r\n\r\nyz"], [b"x\r", b"\n", b"\r", b"\nyz"]])
@pytest.mark.parametrize("answer", [b"", b"500 what\r\n"])
@pytest.mark.parametrize("pipelining", [True, False])
def test_empty_line_in_a_masked_chunk_need_not_be_answered(
    pieces: list[bytes], answer: bytes, pipelining: bool
) -> None:
    """As between the header and the body of a mail."""
    talk = session(pipelining).client(b"BDAT 7\r\n", masked(), server_gets=b"XXXXXX\r\n")
    events = [chunk(7)]
    for piece in pieces:
        talk.client(
            piece,
            *events,
            server_gets=piece.translate(bytes.maketrans(b"xyz", b"XXX")),
            acknowledged=0,
        )
        events.clear()
    talk.server(b"500 BDAT\r\n500 X\r\n" + answer)
    talk.client(b"\r\n").server(b"500 XX\r\n")
    talk.client(b"QUIT\r\n")


def test_empty_line_at_the_beginning_of_a_chunk_shuts_nothing() -> None:
    talk = session().client(b"BDAT 2\r\n", masked(), server_gets=b"XXXXXX\r\n")
    talk.client(b"\r\n", chunk(2), server_gets=b"\r\n", acknowledged=0)
    talk.server(b"500 BDAT\r\n").client(b"QUIT\r\n")


def test_second_auth_while_the_challenge_of_the_first_may_still_come() -> None:
    """The server answers the empty line first. To the server the second AUTH is the response, and
    what follows it a command."""
    talk = session().client(b"\r\n").client(b"AUTH LOGIN\r\n").server(b"500 what\r\n")
    talk.client(b"AUTH LOGIN\r\n").server(b"334 VXNlcm5hbWU6\r\n")
    talk.client(b"EXPN all\r\n", closes=CloseCause.ABANDONED_BY_SERVER)


def test_second_auth_when_the_refusal_of_the_first_may_have_been_that_of_the_line_before() -> None:
    talk = session().client(b"\r\n").client(b"VRFY a\r\n").server(b"500 what\r\n")
    talk.client(b"AUTH LOGIN\r\n").server(b"502 no VRFY\r\n")
    talk.client(b"AUTH LOGIN\r\n").server(b"334 VXNlcm5hbWU6\r\n")
    talk.client(b"EXPN all\r\n", server_gets=b"", closes=CloseCause.ABANDONED_BY_SERVER)


def test_second_auth_after_a_refusal_without_any_doubt() -> None:
    talk = session().client(b"AUTH X\r\n").server(b"504 no\r\n").client(b"AUTH LOGIN\r\n")
    talk.server(b"334 VXNlcm5hbWU6\r\n").client(b"dXNlcg==\r\n").owes(1)


def test_challenge_shows_that_replies_are_not_late() -> None:
    talk = session().client(b"\r\n").client(b"VRFY a\r\n").server(b"502 no\r\n")
    for reply in (b"535 no\r\n", b"235 yes\r\n"):
        talk.client(b"AUTH LOGIN\r\n").server(b"334 UGFzc3dvcmQ6\r\n")
        talk.client(b"c2VjcmV0\r\n").server(reply)
    talk.client(b"NOOP\r\n").owes(1)


def test_empty_lines_before_and_after_a_refused_line_and_then_a_message() -> None:
    talk = session(True).client(b"\r\nVRFY a\r\n").server(b"502 no\r\n")
    talk.client(b"\r\nDATA\r\n").server(b"354 go\r\n").client(b"EXPN is text\r\n.\r\n").owes(1)


# --- Lines without a code


@pytest.mark.parametrize(
    "command",
    [b"MAIL FROM:<a@b>\r\n", b"EHLO c\r\n", b"DATA\r\n", b"NOOP\r\n", b"AUTH LOGIN\r\n"],
)
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_command_answered_by_a_line_without_a_code(command: bytes, pieces: int) -> None:
    talk = session().client(command)
    line = b"4.7.0 Temporarily unavailable"
    if pieces == 1:
        talk.server(line + b"\r\n", without_code(line))  # type: ignore[arg-type]
    else:
        size = len(line) // pieces
        talk.server(line[:size], without_code(line[:size]))  # type: ignore[arg-type]
        talk.client(b"QUIT\r\n", server_gets=b"")
        talk.server(line[size:] + b"\r\n")
    talk.client(b"QUIT\r\n", server_gets=b"", acknowledged=talk.replied - 1)
    talk.client(b"QUIT\r\n").owes(1)


def test_starttls_refused_by_a_line_without_a_code() -> None:
    talk = session(True, allow_tls=True).client(b"STARTTLS\r\n")
    line = b"4.7.0 TLS not available"
    talk.server(line + b"\r\n", without_code(line))  # type: ignore[arg-type]
    talk.client(b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n")
    talk.client(b"XCLIENT\r\n", masked(), server_gets=b"XXXXXXX\r\n")


def test_client_that_has_not_acknowledged_that_line_injects() -> None:
    talk = session(True, allow_tls=True).client(b"STARTTLS\r\n")
    line = b"4.7.0 TLS not available"
    talk.server(line + b"\r\n", without_code(line))  # type: ignore[arg-type]
    talk.client(
        b"MAIL FROM:<a@b>\r\n",
        injection(),
        server_gets=b"",
        acknowledged=talk.replied - 1,
        closes=CloseCause.STARTTLS_INJECTION,
    )


def test_354_after_a_line_without_a_code_opens_the_message() -> None:
    talk = session(True).client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    talk.server(b"ok\r\n250 ok\r\n354 go\r\n", without_code(b"ok"))  # type: ignore[arg-type]
    talk.client(b"EXPN is text\r\n.\r\n").owes(1)


def test_354_to_a_data_taken_for_refused_closes() -> None:
    talk = session().client(b"DATA\r\n")
    talk.server(b"wait\r\n", without_code(b"wait")).client(b"NOOP\r\n")  # type: ignore[arg-type]
    talk.server(
        b"354 go\r\n",
        anomaly(AnomalyKind.UNASKED_354, b"354 go"),
        client_gets=b"",
        closes=CloseCause.UNASKED_354,
    )


def test_commands_follow_a_masked_bdat_that_a_line_without_a_code_refuses() -> None:
    talk = session(True).client(b"BDAT 5\r\n", masked(), server_gets=b"XXXXXX\r\n")
    talk.server(b"no\r\n", without_code(b"no"))  # type: ignore[arg-type]
    talk.client(b"QUIT\r\n").owes(1)


def test_client_that_goes_on_during_a_reply_takes_it_for_the_next_one() -> None:
    talk = session().client(b"NOOP\r\n").server(b"hm\r\n250", without_code(b"hm"))  # type: ignore[arg-type]
    talk.client(b"RSET\r\n", server_gets=b"").server(b" ok\r\n").client(b"RSET\r\n")
    talk.client(b"QUIT\r\n").owes(1)


def test_lines_without_a_code_before_a_reply_leave_no_doubt() -> None:
    talk = session().client(b"HELP\r\n")
    talk.server(b"a\r\nb\r\n", without_code(b"a"), without_code(b"b"))  # type: ignore[arg-type]
    talk.server(b"214 c\r\n").client(b"DATA\r\n").client(b"XCLIENT\r\n", server_gets=b"")
