"""The banner, the EHLO reply, and server anomalies (sections 1, 2, 4, 9)."""

import pytest

from nfinspect.esmtp.keywords import KEYWORDS
from nfinspect.events import (
    REPLY,
    AnomalyKind,
    BannerMasked,
    CloseCause,
    Event,
    UninspectedCause,
)
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.model import InspectionMap, ServerAnomalyAction
from tests.unit.esmtp.transcript import (
    CONNECTION,
    DEFAULT,
    DROP,
    LINE_LENGTH,
    LOG,
    MASK,
    Transcript,
    already_masked,
    anomaly,
    banner,
    default_with,
    ehlo_masked,
    map_with,
    masked,
    matched,
)

# --- The banner


def test_banner_keeps_its_code_and_the_digits_2_and_0() -> None:
    Transcript().server(
        b"220 mail 2.10.1 (2002) \t\xff\r\n", banner(), client_gets=b"220 *****2**0****2002****\r\n"
    )


def test_banner_documented_for_the_appliance_is_reproduced() -> None:
    Transcript().server(
        b"220 esa.exa2domain2002.com0n00\r\n",
        banner(),
        client_gets=b"220 *******2******2002****0*00\r\n",
    )


def test_all_lines_of_the_banner_are_masked() -> None:
    Transcript().server(
        b"220-one 1\r\n220-\r\n220 2\r\n", banner(), client_gets=b"220-*****\r\n220-\r\n220 2\r\n"
    )


def test_banner_split_anywhere_is_masked_the_same() -> None:
    whole, passes = b"220-a b\r\n220 c0d\r\n", b"220-***\r\n220 *0*\r\n"
    for size in range(1, len(whole)):
        talk, got = Transcript(), b""
        for start in range(0, len(whole), size):
            got += talk.inspector.reply(whole[start : start + size])
        assert got == passes
        assert talk.inspector.events == [BannerMasked(CONNECTION, DEFAULT.name)]


def test_banner_event_is_emitted_when_the_code_is_known() -> None:
    Transcript().server(b"22").server(b"0", banner()).server(b" x\r\n", client_gets=b" *\r\n")


@pytest.mark.parametrize("greeting", [b"554 go away\r\n", b"421 busy\r\n", b"554-a\r\n554 b\r\n"])
def test_other_greeting_is_not_masked_and_opens_the_request_direction(greeting: bytes) -> None:
    Transcript().server(greeting).client(b"QUIT\r\n")


def test_banner_is_unchanged_without_mask_banner() -> None:
    Transcript(map_with()).server(b"220 mail ESMTP\r\n").client(b"EHLO x\r\n")


def test_invalid_separator_after_the_code_is_masked() -> None:
    Transcript().server(b"220xy\r\n", banner(), client_gets=b"220**\r\n").client(b"QUIT\r\n")


def test_banner_line_without_a_code_is_not_masked() -> None:
    Transcript().server(
        b"220-a\r\nno mail for you\r\n220 b\r\n",
        banner(),
        anomaly(AnomalyKind.NOT_NUMERIC, b"no mail for you"),
        client_gets=b"220-*\r\nno mail for you\r\n220 *\r\n",
    )


@pytest.mark.parametrize("last", [b"521 5.7.1 blocked using bl.example", b"421 come again later"])
@pytest.mark.parametrize("cut", range(1, 20, 3))
def test_greeting_that_turns_into_a_refusal_says_why(last: bytes, cut: int) -> None:
    talk = Transcript().server(b"220-mail\r\n", banner(), client_gets=b"220-****\r\n")
    text = last + b"\r\n"
    mismatch = anomaly(AnomalyKind.MISMATCHED_CODE, last[: max(cut, 3)] if cut > 3 else last)
    if cut < 3:
        talk.server(text[:cut]).server(text[cut:], mismatch)
    else:
        talk.server(text[:cut], mismatch if cut > 3 else anomaly(AnomalyKind.MISMATCHED_CODE, last))
        talk.server(text[cut:])
    talk.owes(0)


def test_greeting_that_begins_with_a_refusal_still_masks_its_220_lines() -> None:
    Transcript().server(
        b"554-no\r\n220 Postfix 3\r\n",
        banner(),
        anomaly(AnomalyKind.MISMATCHED_CODE, b"220 Postfix 3"),
        client_gets=b"554-no\r\n220 *********\r\n",
    )


def test_banner_masked_before_passes_unchanged_and_is_not_counted_as_masked() -> None:
    Transcript().server(b"220 ****2*\r\n", already_masked(REPLY))
    Transcript().server(b"220 ****2*!\r\n", banner(), client_gets=b"220 ****2**\r\n")
    Transcript().server(b"220 2002\r\n", banner())


def test_ehlo_lines_masked_before_are_reported_once_and_not_counted_as_masked() -> None:
    talk = Transcript().server(b"220 ****2*\r\n", already_masked(REPLY)).client(b"EHLO x\r\n")
    talk.server(b"250-s\r\n250-SIZE 5\r\n250-XXXXXXXA\r\n250 XXXB\r\n")
    talk = Transcript().server(b"220 \r\n", banner()).client(b"EHLO x\r\n")
    talk.server(b"250-s\r\n250-XXXXXXXA\r\n250 XXXB\r\n", already_masked(REPLY))
    talk.client(b"EHLO x\r\n").server(
        b"250-s\r\n250-XXXXXXXA\r\n250 DSN2\r\n",
        ehlo_masked(),
        client_gets=b"250-s\r\n250-XXXXXXXA\r\n250 XXXB\r\n",
    )


def test_reply_after_the_banner_in_the_same_packet_is_not_masked() -> None:
    Transcript().server(
        b"220 hi\r\n250 huh\r\n",
        banner(),
        anomaly(AnomalyKind.UNASKED_REPLY, b"250 huh"),
        client_gets=b"220 **\r\n250 huh\r\n",
    )


# --- The EHLO reply


def ehlo(inspection_map: InspectionMap = DEFAULT) -> Transcript:
    talk = Transcript(inspection_map)
    talk.server(b"220 \r\n", *([banner()] if inspection_map is DEFAULT else []))
    return talk.client(b"EHLO x\r\n")


def test_unknown_keywords_are_masked_with_a_final_letter() -> None:
    ehlo().server(
        b"250-mail.example.com\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 HELP\r\n",
        ehlo_masked(),
        client_gets=b"250-mail.example.com\r\n250-PIPELINING\r\n250-XXXXXXXA\r\n250 XXXB\r\n",
    )


def test_ehlo_reply_recorded_in_2014_is_reproduced() -> None:
    ehlo().server(
        b"250-m\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-VRFY\r\n250-ETRN\r\n250-STARTTLS\r\n"
        b"250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 DSN\r\n",
        ehlo_masked(),
        client_gets=b"250-m\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-VRFY\r\n250-ETRN\r\n"
        b"250-XXXXXXXA\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 DSN\r\n",
    )


@pytest.mark.parametrize("keyword", KEYWORDS)
@pytest.mark.parametrize("rest", [b"", b" x y", b"=x", b" "])
def test_known_keyword_passes(keyword: bytes, rest: bytes) -> None:
    ehlo().server(b"250-s\r\n250-" + keyword + rest + b"\r\n250 " + keyword.lower() + b"\r\n")


@pytest.mark.parametrize(
    "text",
    [b"X", b"SIZES", b"SIZ", b"SIZE\t1", b" SIZE", b"AUTH-LOGIN", b"CHUNKING", b"XSIZE 5", b"\0"],
)
def test_whole_line_with_an_unknown_keyword_is_masked(text: bytes) -> None:
    ehlo().server(
        b"250-s\r\n250 " + text + b"\r\n",
        ehlo_masked(),
        client_gets=b"250-s\r\n250 " + b"X" * (len(text) - 1) + b"A\r\n",
    )


def test_first_line_of_the_ehlo_reply_passes_whatever_it_says() -> None:
    ehlo().server(b"250 STARTTLS\r\n")
    ehlo().server(b"250-STARTTLS\r\n250 SIZE\r\n")


def test_letters_wrap_from_z_to_a() -> None:
    lines = [b"250-K%d\r\n" % number for number in range(10, 38)]
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZAB"
    ehlo().server(
        b"250-s\r\n" + b"".join(lines) + b"250 SIZE\r\n",
        ehlo_masked(),
        client_gets=b"250-s\r\n"
        + b"".join(b"250-XX%c\r\n" % letter for letter in letters)
        + b"250 SIZE\r\n",
    )


def test_letters_restart_with_each_reply() -> None:
    talk = ehlo()
    for _ in range(2):
        talk.server(b"250-s\r\n250 HELP\r\n", ehlo_masked(), client_gets=b"250-s\r\n250 XXXA\r\n")
        talk.client(b"EHLO x\r\n")


def test_empty_keyword_passes() -> None:
    ehlo().server(b"250-s\r\n250-\r\n250 \r\n")
    ehlo().server(b"250-s\r\n250\r\n")


def test_keyword_split_over_packets_is_masked_from_where_it_proves_unknown() -> None:
    ehlo().server(b"250-s\r\n250-ST", ehlo_masked(), client_gets=b"250-s\r\n250-SX").server(
        b"ARTTLS\r", ehlo_masked(), client_gets=b"XXXXXA\r"
    ).server(b"\n250 HELP\r\n", ehlo_masked(), client_gets=b"\n250 XXXB\r\n")


def test_letter_of_a_keyword_whose_cr_arrives_later_is_skipped() -> None:
    ehlo().server(
        b"250-s\r\n250-STARTTLS", ehlo_masked(), client_gets=b"250-s\r\n250-SXXXXXXX"
    ).server(b"\r\n250 HELP\r\n", ehlo_masked(), client_gets=b"\r\n250 XXXB\r\n")


def test_keyword_complete_in_a_packet_is_masked_from_its_beginning() -> None:
    ehlo().server(b"250-s\r\n250-").server(
        b"STARTTLS\r\n250 SIZE\r\n", ehlo_masked(), client_gets=b"XXXXXXXA\r\n250 SIZE\r\n"
    )


def test_prefix_of_a_known_keyword_passes_until_it_proves_unknown() -> None:
    ehlo().server(b"250-s\r\n250-SI").server(b"ZE 100\r\n250 DSN\r\n")
    ehlo().server(b"250-s\r\n250-SIZE").server(b"\r\n250 DSN\r\n")
    ehlo().server(b"250-s\r\n250-SIZE").server(
        b"S 100", ehlo_masked(), client_gets=b"XXXXX"
    ).server(b"0\r\n", ehlo_masked(), client_gets=b"A\r\n")
    ehlo().server(b"250-s\r\n250-SIZ").server(b" 100\r\n", ehlo_masked(), client_gets=b"XXXA\r\n")
    ehlo().server(b"250-s\r\n250-SI").server(b"Z\r\n250 SIZE\r\n")
    ehlo().server(b"250-s\r\n250-S").server(b"IZ\r\n250 SIZE\r\n")


def test_bare_lf_ends_a_reply_line() -> None:
    ehlo().server(
        b"250-s\n250-STARTTLS\n250 HELP\n",
        ehlo_masked(),
        client_gets=b"250-s\n250-XXXXXXXA\n250 XXXB\n",
    ).client(b"NOOP\r\n")


def test_refusal_of_ehlo_and_replies_to_helo_are_not_masked() -> None:
    ehlo().server(b"500-HELO\r\n500 STARTTLS\r\n").client(b"HELO x\r\n").server(
        b"250-s\r\n250 STARTTLS\r\n"
    )


def test_reply_to_an_ehlo_with_a_masked_argument_is_masked() -> None:
    talk = Transcript().server(b"220 \r\n", banner())
    talk.client(b"EHLO").client(b"X\r\n", masked(), server_gets=b"X\r\n")
    talk.server(b"250-s\r\n250 HELP\r\n", ehlo_masked(), client_gets=b"250-s\r\n250 XXXA\r\n")


def test_starttls_stays_visible_with_allow_tls() -> None:
    talk = Transcript(default_with(allow_tls=True)).server(b"220 \r\n", banner())
    talk.client(b"EHLO x\r\n").server(b"250-s\r\n250-START").server(b"TLS\r\n250 STARTTLS\r\n")
    talk.client(b"EHLO x\r\n").server(
        b"250-s\r\n250 STARTTLSX\r\n",
        ehlo_masked(),
        client_gets=b"250-s\r\n250 XXXXXXXXA\r\n",
    )


# --- Other clauses for EHLO parameters


def parameter_map(*rows: tuple[object, ...]) -> InspectionMap:
    return map_with(*((Criterion.EHLO_REPLY_PARAMETER, *row) for row in rows))


def test_named_keywords_are_masked_and_others_pass() -> None:
    names = parameter_map((MASK, False, ("size", "binaryname", "ecode")))
    ehlo(names).server(
        b"250-s\r\n250-SIZE 10\r\n250-HELP\r\n250-BINARYMIME\r\n250 ENHANCEDSTATUSCODES\r\n",
        matched(1, False, names),
        client_gets=b"250-s\r\n250-XXXXXXA\r\n250-HELP\r\n250-XXXXXXXXXB\r\n250 XXXXXXXXXXXXXXXXXXC\r\n",
    )


def test_named_keyword_split_over_packets_passes_until_it_is_certain() -> None:
    names = parameter_map((MASK, False, ("size",)))
    ehlo(names).server(b"250-s\r\n250-SIZE").server(
        b" 100\r\n", matched(1, False, names), client_gets=b"XXXA\r\n"
    )
    ehlo(names).server(b"250-s\r\n250-SIZE").server(b"S 100\r\n")


def test_masked_pipelining_keyword_does_not_permit_pipelining() -> None:
    names = parameter_map((MASK, False, ("pipelining",)))
    ehlo(names).server(
        b"250-s\r\n250 PIPELINING\r\n",
        matched(1, False, names),
        client_gets=b"250-s\r\n250 XXXXXXXXXA\r\n",
    ).client(b"NOOP\r\nNOOP\r\n", server_gets=b"NOOP\r\n")


def test_log_clause_logs_once_per_reply_and_counts_once_per_packet() -> None:
    names = parameter_map((LOG, True, ("others",)))
    talk = ehlo(names)
    talk.server(b"250-s\r\n250-HELP\r\n250-STARTTLS\r\n", matched(1, True, names))
    talk.server(b"250-CHUNKING\r\n", matched(1, False, names)).server(b"250 SIZE\r\n")
    talk.client(b"EHLO x\r\n").server(b"250-s\r\n250 HELP\r\n", matched(1, True, names))


def test_drop_connection_closes_at_the_reply() -> None:
    names = parameter_map((LOG, True, ("auth",)), (DROP, True, ("auth",)), (MASK, False, ("auth",)))
    ehlo(names).server(
        b"250-s\r\n250 AUTH PLAIN\r\n",
        matched(1, True, names),
        matched(2, True, names),
        closes=CloseCause.CLAUSE,
    ).owes(0)


def test_two_clauses_mask_different_keywords() -> None:
    names = parameter_map((MASK, True, ("size",)), (MASK, False, ("others",)))
    ehlo(names).server(
        b"250-s\r\n250-HELP\r\n250 SIZE\r\n",
        matched(2, False, names),
        matched(1, True, names),
        client_gets=b"250-s\r\n250-XXXA\r\n250 XXXB\r\n",
    )


# --- Anomalies


def session(**parameters: object) -> Transcript:
    return Transcript(default_with(**parameters)).greeted()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"250 ok", AnomalyKind.UNASKED_REPLY),
        (b"500 no", AnomalyKind.UNASKED_REPLY),
        (b"334 x", AnomalyKind.UNASKED_REPLY),
        (b"220 hi again", AnomalyKind.UNASKED_220),
        (b"hello", AnomalyKind.NOT_NUMERIC),
        (b"2x0 ok", AnomalyKind.NOT_NUMERIC),
        (b"25", AnomalyKind.NOT_NUMERIC),
        (b"", AnomalyKind.NOT_NUMERIC),
        (b" 250 ok", AnomalyKind.NOT_NUMERIC),
    ],
)
def test_unsolicited_reply_is_an_anomaly(reply: bytes, kind: AnomalyKind) -> None:
    session().server(reply + b"\r\n", anomaly(kind, reply))
    session(server_anomaly=ServerAnomalyAction.DROP_CONNECTION).server(
        reply + b"\r\n", anomaly(kind, reply), closes=CloseCause.SERVER_ANOMALY
    )


@pytest.mark.parametrize(
    ("asks", "reply", "event"),
    [
        (b"NOOP", b"220 ok", anomaly(AnomalyKind.UNASKED_220, b"220 ok")),
        (b"NOOP", b"334 x", anomaly(AnomalyKind.UNASKED_REPLY, b"334 x")),
        (b"NOOP", b"ok", anomaly(AnomalyKind.NOT_NUMERIC, b"ok")),
        (b"HELO x", b"220 ok", anomaly(AnomalyKind.UNASKED_220, b"220 ok")),
    ],
)
def test_reply_that_does_not_fit_its_command_is_an_anomaly(
    asks: bytes, reply: bytes, event: Event
) -> None:
    session().client(asks + b"\r\n").server(reply + b"\r\n", event)


def test_anomaly_quotes_the_part_of_its_line_that_has_arrived() -> None:
    session().server(b"25").server(b"0 a", anomaly(AnomalyKind.UNASKED_REPLY, b"250 a")).server(
        b"bc\r\n"
    )


@pytest.mark.parametrize(
    "asks", [b"", b"NOOP\r\n", b"MAIL FROM:<a@b>\r\n", b"AUTH PLAIN\r\n", b"RSET\r\n", b"\r\n"]
)
def test_354_without_data_closes_at_once_whatever_the_map_says(asks: bytes) -> None:
    talk = session()
    if asks:
        talk.client(asks)
    talk.server(b"3").server(
        b"54 go\r\n", anomaly(AnomalyKind.UNASKED_354, b"354 go"), closes=CloseCause.UNASKED_354
    ).owes(0)


def test_354_to_a_masked_line_closes() -> None:
    session().client(b"XEXCH50 1 2\r\n", masked(), server_gets=b"X" * 11 + b"\r\n").server(
        b"354 go\r\n", anomaly(AnomalyKind.UNASKED_354, b"354 go"), closes=CloseCause.UNASKED_354
    )


def test_354_during_the_message_closes() -> None:
    Transcript().in_message().server(
        b"354 go\r\n", anomaly(AnomalyKind.UNASKED_354, b"354 go"), closes=CloseCause.UNASKED_354
    )


@pytest.mark.parametrize(
    "lines", [(b"354-a", b"250 b"), (b"250-a", b"354 b"), (b"354-a", b"500 b")]
)
def test_reply_to_data_with_354_in_only_one_line_closes(lines: tuple[bytes, bytes]) -> None:
    session().client(b"DATA\r\n").server(lines[0] + b"\r\n").server(
        lines[1] + b"\r\n",
        anomaly(AnomalyKind.UNASKED_354, lines[1]),
        closes=CloseCause.UNASKED_354,
    )


def test_last_line_decides_a_reply_whose_code_changes() -> None:
    talk = session().client(b"DATA\r\n")
    talk.server(b"250-a\r\n500 b\r\n", anomaly(AnomalyKind.MISMATCHED_CODE, b"500 b"))
    talk.client(b"NOOP\r\n").owes(1)


@pytest.mark.parametrize(
    "asks", [b"", b"NOOP\r\n", b"DATA\r\n", b"AUTH X\r\n", b"MAIL FROM:<a@b>\r\n", b"\r\n"]
)
def test_421_is_never_an_anomaly(asks: bytes) -> None:
    talk = session()
    if asks:
        talk.client(asks)
    talk.server(b"421 timeout\r\n").owes(0)


def test_421_during_the_message_or_as_the_greeting_is_no_anomaly() -> None:
    Transcript().in_message().server(b"421 timeout\r\n")
    Transcript().server(b"421 busy\r\n")


@pytest.mark.parametrize("reply", [b"500 what?", b"421 bye", b"550 no", b"450 later"])
def test_refusal_of_a_masked_or_empty_line_is_no_anomaly(reply: bytes) -> None:
    session().client(b"FOOO\r\n", masked(), server_gets=b"XXXX\r\n").server(reply + b"\r\n").owes(0)
    session().client(b"\r\n").server(reply + b"\r\n").owes(0)


@pytest.mark.parametrize("reply", [b"250 ok", b"220 go", b"334 x", b"199 x", b"600 x"])
def test_acceptance_of_a_masked_line_is_an_anomaly(reply: bytes) -> None:
    session().client(b"FOOO\r\n", masked(), server_gets=b"XXXX\r\n").server(
        reply + b"\r\n", anomaly(AnomalyKind.MASKED_ACCEPTED, reply)
    ).owes(0)


def test_reply_of_a_server_that_ignores_empty_lines_answers_the_next_command() -> None:
    session().client(b"\r\n\r\nDATA\r\n").server(b"354 go\r\n").client(b"x\r\n.\r\n")


def test_line_without_a_code_within_a_reply_is_an_anomaly_and_passes() -> None:
    session().client(b"HELP\r\n").server(
        b"214-a\r\nb\r\n214 c\r\n", anomaly(AnomalyKind.NOT_NUMERIC, b"b")
    ).owes(0)


def test_reply_line_of_any_length_passes() -> None:
    talk = session().client(b"NOOP\r\n").server(b"250-" + b"x" * 70000).server(b"y" * 70000)
    talk.server(b"\r\n250 ok\r\n").owes(0)


def test_digits_within_a_reply_line_are_not_a_code() -> None:
    talk = session().client(b"NOOP\r\nNOOP\r\n").server(b"250 ").server(b"354 messages\r\n").owes(1)
    talk.server(b"25").server(b"0 354 messages\r\n").owes(0)


def test_several_replies_in_one_packet_answer_in_order() -> None:
    session().client(
        b"NOOP\r\nFOOO\r\nDATA\r\n", masked(), server_gets=b"NOOP\r\nXXXX\r\nDATA\r\n"
    ).server(b"250 ok\r\n500-a\r\n500 b\r\n354 go\r\n").client(b"XXX\r\n.\r\n")


# --- Captures made without the filter


def test_recorded_acceptance_of_a_masked_line_ends_inspection() -> None:
    talk = Transcript(unfiltered=True).greeted()
    talk.client(b"XCLIENT a\r\n", masked(), server_gets=b"XXXXXXXXX\r\n")
    talk.server(b"220 ok\r\n250 x\r\n", uninspected=UninspectedCause.RECORDED_WITHOUT_FILTER)
    talk.client(b"FOOO\r\n", uninspected=UninspectedCause.RECORDED_WITHOUT_FILTER)


def test_recorded_354_to_a_masked_line_ends_inspection() -> None:
    talk = Transcript(unfiltered=True).greeted()
    talk.client(b"XEXCH50 1 2\r\n", masked(), server_gets=b"X" * 11 + b"\r\n")
    talk.server(b"354 go\r\n", uninspected=UninspectedCause.RECORDED_WITHOUT_FILTER)


def test_recorded_refusal_of_a_masked_line_continues_inspection() -> None:
    talk = Transcript(unfiltered=True).greeted()
    talk.client(b"XCLIENT a\r\n", masked(), server_gets=b"XXXXXXXXX\r\n").server(b"500 no\r\n")
    talk.client(b"NOOP\r\n").server(
        b"354 go\r\n", anomaly(AnomalyKind.UNASKED_354, b"354 go"), closes=CloseCause.UNASKED_354
    )


def test_bytes_decided_before_inspection_ends_stay_decided() -> None:
    talk = Transcript(unfiltered=True).greeted()
    talk.client(b"RSET\r\nFOOO\r\nEHLO x\r\n", masked(), server_gets=b"RSET\r\nXXXX\r\nEHLO x\r\n")
    talk.server(
        b"250 ok\r\n250 FOOO\r\n250-s\r\n250 HELP\r\n",
        uninspected=UninspectedCause.RECORDED_WITHOUT_FILTER,
    )
    talk = Transcript(unfiltered=True).greeted()
    talk.client(b"FOOO\r\nEHLO x\r\n", masked(), server_gets=b"XXXX\r\nEHLO x\r\n")
    talk.server(
        b"500 no\r\n250-s\r\n250 HELP\r\n",
        ehlo_masked(),
        client_gets=b"500 no\r\n250-s\r\n250 XXXA\r\n",
    )


# --- After a close


def closed(asks: bytes) -> Transcript:
    talk = session().client(asks)
    return talk.client(b"N" * 600 + b"\r\n", matched(LINE_LENGTH), closes=CloseCause.CLAUSE)


def test_replies_to_commands_that_passed_still_pass_and_nothing_after_them() -> None:
    talk = closed(b"NOOP\r\nRSET\r\n").owes(2)
    talk.server(b"250 a\r\n250-b\r\n").owes(1)
    talk.server(b"250 c\r\n421 timeout\r\n", client_gets=b"250 c\r\n").owes(0)
    talk.server(b"421 timeout\r\n", client_gets=b"")
    talk.client(b"NOOP\r\n", server_gets=b"")


def test_commands_in_the_violating_packet_are_not_owed_a_reply() -> None:
    talk = session().client(b"NOOP\r\n")
    talk.client(
        b"NOOP\r\nMAIL FROM:<a@b>\r\n" + b"N" * 600, matched(LINE_LENGTH), closes=CloseCause.CLAUSE
    ).owes(1)


def test_owed_ehlo_reply_is_masked_and_not_counted() -> None:
    talk = session().client(b"EHLO x\r\n")
    talk.inspector.close(CloseCause.UNSEEN_DATA)
    talk.was_closed = True
    talk.server(b"250-s\r\n250 HELP\r\n421 x\r\n", client_gets=b"250-s\r\n250 XXXA\r\n").owes(0)


def test_anomalies_after_a_close_are_not_reported() -> None:
    closed(b"NOOP\r\n").server(b"354 x\r\n").owes(0)


def test_clauses_for_a_masked_keyword_are_tried_in_the_order_of_the_map() -> None:
    ehlo = Criterion.EHLO_REPLY_PARAMETER
    both = map_with(
        (ehlo, MASK, True, ("size",)),
        (ehlo, LOG, True, ("size", "vrfy")),
        (ehlo, DROP, False, ("vrfy",)),
    )
    talk = Transcript(both).server(b"220 2\r\n").client(b"EHLO c\r\n")
    talk.server(
        b"250-s\r\n250 SIZE 9\r\n",
        matched(1, True, both),
        matched(2, True, both),
        client_gets=b"250-s\r\n250 XXXXXA\r\n",
    )
