"""When the request direction is shut, and what opens it (sections 1 and 9)."""

import pytest

from nfinspect.esmtp.dialogue import OUTSTANDING_BOUND
from nfinspect.events import AnomalyKind, CloseCause, UninspectedCause
from tests.unit.esmtp.transcript import (
    RECIPIENTS,
    Transcript,
    anomaly,
    banner,
    bare,
    chunk,
    default_with,
    ehlo_masked,
    fragment,
    injection,
    masked,
    matched,
    tls,
)


def session(pipelining: bool = True, **parameters: object) -> Transcript:
    return Transcript(default_with(**parameters)).greeted(pipelining)


# --- Before the greeting, and without pipelining


def test_nothing_passes_before_the_greeting_is_complete() -> None:
    talk = Transcript()
    talk.client(b"EHLO x\r\n", server_gets=b"")
    talk.server(b"220-2\r\n", banner())
    talk.client(b"EHLO x\r\n", server_gets=b"")
    talk.server(b"220 0\r")
    talk.client(b"EHLO x\r\n", server_gets=b"")
    talk.server(b"\n")
    talk.client(b"EHLO x\r\n")


def test_without_pipelining_one_command_passes_at_a_time() -> None:
    talk = session(pipelining=False)
    talk.client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", server_gets=b"MAIL FROM:<a@b>\r\n")
    talk.client(b"RCPT TO:<c@d>\r\n", server_gets=b"")
    talk.server(b"250-yes\r\n").client(b"RCPT TO:<c@d>\r\n", server_gets=b"")
    talk.server(b"250 yes\r\n").client(b"RCPT TO:<c@d>\r\n")


def test_without_pipelining_a_masked_line_shuts_until_its_reply() -> None:
    talk = session(pipelining=False)
    talk.client(b"FOOO\r\nNOOP\r\n", masked(), server_gets=b"XXXX\r\n")
    talk.client(b"NOOP\r\n", server_gets=b"").server(b"500 no\r\n").client(b"NOOP\r\n")


def test_empty_line_does_not_shut_as_not_every_server_answers_it() -> None:
    talk = session(pipelining=False).client(b"\r\n").client(b"NOOP\r\n")
    talk.client(b"NOOP\r\n", server_gets=b"").server(b"250 ok\r\n").client(b"NOOP\r\n")


@pytest.mark.parametrize("rest", [b"CLIENT ADDR=192.0.2.1", b"EXCH50 5 2", b"FORWARD x", b"\t"])
def test_masked_chunk_and_the_rest_of_its_line_never_form_a_verb(rest: bytes) -> None:
    masked_line = b"XXXXXX\r\nX" + b"X" * len(rest) + b"\r\n"
    session().client(b"BDAT 1\r\na" + rest + b"\r\n", masked(), chunk(1), server_gets=masked_line)
    talk = session().client(b"BDAT 1\r\n", masked(), server_gets=b"XXXXXX\r\n")
    talk.client(b"a" + rest + b"\r\n", chunk(1), server_gets=masked_line[8:], acknowledged=0)


def test_without_pipelining_nothing_follows_the_final_dot() -> None:
    talk = Transcript().in_message(pipelining=False)
    talk.client(b"\r\n.\r\nQUIT\r\n", server_gets=b"\r\n.\r\n").client(b"QUIT\r\n", server_gets=b"")
    talk.server(b"250 ok\r\n").client(b"QUIT\r\n")


def test_with_pipelining_commands_may_follow_the_final_dot() -> None:
    Transcript().in_message().client(b"\r\n.\r\nMAIL FROM:<a@b>\r\nQUIT\r\n").owes(3)


def test_line_typed_without_pipelining_passes_byte_by_byte() -> None:
    talk = session(pipelining=False)
    for byte in b"x":
        talk.client(bytes([byte]), masked(), server_gets=b"X")
    talk.client(b"\r\n").client(b"N", server_gets=b"").server(b"500 no\r\n")
    talk.client(b"N", fragment(), server_gets=b"X")


# --- When pipelining is permitted


def ehlo(reply: bytes, *events: object, client_gets: bytes | None = None) -> Transcript:
    talk = Transcript().server(b"220 \r\n", banner()).client(b"EHLO x\r\n")
    return talk.server(reply, *events, client_gets=client_gets)  # type: ignore[arg-type]


GROUP = b"NOOP\r\nNOOP\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        b"250-s\r\n250 PIPELINING\r\n",
        b"250-s\r\n250-PIPELINING\r\n250 SIZE\r\n",
        b"250-s\r\n250 pipelining\r\n",
        b"250-s\r\n250 PIPELINING x\r\n",
        b"250-s\n250 PIPELINING\n",
    ],
)
def test_pipelining_is_permitted_if_the_ehlo_reply_lists_it(reply: bytes) -> None:
    ehlo(reply).client(GROUP)


@pytest.mark.parametrize(
    "reply",
    [
        b"250 PIPELINING\r\n",  # the first line holds the domain
        b"250-PIPELINING\r\n250 SIZE\r\n",
        b"500-s\r\n500 PIPELINING\r\n",
        b"250 s\r\n",
    ],
)
def test_pipelining_is_not_permitted_otherwise(reply: bytes) -> None:
    ehlo(reply).client(GROUP, server_gets=b"NOOP\r\n")


def test_pipelining_keyword_that_was_masked_does_not_count() -> None:
    ehlo(
        b"250-s\r\n250 PIPELININGS\r\n",
        ehlo_masked(),
        client_gets=b"250-s\r\n250 XXXXXXXXXXA\r\n",
    ).client(GROUP, server_gets=b"NOOP\r\n")


def test_pipelining_is_recognized_in_a_reply_split_anywhere() -> None:
    whole = b"250-s\r\n250-PIPELINING\r\n250 SIZE\r\n"
    for cut in range(1, len(whole)):
        ehlo(whole[:cut]).server(whole[cut:]).client(GROUP)


def test_helo_ends_pipelining() -> None:
    talk = session().client(b"HELO x\r\nNOOP\r\n", server_gets=b"HELO x\r\n")
    talk.server(b"250 s\r\n").client(GROUP, server_gets=b"NOOP\r\n")


def test_refused_helo_or_ehlo_leaves_pipelining_as_it_was() -> None:
    session().client(b"HELO\r\n").server(b"501 no\r\n").client(GROUP)
    session().client(b"EHLO\r\n").server(b"501 no\r\n").client(GROUP)
    session(pipelining=False).client(b"EHLO\r\n").server(b"501 no\r\n").client(
        GROUP, server_gets=b"NOOP\r\n"
    )


def test_second_ehlo_decides_pipelining_again() -> None:
    talk = session().client(b"EHLO x\r\nNOOP\r\n", server_gets=b"EHLO x\r\n")
    talk.server(b"250-s\r\n250 SIZE\r\n").client(GROUP, server_gets=b"NOOP\r\n")


def test_ehlo_ends_a_group() -> None:
    session().client(b"RSET\r\nEHLO x\r\nNOOP\r\n", server_gets=b"RSET\r\nEHLO x\r\n")


def test_client_may_fall_back_to_helo() -> None:
    talk = Transcript().server(b"220 \r\n", banner())
    talk.client(b"EHLO x\r\n").server(b"502 what?\r\n")
    talk.client(b"HELO x\r\n").server(b"250 s\r\n").client(b"MAIL FROM:<a@b>\r\n")


# --- DATA


def test_after_data_nothing_passes_before_its_reply() -> None:
    talk = session()
    talk.client(b"DATA\r\nSTARTTLS\r\n", server_gets=b"DATA\r\n")
    talk.client(b"STARTTLS\r\n", server_gets=b"")
    talk.server(b"354 go\r").client(b"STARTTLS\r\n", server_gets=b"")
    talk.server(b"\n").client(b"STARTTLS\r\n")  # it is part of the message


def test_after_refused_data_commands_follow() -> None:
    talk = session().client(b"DATA\r\n").server(b"503 no\r\n")
    talk.client(b"STARTTLS\r\n", masked(), server_gets=b"XXXXXXXX\r\n")


def test_data_with_an_argument_is_data() -> None:
    talk = session().client(b"DATA x\r\nNOOP\r\n", server_gets=b"DATA x\r\n")
    talk.server(b"354 go\r\n").client(b"XFOO\r\n.\r\nNOOP\r\n")


def test_data_waits_for_its_own_reply() -> None:
    talk = session().client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    talk.server(b"250 ok\r\n").client(b"x", server_gets=b"")
    talk.server(b"250 ok\r\n").client(b"x", server_gets=b"")
    talk.server(b"354-multi\r\n").client(b"x", server_gets=b"")
    talk.server(b"354 go\r\n").client(b"x")


def test_several_mails_with_rset_in_one_session_pass() -> None:
    talk = session()
    for _ in range(3):
        talk.client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
        talk.server(b"250 ok\r\n250 ok\r\n354 go\r\n")
        talk.client(b"Subject: s\r\n\r\nRSET\r\nDATA\r\nSTARTTLS\r\n.\r\nRSET\r\n")
        talk.server(b"250 queued\r\n250 reset\r\n").owes(0)


# --- AUTH


def test_auth_exchange_passes_one_response_at_a_time() -> None:
    talk = session()
    talk.client(b"AUTH LOGIN\r\nNOOP\r\n", server_gets=b"AUTH LOGIN\r\n")
    talk.client(b"Zm9v\r\n", server_gets=b"").server(b"334 VXNlcm5hbWU6\r\n")
    talk.client(b"Zm9v\r\nYmFy\r\n", server_gets=b"Zm9v\r\n")
    talk.server(b"334 UGFzc3dvcmQ6\r\n").client(b"YmFy\r\n").server(b"235 welcome\r\n")
    talk.client(b"XFOO\r\n", masked(), server_gets=b"XXXX\r\n")


def test_commands_follow_a_refused_auth_with_initial_response() -> None:
    session().client(b"AUTH PLAIN AGZvbwBiYXI=\r\n").server(b"535 no\r\n").client(GROUP)


def test_auth_is_cancelled_by_an_asterisk() -> None:
    talk = session().client(b"AUTH LOGIN\r\n").server(b"334 \r\n")
    talk.client(b"*\r\nNOOP\r\n", server_gets=b"*\r\n").server(b"501 cancelled\r\n").client(GROUP)


def test_empty_auth_response_passes() -> None:
    session().client(b"AUTH GSSAPI\r\n").server(b"334 \r\n").client(b"\r\n").owes(1)


def test_auth_response_may_be_long_and_is_not_inspected() -> None:
    talk = session().client(b"AUTH GSSAPI\r\n").server(b"334 \r\n")
    talk.client(b"x" * 3000).client(b"MAIL FROM:<|>" * 300 + b"\r").client(b"\n").owes(1)


def test_auth_response_split_over_packets_passes() -> None:
    talk = session().client(b"AUTH LOGIN\r\n").server(b"334 \r\n")
    talk.client(b"Z").client(b"m").client(b"9v").client(b"\r").client(b"\n")
    talk.client(b"x", server_gets=b"").server(b"235 ok\r\n").client(GROUP)


def test_bare_lf_in_an_auth_response_smuggles_no_command() -> None:
    talk = session().client(b"AUTH LOGIN\r\n").server(b"334 \r\n")
    talk.client(b"*\nXFOO\r\n", bare(), server_gets=b"*XXXXX\r\n").owes(1)


# --- STARTTLS


def test_starttls_is_masked_and_commands_after_it_pass_and_are_reported() -> None:
    talk = session()
    group = b"STARTTLS\r\nNOOP\r\n"
    talk.client(group, masked(), injection(), server_gets=b"XXXXXXXX\r\nNOOP\r\n").owes(2)
    talk.server(b"500 what?\r\n250 ok\r\n")


@pytest.mark.parametrize("line", [b"starttls \r\n", b"StartTLS\r\n"])
def test_starttls_alone_in_its_packet_is_no_injection(line: bytes) -> None:
    talk = session()
    hidden = b"X" * (len(line) - 2) + b"\r\n"
    talk.client(line, masked(), server_gets=hidden).client(b"NOOP\r\n")
    talk.client(line + b"\r\n", masked(), injection(), server_gets=hidden + b"\r\n")
    talk.client(b"STARTTLSX\r\nNOOP\r\n", masked(), server_gets=b"XXXXXXXXX\r\nNOOP\r\n")


@pytest.mark.parametrize("log", [False, True])
def test_starttls_passes_with_allow_tls_and_inspection_ends_at_the_clients_first_byte(
    log: bool,
) -> None:
    talk = session(allow_tls=True, allow_tls_log=log)
    talk.client(b"STARTTLS\r\n").server(b"220 go\r\n", tls(log))
    talk.client(b"\x16\x03\x01 hello", uninspected=UninspectedCause.TLS)
    talk.server(b"\x16\x03\x03\r\n250", uninspected=UninspectedCause.TLS)
    talk.client(b"XFOO\r\n", uninspected=UninspectedCause.TLS)


def test_commands_follow_refused_starttls() -> None:
    talk = session(allow_tls=True).client(b"STARTTLS\r\n").server(b"454 no\r\n")
    talk.client(GROUP)


@pytest.mark.parametrize(
    "packets",
    [
        [b"STARTTLS\r\nMAIL FROM:<a@b>\r\n"],
        [b"STARTTLS\r\n\x16\x03\x01"],
        [b"STARTTLS\r\n", b"N"],
        [b"NOOP\r\nstarttls x\r\n", b"\r\n"],
    ],
)
def test_bytes_after_starttls_before_its_220_close(packets: list[bytes]) -> None:
    talk = session(allow_tls=True)
    for packet in packets[:-1]:
        talk.client(packet)
    talk.client(packets[-1], injection(), closes=CloseCause.STARTTLS_INJECTION)


def test_bytes_after_starttls_that_do_not_acknowledge_the_whole_220_close() -> None:
    talk = session(allow_tls=True).client(b"STARTTLS\r\n").server(b"220 go\r\n", tls())
    talk.client(
        b"NOOP\r\n",
        injection(),
        closes=CloseCause.STARTTLS_INJECTION,
        acknowledged=talk.replied - 1,
    )


def test_starttls_split_after_its_verb_also_shuts() -> None:
    session(allow_tls=True).client(b"STARTTLS").client(
        b"XY\r\nNOOP\r\n", masked(), injection(), closes=CloseCause.STARTTLS_INJECTION
    )


# --- BDAT


def test_chunk_in_the_same_packet_as_bdat_is_masked_for_its_length() -> None:
    session().client(
        b"BDAT 11 LAST\r\n" + b"MAIL\r\nX\nY\r\n" + b"RSET\r\n",
        masked(),
        chunk(11),
        server_gets=b"XXXXXXXXXXXX\r\n" + b"XXXX\r\nXXX\r\n" + b"RSET\r\n",
    ).owes(4)


@pytest.mark.parametrize("pipelining", [True, False])
def test_chunk_whose_first_byte_does_not_acknowledge_the_reply_is_masked(pipelining: bool) -> None:
    talk = session(pipelining).client(b"BDAT 6\r\n", masked(), server_gets=b"XXXXXX\r\n")
    talk.server(b"500 what?\r\n")
    talk.client(b"RSET\r\n", chunk(6), server_gets=b"XXXX\r\n", acknowledged=talk.replied - 1).owes(
        1
    )


def test_chunk_stays_a_chunk_whatever_is_acknowledged_later() -> None:
    talk = session(pipelining=False).client(b"BDAT 12\r\n", masked(), server_gets=b"XXXXXXX\r\n")
    talk.client(b"RS", chunk(12), server_gets=b"XX")
    talk.server(b"500 what?\r\n").client(b"ET\r\n", server_gets=b"XX\r\n")
    talk.client(b"QUIT\r\n", server_gets=b"XXXX\r\n").server(b"500 a\r\n500 b\r\n")
    talk.client(b"QUIT\r\n")


def test_client_that_waited_for_the_reply_to_bdat_sends_commands() -> None:
    for pipelining in (True, False):
        talk = session(pipelining).client(b"BDAT 6\r\n", masked(), server_gets=b"XXXXXX\r\n")
        talk.server(b"500 what?\r\n").client(b"RSET\r\n").owes(1)


def test_reply_to_an_earlier_bdat_does_not_end_a_later_chunk() -> None:
    talk = session().client(
        b"BDAT 4\r\nab\r\nBDAT 6\r\n",
        masked(),
        chunk(4),
        masked(),
        server_gets=b"XXXXXX\r\nXX\r\nXXXXXX\r\n",
    )
    talk.server(b"500 first\r\n").client(b"RSET\r\n", chunk(6), server_gets=b"XXXX\r\n")


def test_chunk_whose_length_is_split_over_packets_is_masked() -> None:
    talk = session().client(b"BDAT 1", masked(), server_gets=b"XXXXXX")
    talk.client(b"0\r\n12345678", chunk(10), server_gets=b"X\r\nXXXXXXXX")
    talk.client(b"\r", server_gets=b"\r").client(b"\nNOOP\r\n")


def test_cr_in_a_chunk_passes_only_before_lf_or_the_end_of_the_packet() -> None:
    session().client(b"bdat 5\r\na\rb\r\n", masked(), chunk(5), server_gets=b"XXXXXX\r\nXXX\r\n")
    session().client(b"BDAT 2\r\na\r", masked(), chunk(2), server_gets=b"XXXXXX\r\nXX")
    session().client(b"BDAT 3\r\na\r", masked(), chunk(3), server_gets=b"XXXXXX\r\nX\r").client(
        b"b", server_gets=b"X"
    )


@pytest.mark.parametrize("line", [b"BDAT 0 LAST", b"BDAT x", b"BDAT", b"XEXCH50 10 2", b"BDATA 5"])
def test_line_that_announces_no_chunk_is_masked_alone(line: bytes) -> None:
    session().client(
        line + b"\r\nNOOP\r\n", masked(), server_gets=b"X" * len(line) + b"\r\nNOOP\r\n"
    )


def test_chunk_after_a_bdat_typed_letter_by_letter_is_masked() -> None:
    talk = (
        session()
        .client(b"B", masked(), server_gets=b"X")
        .client(b"DAT 6\r\n", server_gets=b"XXXXX\r\n")
    )
    talk.client(b"RSET\r\n", chunk(6), server_gets=b"XXXX\r\n", acknowledged=0)


def test_long_line_in_a_chunk_matches_no_clause() -> None:
    session().client(b"BDAT 3000\r\n", masked(), server_gets=b"XXXXXXXXX\r\n").client(
        b"y" * 3000, chunk(3000), server_gets=b"X" * 3000, acknowledged=0
    )


def test_command_after_a_chunk_that_ends_within_a_line_is_the_rest_of_that_line() -> None:
    talk = session().client(b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<c@d>\r\n" * 100)
    talk.client(
        b"BDAT 1\r\nxRSET\r\nNOOP\r\n",
        masked(),
        chunk(1),
        server_gets=b"XXXXXX\r\nXXXXX\r\nNOOP\r\n",
    ).owes(104)
    talk.server(b"250 ok\r\n" * 101 + b"500 BDAT\r\n500 XXXXX\r\n250 ok\r\n")
    talk.client(b"MAIL FROM:<a@b>\r\n").server(b"503 nested\r\n")
    talk.client(b"RCPT TO:<e@f>\r\n", matched(RECIPIENTS), closes=CloseCause.CLAUSE)


@pytest.mark.parametrize("pieces", [[b"x\r", b"\n"], [b"x", b"\r\n"], [b"x\r\n"]])
def test_line_end_of_a_chunk_that_ends_with_its_line_passes(pieces: list[bytes]) -> None:
    talk = session().client(b"BDAT 3\r\n", masked(), server_gets=b"XXXXXX\r\n")
    talk.client(pieces[0], chunk(3), server_gets=b"X" + pieces[0][1:], acknowledged=0)
    for piece in pieces[1:]:
        talk.client(piece)
    talk.client(b"\r\n").owes(3).client(b"FOOO\r\n", masked(), server_gets=b"XXXX\r\n")


@pytest.mark.parametrize("pieces", [[b"x\r", b"y"], [b"x", b"y\r"], [b"xyz"]])
def test_line_end_after_a_chunk_that_ends_within_a_line_passes(pieces: list[bytes]) -> None:
    talk = session().client(b"BDAT 3\r\n", masked(), server_gets=b"XXXXXX\r\n")
    talk.client(
        pieces[0],
        chunk(3),
        server_gets=pieces[0].translate(bytes.maketrans(b"xyz", b"XXX")),
        acknowledged=0,
    )
    for piece in pieces[1:]:
        talk.client(piece, server_gets=b"X" * len(piece))
    talk.client(b"\r\n").owes(2).server(b"500 a\r\n500 b\r\n").client(b"NOOP\r\n").owes(1)


# --- Bounds


def test_commands_beyond_the_bound_of_outstanding_replies_wait() -> None:
    talk = session().client(
        b"NOOP\r\n" * (OUTSTANDING_BOUND + 1), server_gets=b"NOOP\r\n" * OUTSTANDING_BOUND
    )
    talk.client(b"NOOP\r\n", server_gets=b"").server(b"250 ok\r\n").client(b"NOOP\r\n")


def test_chunk_beyond_the_bound_of_outstanding_replies_waits() -> None:
    talk = session().client(
        b"BDAT 8000\r\n" + b"x\r\n" * OUTSTANDING_BOUND,
        masked(),
        chunk(8000),
        server_gets=b"XXXXXXXXX\r\n" + b"X\r\n" * OUTSTANDING_BOUND,
    )
    talk.client(b"xx", server_gets=b"").server(b"500 no\r\n").client(b"xx", server_gets=b"")
    talk.server(b"500 no\r\n").client(b"xx", server_gets=b"XX")


# --- Anomalies open nothing


def test_unsolicited_reply_opens_nothing() -> None:
    talk = session(pipelining=False)
    talk.server(b"250 hello?\r\n", anomaly(AnomalyKind.UNASKED_REPLY, b"250 hello?"))
    talk.client(b"NOOP\r\nNOOP\r\n", server_gets=b"NOOP\r\n")


def test_unsolicited_reply_answers_no_command_sent_between_its_lines() -> None:
    talk = session().server(b"250-a\r\n", anomaly(AnomalyKind.UNASKED_REPLY, b"250-a"))
    talk.client(b"DATA\r\n").server(b"250 b\r\n").owes(1)
    talk.client(b"x", server_gets=b"", acknowledged=talk.replied - 1)
    talk.server(b"354 go\r\n").client(b"x")


def test_unsolicited_reply_is_doubtful_if_a_command_was_sent_between_its_lines() -> None:
    talk = session().server(b"250-a\r\n", anomaly(AnomalyKind.UNASKED_REPLY, b"250-a"))
    talk.client(b"DATA\r\n").server(b"250 b\r\n").client(b"RSET\r\n").owes(1)
