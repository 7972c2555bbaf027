"""Command lines: verbs, incomplete verbs, line ends, brackets, pipes (sections 1, 9, 10)."""

import pytest

from nfinspect.esmtp.verbs import PERMITTED
from nfinspect.events import REQUEST, BannerMasked, CloseCause
from nfinspect.policy.commands import pix6
from nfinspect.policy.model import IncompleteCommand, PipeCharacter
from tests.unit.esmtp.transcript import (
    CONNECTION,
    LINE_LENGTH,
    RECIPIENTS,
    SENDER,
    Transcript,
    already_masked,
    bare,
    default_with,
    fragment,
    malicious,
    masked,
    matched,
    replaced,
    short,
)


def session(**parameters: object) -> Transcript:
    return Transcript(default_with(**parameters)).greeted()


STREAM = {"incomplete_command": IncompleteCommand.STREAM}


def test_fifteen_verbs_are_permitted() -> None:
    assert set(PERMITTED) == set(
        b"DATA HELO MAIL NOOP QUIT RCPT RSET AUTH EHLO ETRN HELP SAML SEND SOML VRFY".split()
    )


def test_fixup_permits_seven_of_them() -> None:
    for verb in PERMITTED:
        line = verb + b" x\r\n"
        talk = Transcript(pix6.MAP)
        talk.server(b"220 x\r\n", BannerMasked(CONNECTION, "fixup-smtp"), client_gets=b"220 *\r\n")
        if verb in b"DATA HELO MAIL NOOP QUIT RCPT RSET".split():
            talk.client(line)
        else:
            talk.client(line, masked(), server_gets=b"X" * (len(line) - 2) + b"\r\n")


@pytest.mark.parametrize("verb", PERMITTED)
@pytest.mark.parametrize("rest", [b"", b" argument", b"\targument", b" "])
def test_permitted_verb_passes(verb: bytes, rest: bytes) -> None:
    session().client(verb + rest + b"\r\n")
    session().client(verb.lower() + rest + b"\r\n")
    session().client(verb.title() + rest + b"\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"STARTTLS",
        b"starttls",
        b"ATRN domain",
        b"ONEX",
        b"VERB ON",
        b"XCLIENT ADDR=1.2.3.4",
        b"EXPN list",
        b"TURN",
        b"BDAT 0 LAST",
        b"XEXCH50 10 2",
        b"HELOX x",
        b"HELO\0x",
        b"MAIL\xa0FROM:<a@b>",
        b"MAIL:<a@b>",
        b" NOOP",
        b"\tNOOP",
        b"  ",
        b"\0NOOP",
        b"\xef\xbb\xbfNOOP",
        b"N\xd8OP",
        b"NOO\0",
        b"NOOP\x0bx",
        b"POST / HTTP/1.1",
    ],
)
def test_line_with_an_unknown_verb_is_masked_including_blanks(line: bytes) -> None:
    session().client(line + b"\r\n", masked(), server_gets=b"X" * len(line) + b"\r\n")


@pytest.mark.parametrize("line", [b"A", b"QUI", b"HE x", b"GET / HTTP/1.1"])
def test_verb_of_fewer_than_four_characters_is_masked(line: bytes) -> None:
    session().client(line + b"\r\n", short(), server_gets=b"X" * len(line) + b"\r\n")


def test_line_of_x_passes_unchanged_and_is_not_counted_as_masked() -> None:
    session().client(b"XXXXXXXX\r\n", already_masked(REQUEST)).client(b"XXXXX\r\n")
    session().client(b"XXXX XXX\r\n", masked(), server_gets=b"XXXXXXXX\r\n")
    session().client(b"XXX\r\n", short())


def test_empty_line_passes() -> None:
    session().client(b"\r\n").owes(1)


def test_masked_line_between_pipelined_commands_leaves_them_unchanged() -> None:
    session().client(
        b"NOOP\r\nXCLIENT a\r\nRSET\r\n", masked(), server_gets=b"NOOP\r\nXXXXXXXXX\r\nRSET\r\n"
    )


def test_each_masked_line_is_one_event() -> None:
    session().client(b"FOOO\r\nBARR\r\n", masked(), masked(), server_gets=b"XXXX\r\nXXXX\r\n").owes(
        2
    )


# --- A verb that arrives in pieces


def test_helo_typed_letter_by_letter_is_masked_up_to_its_line_end() -> None:
    talk = session().client(b"H", fragment(), server_gets=b"X")
    for letter in (b"E", b"L", b"O", b" ", b"x"):
        talk.client(letter, server_gets=b"X")
    talk.client(b"\r\n").owes(1).server(b"500 Command unknown: 'XXXXXX'\r\n")


def test_complete_verb_passes_with_the_rest_of_its_line_in_later_packets() -> None:
    session().client(b"HELO").client(b" ").client(b"x").client(b"\r").client(b"\n").owes(1)


def test_complete_verb_that_continues_in_the_next_packet_masks_the_rest_of_the_line() -> None:
    session().client(b"HELO").client(b"XY z\r\n", masked(), server_gets=b"XXXX\r\n")


def test_incomplete_verb_is_masked_and_its_line_end_in_the_next_packet_passes() -> None:
    session().client(b"QU", fragment(), server_gets=b"XX").client(b"\r\n").owes(1)


def test_incomplete_line_that_begins_no_permitted_verb_is_an_unknown_command() -> None:
    session().client(b"XCLI", masked(), server_gets=b"XXXX").client(
        b"ENT a\r\n", server_gets=b"XXXXX\r\n"
    )


def test_verb_split_after_a_complete_command_passes_in_two_packets() -> None:
    session().client(b"MAIL FROM:<a@b>\r\nRC").client(b"PT TO:<c@d>\r\n").owes(2)


def test_verb_split_after_a_complete_command_passes_in_three_packets() -> None:
    session().client(b"NOOP\r\nR").client(b"C").client(b"PT").client(b" TO:<c@d>\r\n").owes(2)


def test_verb_split_after_the_end_of_a_message_passes() -> None:
    Transcript().in_message().client(b"Subject: s\r\n\r\n.\r\nQU").client(b"IT\r\n").owes(2)


def test_verb_split_in_a_packet_that_begins_with_known_bytes_passes() -> None:
    session().client(b"RC", packet_length=30).client(b"PT TO:<c@d>\r\n")


def test_verb_split_at_the_end_of_a_packet_of_500_bytes_passes() -> None:
    session().client(b"RC", packet_length=500).client(b"PT TO:<c@d>\r\n")
    session().client(b"RC", fragment(), server_gets=b"XX", packet_length=2)


def test_split_verb_that_proves_unknown_is_masked_from_there_on() -> None:
    session().client(b"NOOP\r\nRC").client(b"XT x\r\n", masked(), server_gets=b"XXXX\r\n")
    session().client(b"NOOP\r\nRE", masked(), server_gets=b"NOOP\r\nRX").client(
        b"NA\r\n", server_gets=b"XX\r\n"
    )
    session().client(b"NOOP\r\nRC").client(b" TO\r\n", masked(), server_gets=b"XXX\r\n")
    session().client(b"NOOP\r\nRCPT").client(b"S\r\n", masked(), server_gets=b"X\r\n")


def test_split_verb_that_ends_early_is_left_to_the_server() -> None:
    session().client(b"NOOP\r\nRC").client(b"\r\n").owes(2).server(
        b"250 ok\r\n500 Command unknown: 'RC'\r\n"
    )


def test_stream_passes_the_beginning_of_a_verb() -> None:
    session(**STREAM).client(b"H").client(b"E").client(b"L").client(b"O").client(b" x\r\n")
    session(**STREAM).client(b"H").client(b"I", masked(), server_gets=b"X").client(
        b"!\r\n", server_gets=b"X\r\n"
    )


def test_stream_masks_a_complete_line_from_its_beginning() -> None:
    session(**STREAM).client(b"HELX x\r\n", masked(), server_gets=b"XXXXXX\r\n")


def test_drop_refuses_the_packet_with_an_incomplete_verb() -> None:
    talk = session(incomplete_command=IncompleteCommand.DROP)
    talk.client(b"H", server_gets=b"", refused=True)
    talk.client(b"HE", server_gets=b"", refused=True)
    talk.client(b"HELO x\r\n").owes(1)


def test_drop_masks_a_line_that_begins_no_verb() -> None:
    session(incomplete_command=IncompleteCommand.DROP).client(b"XC", masked(), server_gets=b"XX")


def test_drop_passes_a_verb_split_after_a_complete_command() -> None:
    session(incomplete_command=IncompleteCommand.DROP).client(b"NOOP\r\nRS").client(b"ET\r\n")


# --- Line ends


def test_bare_lf_is_no_line_end_and_is_masked_with_the_rest_of_the_line() -> None:
    session().client(b"NOOP x\nSTARTTLS\r\n", bare(), server_gets=b"NOOP xXXXXXXXXX\r\n").owes(1)


def test_bare_lf_in_a_later_packet_is_masked_with_the_rest_of_the_line() -> None:
    session().client(b"NOOP x").client(b"\nSTARTTLS", bare(), server_gets=b"X" * 9).client(
        b"\r\n"
    ).owes(1)


def test_bare_lf_after_the_verb_does_not_end_the_command() -> None:
    session().client(b"QUIT\n", bare(), server_gets=b"QUITX").owes(0)


def test_bare_cr_passes_and_the_rest_of_the_line_is_masked() -> None:
    session().client(b"NOOP x\rSTARTTLS\r\n", bare(), server_gets=b"NOOP x\rXXXXXXXX\r\n").owes(1)
    session().client(b"NOOP x\r").client(b"STARTTLS\r\n", bare(), server_gets=b"XXXXXXXX\r\n").owes(
        1
    )


def test_cr_cr_lf_ends_the_line() -> None:
    session().client(b"NOOP\r\r\n").owes(1)
    session().client(b"NOOP\r").client(b"\r").client(b"\n").owes(1)


def test_lf_cr_does_not_end_a_line() -> None:
    session().client(b"NOOP\n\rQUIT\r\n", bare(), server_gets=b"NOOPXXXXXX\r\n").owes(1)


def test_cr_at_the_beginning_of_a_line_is_bare_unless_lf_follows() -> None:
    session().client(b"\r").client(b"\n").owes(1)
    session().client(b"\r").client(b"NOOP\r\n", bare(), server_gets=b"XXXX\r\n").owes(1)
    session().client(b"\rNOOP\r\n", bare(), server_gets=b"\rXXXX\r\n").owes(1)


def test_lf_at_the_beginning_of_a_line_masks_it() -> None:
    session().client(b"\nNOOP\r\n", bare(), server_gets=b"XXXXX\r\n").owes(1)


def test_cr_within_a_masked_line_is_masked_unless_it_ends_the_packet() -> None:
    session().client(b"FOOO\rBAR\r\n", masked(), server_gets=b"XXXXXXXX\r\n")
    session().client(b"FOOO\r", masked(), server_gets=b"XXXX\r").client(
        b"BAR\r\n", server_gets=b"XXX\r\n"
    )


def test_masked_data_still_shuts_the_direction() -> None:
    session().client(b"DATA\nx\r\nNOOP\r\n", bare(), server_gets=b"DATAXX\r\n").client(
        b"NOOP\r\n", server_gets=b""
    )
    session().client(b"DATA").client(b"X\r\nNOOP\r\n", masked(), server_gets=b"X\r\n")


def test_high_bytes_and_nul_in_an_argument_pass() -> None:
    session().client(b"VRFY \xff\x80\0\xe9\r\n")


# --- Angle brackets


@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM:<a@b>",
        b"MAIL FROM:<>",
        b"MAIL FROM:<a@b> SIZE=1 AUTH=<>",
        b"MAIL FROM:<a@b> AUTH=<c@d>",
        b"RCPT TO:<@x,@y:a@b>",
        b"RCPT TO:a@b",
        b"SAML FROM:<a@b>",
        b"SEND FROM:<a@b>",
        b"SOML FROM:<a@b>",
        b"VRFY <a",
        b"HELP >",
        b"ETRN <x>>",
    ],
)
def test_brackets_in_pairs_pass(line: bytes) -> None:
    session().client(line + b"\r\n")


@pytest.mark.parametrize(
    ("line", "passes", "characters"),
    [
        (b"MAIL FROM:a@b>", b"MAIL FROM:a@b ", ">"),
        (b"MAIL FROM:<a@b>>", b"MAIL FROM:<a@b> ", ">"),
        (b"MAIL FROM:<<a@b>", b"MAIL FROM:< a@b>", "<"),
        (b"MAIL FROM:<<a@b>>", b"MAIL FROM:< a@b> ", "<>"),
        (b"MAIL FROM:<a@b> AUTH=<", b"MAIL FROM:<a@b> AUTH= ", "<"),
        (b"RCPT TO:<a@b", b"RCPT TO: a@b", "<"),
        (b"RCPT TO:>a@b<", b"RCPT TO: a@b ", "><"),
        (b"SOML FROM:a>", b"SOML FROM:a ", ">"),
        (b"SEND FROM:a>", b"SEND FROM:a ", ">"),
        (b"SAML FROM:a>>>", b"SAML FROM:a   ", ">"),
    ],
)
def test_stray_brackets_are_blanked_with_one_event_per_kind(
    line: bytes, passes: bytes, characters: str
) -> None:
    session().client(
        line + b"\r\n", *(replaced(each, line) for each in characters), server_gets=passes + b"\r\n"
    )


def test_stray_closing_bracket_over_several_packets_is_blanked() -> None:
    session().client(b"RCPT TO:<a@b>").client(
        b">>", replaced(">", b"RCPT TO:<a@b>>>"), server_gets=b"  "
    ).client(b">\r\n", server_gets=b" \r\n")


def test_bracket_opened_in_an_earlier_packet_and_never_closed_closes_the_connection() -> None:
    session().client(b"RCPT TO:<a@b").client(
        b"\r\n", replaced("<", b"RCPT TO:<a@b"), closes=CloseCause.UNCLOSED_BRACKET
    ).owes(0)
    session().client(b"RCPT TO:<a@b\r").client(
        b"\n", replaced("<", b"RCPT TO:<a@b"), closes=CloseCause.UNCLOSED_BRACKET
    )


def test_unclosed_bracket_in_the_last_packet_of_its_line_is_blanked() -> None:
    session().client(b"RCPT TO:").client(
        b"<a@b\r\n", replaced("<", b"RCPT TO:<a@b"), server_gets=b" a@b\r\n"
    )


def test_bracket_whose_partner_follows_a_bare_lf_is_stray() -> None:
    session().client(
        b"RCPT TO:<a@b\n>\r\n",
        replaced("<", b"RCPT TO:<a@b\n>"),
        bare(),
        server_gets=b"RCPT TO: a@bXX\r\n",
    )


# --- Pipes


@pytest.mark.parametrize(
    ("line", "argument"),
    [
        (b"MAIL FROM:<|prog>", b"FROM:<|prog>"),
        (b"mail from:<a@b> x=|", b"from:<a@b> x=|"),
        (b"RCPT TO:<|/bin/sh>", b"TO:<|/bin/sh>"),
        (b"RCPT  TO:|", b"TO:|"),
    ],
)
def test_pipe_in_mail_or_rcpt_closes(line: bytes, argument: bytes) -> None:
    session().client(line + b"\r\n", malicious(argument), closes=CloseCause.PIPE)


def test_pipe_closes_at_the_packet_that_contains_it() -> None:
    session().client(b"RCPT TO:<").client(b"|x", malicious(b"TO:<|x"), closes=CloseCause.PIPE)


def test_pipe_elsewhere_passes() -> None:
    for line in (b"VRFY |x\r\n", b"HELO a|b\r\n", b"SEND FROM:<a|b>\r\n"):
        session().client(line)


def test_pipe_can_be_blanked() -> None:
    session(pipe_character=PipeCharacter.BLANK).client(
        b"RCPT TO:<|a|b>\r\n", replaced("|", b"RCPT TO:<|a|b>"), server_gets=b"RCPT TO:< a b>\r\n"
    )


def test_pipe_in_a_masked_line_is_masked() -> None:
    session().client(b"XMAIL |\r\n", masked(), server_gets=b"XXXXXXX\r\n")


def test_packet_with_a_pipe_is_dropped_whole() -> None:
    session().client(b"NOOP\r\n").client(
        b"MAIL FROM:<a@b>\r\nRCPT TO:<|x>\r\nDATA\r\n",
        malicious(b"TO:<|x>"),
        closes=CloseCause.PIPE,
    ).owes(1)


# --- Lengths and counts


def test_command_line_of_512_passes_and_of_513_closes() -> None:
    session().client(b"NOOP " + b"x" * 505 + b"\r\n")
    session().client(
        b"NOOP " + b"x" * 506 + b"\r\n", matched(LINE_LENGTH), closes=CloseCause.CLAUSE
    )


def test_length_of_a_masked_line_is_limited_too() -> None:
    session().client(b"x" * 511 + b"\r\n", matched(LINE_LENGTH), closes=CloseCause.CLAUSE)
    session().client(b"x" * 510 + b"\r\n", masked(), server_gets=b"X" * 510 + b"\r\n")


def test_line_split_over_packets_closes_at_the_byte_that_exceeds_the_limit() -> None:
    session().client(b"NOOP " + b"x" * 507).client(
        b"\r", matched(LINE_LENGTH), closes=CloseCause.CLAUSE
    )
    session().client(b"NOOP " + b"x" * 507).client(
        b"x", matched(LINE_LENGTH), closes=CloseCause.CLAUSE
    )


def test_long_line_without_its_end_closes() -> None:
    session().client(b"x" * 600, matched(LINE_LENGTH), closes=CloseCause.CLAUSE)


def test_sender_of_320_passes_and_of_321_closes() -> None:
    for verb in (b"MAIL", b"SEND", b"SOML", b"SAML"):
        session().client(verb + b" FROM:<" + b"a" * 320 + b">\r\n")
        session().client(
            verb + b" FROM:<" + b"a" * 321 + b">\r\n", matched(SENDER), closes=CloseCause.CLAUSE
        )


def test_recipient_of_any_length_passes() -> None:
    session().client(b"RCPT TO:<" + b"a" * 400 + b">\r\n")


def test_sender_split_over_packets_closes_at_the_byte_that_exceeds_the_limit() -> None:
    session().client(b"MAIL FROM:<" + b"a" * 320).client(
        b"a", matched(SENDER), closes=CloseCause.CLAUSE
    )


def test_sender_matches_before_the_line_that_it_makes_too_long() -> None:
    session().client(
        b"MAIL FROM:<" + b"a" * 600 + b">\r\n", matched(SENDER), closes=CloseCause.CLAUSE
    )


def test_other_mailbox_of_a_mail_command_is_not_the_sender() -> None:
    session().client(b"MAIL FROM:<a@b> AUTH=<" + b"c" * 321 + b">\r\n")


def test_recipient_101_closes_whatever_the_replies() -> None:
    talk = session().client(b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n")
    for number in range(100):
        talk.client(b"RCPT TO:<u%d@x>\r\n" % number)
        talk.server(b"550 no\r\n" if number % 2 else b"250 ok\r\n")
    talk.client(b"RCPT TO:<last@x>\r\n", matched(RECIPIENTS), closes=CloseCause.CLAUSE).owes(0)


def test_recipient_count_restarts_with_each_mail() -> None:
    talk = session()
    mail = b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<c@d>\r\n" * 100
    for _ in range(3):
        talk.client(mail).server(b"250 ok\r\n" * 101)
        talk.client(b"RSET\r\n").server(b"250 ok\r\n")
    talk.client(mail).server(b"250 ok\r\n" * 101)
    talk.client(b"DATA\r\n").server(b"354 go\r\n").client(b"\r\n.\r\n").server(b"250 ok\r\n")
    talk.client(mail).server(b"250 ok\r\n" * 101)
    talk.client(b"RCPT TO:<e@f>\r\n", matched(RECIPIENTS), closes=CloseCause.CLAUSE)


def test_refused_mail_within_a_transaction_does_not_restart_the_count() -> None:
    talk = session().client(b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<c@d>\r\n" * 100)
    talk.server(b"250 ok\r\n" * 101)
    talk.client(b"MAIL FROM:<a@b>\r\nRCPT TO:<e@f>\r\n", server_gets=b"MAIL FROM:<a@b>\r\n")
    talk.server(b"503 nested MAIL\r\n")
    talk.client(b"RCPT TO:<e@f>\r\n", matched(RECIPIENTS), closes=CloseCause.CLAUSE)


def test_accepted_mail_within_a_transaction_restarts_the_count() -> None:
    talk = session().client(b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<c@d>\r\n" * 100)
    talk.server(b"250 ok\r\n" * 101).client(b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n")
    talk.client(b"RCPT TO:<c@d>\r\n" * 100)


def test_refused_rset_with_an_argument_ends_no_transaction() -> None:
    talk = session().client(b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<c@d>\r\n" * 100)
    talk.server(b"250 ok\r\n" * 101)
    talk.client(b"RSET x\r\nMAIL FROM:<a@b>\r\n").server(b"501 syntax\r\n503 nested\r\n")
    talk.client(b"RCPT TO:<e@f>\r\n", matched(RECIPIENTS), closes=CloseCause.CLAUSE)


def test_rset_and_the_next_mail_may_be_pipelined_together() -> None:
    session().client(b"MAIL FROM:<a@b>\r\n").client(
        b"RSET\r\nMAIL FROM:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n"
    ).owes(5)


def test_late_reply_does_not_end_a_transaction_started_after_its_command() -> None:
    talk = session().client(
        b"MAIL FROM:<bad>\r\nRSET\r\nMAIL FROM:<a@b>\r\n" + b"RCPT TO:<c@d>\r\n" * 100
    )
    talk.server(b"550 bad\r\n250 reset\r\n")
    talk.client(b"MAIL FROM:<a@b>\r\nNOOP\r\n", server_gets=b"MAIL FROM:<a@b>\r\n")
    talk.server(b"250 ok\r\n" * 101 + b"503 nested\r\n")
    talk.client(b"MAIL FROM:<a@b>\r\nNOOP\r\n", server_gets=b"MAIL FROM:<a@b>\r\n")
    talk.server(b"503 nested\r\n")
    talk.client(b"RCPT TO:<e@f>\r\n", matched(RECIPIENTS), closes=CloseCause.CLAUSE)


def test_mail_accepted_after_a_refused_one_starts_a_transaction() -> None:
    talk = session().client(b"MAIL FROM:<bad>\r\nMAIL FROM:<a@b>\r\n")
    talk.server(b"550 bad\r\n250 ok\r\n").client(b"RCPT TO:<c@d>\r\n" * 100)
    talk.server(b"250 ok\r\n" * 100)
    talk.client(b"MAIL FROM:<a@b>\r\nNOOP\r\n", server_gets=b"MAIL FROM:<a@b>\r\n")
    talk.server(b"503 nested\r\n")
    talk.client(b"RCPT TO:<e@f>\r\n", matched(RECIPIENTS), closes=CloseCause.CLAUSE)


def test_second_pipelined_mail_shuts_the_direction_until_answered() -> None:
    session().client(
        b"MAIL FROM:<a@b>\r\nMAIL FROM:<c@d>\r\nRCPT TO:<e@f>\r\n",
        server_gets=b"MAIL FROM:<a@b>\r\nMAIL FROM:<c@d>\r\n",
    )


@pytest.mark.parametrize(
    ("asks", "answers"),
    [
        (b"MAIL FROM:<bad>\r\n", b"550 no\r\n"),
        (b"MAIL FROM:<a@b>\r\nRSET\r\n", b"250 ok\r\n250 ok\r\n"),
        (b"MAIL FROM:<a@b>\r\nRSET x\r\n", b"250 ok\r\n250 ok\r\n"),
        (b"MAIL FROM:<a@b>\r\nEHLO x\r\n", b"250 ok\r\n250-s\r\n250 PIPELINING\r\n"),
    ],
)
def test_mail_after_the_end_of_a_transaction_does_not_shut(asks: bytes, answers: bytes) -> None:
    session().client(asks).server(answers).client(b"MAIL FROM:<a@b>\r\nRCPT TO:<e@f>\r\n")


@pytest.mark.parametrize(
    ("asks", "answers"),
    [
        (b"MAIL FROM:<a@b>\r\nRSET x\r\n", b"250 ok\r\n501 no\r\n"),
        (b"MAIL FROM:<a@b>\r\nHELO\r\n", b"250 ok\r\n501 no\r\n"),
        (b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", b"250 ok\r\n550 no\r\n"),
        (b"MAIL FROM:<a@b>\r\nDATA\r\n", b"250 ok\r\n503 no\r\n"),
    ],
)
def test_mail_within_a_transaction_shuts_until_its_reply(asks: bytes, answers: bytes) -> None:
    session().client(asks).server(answers).client(
        b"MAIL FROM:<a@b>\r\nRCPT TO:<e@f>\r\n", server_gets=b"MAIL FROM:<a@b>\r\n"
    )
