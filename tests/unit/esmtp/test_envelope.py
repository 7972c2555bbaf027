"""Verbs, senders and recipients as clauses and parameters ask about them (sections 1, 4 and 9)."""

from dataclasses import replace

import pytest

from nfinspect.esmtp.clauses import compile_map
from nfinspect.esmtp.envelope import addresses, relays
from nfinspect.esmtp.rate import Bucket
from nfinspect.esmtp.verbs import PERMITTED
from nfinspect.events import (
    REQUEST,
    ClauseAction,
    CloseCause,
    CommandMasked,
    CommandMaskReason,
    ParameterMatched,
    SizeExceeded,
)
from nfinspect.policy.conditions import Above, Expression, Matches, Not, OneOf
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.model import MailRelay, PipeCharacter, Reaction
from tests.unit.esmtp.transcript import (
    CONNECTION,
    DROP,
    LOG,
    MASK,
    Transcript,
    malicious,
    map_with,
    masked,
    matched,
)

RESET = ClauseAction.RESET
VERB = Criterion.COMMAND_VERB
SENDER = Criterion.SENDER_ADDRESS
RCPT = PERMITTED[b"RCPT"]
MAIL = PERMITTED[b"MAIL"]


def parameter(word: str, action: ClauseAction, log: bool) -> ParameterMatched:
    return ParameterMatched(CONNECTION, REQUEST, "m", word, action, log)


def expressions(*patterns: str) -> Matches:
    return Matches("c", tuple(Expression(each, each, each) for each in patterns), is_class=True)


# ---- verbs


def test_masked_verb_is_x_like_an_unknown_one_and_its_clause_counts() -> None:
    hides = map_with((VERB, MASK, True, ("VRFY", "ETRN")))
    talk = Transcript(hides).greeted()
    talk.client(
        b"VRFY root\r\n",
        matched(1, True, hides),
        masked(),
        server_gets=b"XXXXXXXXX\r\n",
    )
    talk.server(b"500 what?\r\n")
    talk.client(b"NOOP\r\n").server(b"250 ok\r\n")


def test_verb_is_judged_when_it_is_whole_and_once() -> None:
    logs = map_with((VERB, LOG, True, ("VRFY",)))
    talk = Transcript(logs).greeted()
    talk.client(b"VRFY")
    talk.client(b" ro", matched(1, True, logs))
    talk.client(b"ot\r\n").server(b"250 ok\r\n")


def test_unknown_command_meets_match_not() -> None:
    only = map_with((VERB, DROP, True, Not(OneOf(("EHLO", "MAIL", "RCPT", "DATA", "QUIT")))))
    Transcript(only).greeted().client(
        b"XCLIENT a\r\n", matched(1, True, only), closes=CloseCause.CLAUSE
    )


def test_starttls_can_be_named_although_it_is_masked() -> None:
    tells = map_with((VERB, LOG, True, ("STARTTLS",)))
    Transcript(tells).greeted().client(
        b"STARTTLS\r\n", matched(1, True, tells), masked(), server_gets=b"XXXXXXXX\r\n"
    )


def test_pieces_of_a_verb_are_masked_and_no_clause_counts_them() -> None:
    hides = map_with((VERB, MASK, True, ("VRFY",)))
    talk = Transcript(hides).greeted()
    talk.client(b"VR", CommandMasked(CONNECTION, CommandMaskReason.UNKNOWN_VERB), server_gets=b"XX")
    talk.client(b"FY root\r\n", server_gets=b"XXXXXXX\r\n")


def test_response_in_an_auth_exchange_is_no_command() -> None:
    only = map_with((VERB, DROP, True, Not(OneOf(("EHLO", "AUTH")))))
    talk = Transcript(only).greeted()
    talk.client(b"AUTH LOGIN\r\n").server(b"334 x\r\n").client(b"dXNlcg==\r\n")


# ---- senders


@pytest.mark.parametrize("cut", range(1, 30))
def test_sender_is_compared_whole_however_it_is_cut(cut: int) -> None:
    refuses = map_with((SENDER, DROP, True, expressions(r"^x$", r"@evil\.example$")))
    line = b"MAIL FROM:<a@evil.example>\r\n"
    talk = Transcript(refuses).greeted()
    if cut >= len(line):
        talk.client(line, matched(1, True, refuses), closes=CloseCause.CLAUSE)
        return
    if cut < 4:
        return  # a piece of a verb
    talk.client(line[:cut])
    talk.client(line[cut:], matched(1, True, refuses), closes=CloseCause.CLAUSE)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"MAIL FROM:<a@b> SIZE=1", (b"a@b",)),
        (b"MAIL FROM:a@b SIZE=1", (b"a@b",)),
        (b"MAIL FROM:a@b <c@d>", (b"a@b", b"c@d")),
        (b"MAIL FROM:<>", (b"",)),
        (b'MAIL FROM:"a b"@c', (b'"a b"@c',)),
        (b"MAIL", ()),
    ],
)
def test_addresses(line: bytes, found: tuple[bytes, ...]) -> None:
    assert addresses(MAIL, line) == found


def test_not_one_of_the_class_is_found_for_match_not() -> None:
    ours = map_with((SENDER, DROP, True, Not(expressions(r"@a\.example$", r"@b\.example$"))))
    Transcript(ours).greeted().client(b"MAIL FROM:<x@b.example>\r\n")
    Transcript(ours).greeted().client(
        b"MAIL FROM:<x@c.example>\r\n", matched(1, True, ours), closes=CloseCause.CLAUSE
    )
    Transcript(ours).greeted().client(
        b"MAIL FROM:<>\r\n", matched(1, True, ours), closes=CloseCause.CLAUSE
    )


def test_bytes_above_127_are_compared_as_bytes() -> None:
    finds = map_with((SENDER, LOG, True, expressions("\xe4")))
    Transcript(finds).greeted().client(b"MAIL FROM:<\xe4@b>\r\n", matched(1, True, finds))
    Transcript(finds).greeted().client("MAIL FROM:<\xe4@b>\r\n".encode())


def test_thousand_expressions_are_one_search_and_each_is_told_apart() -> None:
    rows = [(SENDER, LOG, True, expressions(rf"^user{n}@")) for n in range(1000)]
    many = map_with(*rows)
    group = compile_map(many).groups[SENDER]
    assert group.met_by_text((b"user777@x",)) == 1 << 777
    assert group.met_by_text((b"nobody@x", b"user3@x", b"user5@x")) == 1 << 3 | 1 << 5
    assert not group.met_by_text((b"nobody@x",))


def test_expressions_too_large_for_one_search_are_searched_for_one_by_one() -> None:
    rows = [(SENDER, LOG, True, expressions(rf"[a-q][^u-z]{{900}}x{n}")) for n in range(80)]
    group = compile_map(map_with(*rows)).groups[SENDER]
    assert group.met_by_text((b"a" + b"b" * 900 + b"x7",)) == 1 << 7
    assert not group.met_by_text((b"a" * 3000,))


# ---- rates


def test_bucket_holds_a_second_and_fills_evenly() -> None:
    bucket = Bucket(2)
    for _ in range(2):
        assert bucket.has_one(5.0)
        bucket.take()
    assert not bucket.has_one(5.4)
    assert bucket.has_one(5.5)
    bucket.take()
    assert not bucket.has_one(5.9)
    assert bucket.has_one(100.0)
    bucket.take()
    bucket.take()
    assert not bucket.has_one(99.0)  # a clock that goes back fills nothing


def test_what_comes_before_a_mail_that_must_wait_passes() -> None:
    rows = map_with((VERB, ClauseAction.RATE_LIMIT, False, ("MAIL",)))
    slow = replace(rows, clauses=tuple(replace(each, rate=1) for each in rows.clauses))
    talk = Transcript(slow).greeted()
    talk.client(b"MAIL FROM:<a@b>\r\n", matched(1, False, slow))
    waits = b"RSET\r\nMAIL FROM:<a@b>\r\n"
    talk.client(waits, matched(1, False, slow), server_gets=b"RSET\r\n", refused=True)
    talk.client(waits[6:], server_gets=b"", refused=True)
    talk.inspector.rules.clock.now += 1
    talk.client(waits[6:])


def test_capture_is_not_slowed() -> None:
    rows = map_with((VERB, ClauseAction.RATE_LIMIT, False, ("MAIL",)))
    slow = replace(rows, clauses=tuple(replace(each, rate=1) for each in rows.clauses))
    talk = Transcript(slow, unfiltered=True).greeted()
    for _ in range(3):
        talk.client(b"MAIL FROM:<a@b>\r\n", matched(1, False, slow)).server(b"250 ok\r\n")
        talk.client(b"RSET\r\n").server(b"250 ok\r\n")


# ---- parameters


@pytest.mark.parametrize(
    ("line", "relaying"),
    [
        (b"RCPT TO:<a@ours.example>", False),
        (b"RCPT TO:<a@OURS.example.>", False),
        (b"RCPT TO:<postmaster>", False),
        (b"RCPT TO:<a@b@ours.example>", False),
        (b"RCPT TO:<@relay.example:a@ours.example>", False),
        (b"RCPT TO:a@other.example <b@ours.example>", True),
        (b"RCPT TO:<a@sub.ours.example>", True),
        (b"RCPT TO:<a@[192.0.2.1]>", True),
        (b"RCPT TO:<a@ours.example@other.example>", True),
    ],
)
def test_recipients_of_other_domains_ask_for_relaying(line: bytes, relaying: bool) -> None:
    assert relays(RCPT, line, b"ours.example") is relaying


@pytest.mark.parametrize("log", [False, True])
def test_mail_relay_closes_and_logs(log: bool) -> None:
    ours = map_with(mail_relay=MailRelay("Ours.Example", Reaction(DROP, log)))
    talk = Transcript(ours).greeted().client(b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n")
    talk.client(b"RCPT TO:<a@ours.example>\r\n").server(b"250 ok\r\n")
    talk.client(
        b"RCPT TO:<a@other.example>\r\n",
        parameter("mail-relay", DROP, log),
        closes=CloseCause.PARAMETER,
    )


def test_mail_relay_logs_and_lets_pass() -> None:
    ours = map_with(mail_relay=MailRelay("ours.example", Reaction(LOG)))
    talk = Transcript(ours).greeted().client(b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n")
    talk.client(b"RCPT TO:<a@other.example>\r\n", parameter("mail-relay", LOG, True))


@pytest.mark.parametrize("character", [b"`", b"\0"])
def test_special_character_closes_at_its_packet(character: bytes) -> None:
    closes = map_with(special_character=Reaction(DROP, True))
    talk = Transcript(closes).greeted()
    talk.client(b"MAIL FROM:<a")
    talk.client(character, parameter("special-character", DROP, True), closes=CloseCause.PARAMETER)


def test_special_character_is_told_once_a_line() -> None:
    tells = map_with(special_character=Reaction(LOG))
    talk = Transcript(tells).greeted()
    talk.client(b"MAIL FROM:<`a`@b>\r\n", parameter("special-character", LOG, True))
    talk.server(b"250 ok\r\n")
    talk.client(b"RCPT TO:<a@b>\r\n").server(b"250 ok\r\n")
    talk.client(b"RCPT TO:<`a@b>\r\n", parameter("special-character", LOG, True))


def test_pipe_is_special_too_and_still_closes_or_is_blanked() -> None:
    tells = map_with(special_character=Reaction(LOG))
    Transcript(tells).greeted().client(
        b"MAIL FROM:<|a@b>\r\n",
        parameter("special-character", LOG, True),
        malicious(b"FROM:<|a@b>"),
        closes=CloseCause.PIPE,
    )
    resets = map_with(special_character=Reaction(DROP), pipe_character=PipeCharacter.BLANK)
    Transcript(resets).greeted().client(
        b"MAIL FROM:<|a@b>\r\n",
        parameter("special-character", DROP, False),
        closes=CloseCause.PARAMETER,
    )


# ---- refused recipients


def test_refusals_are_counted_of_the_mail_that_they_belong_to_pipelined_too() -> None:
    limits = map_with((Criterion.INVALID_RECIPIENTS, DROP, True, 1))
    talk = Transcript(limits).greeted()
    talk.client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\n")
    talk.server(b"250 ok\r\n550 no\r\n250 ok\r\n")
    talk.client(b"RSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\n")
    talk.server(b"250 ok\r\n250 ok\r\n450 later\r\n550 no\r\n")
    talk.client(b"RCPT TO:<g@h>\r\n")
    talk.server(b"550 no\r\n", matched(1, True, limits), closes=CloseCause.CLAUSE)


def test_match_not_of_refusals_is_judged_at_the_reply_to_data() -> None:
    few = map_with((Criterion.INVALID_RECIPIENTS, LOG, True, Not(Above(0))))
    talk = Transcript(few).greeted()
    talk.client(b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n")
    talk.client(b"RCPT TO:<c@d>\r\n").server(b"250 ok\r\n")
    talk.client(b"DATA\r\n").server(b"354 go\r\n", matched(1, True, few))


# ---- declared sizes


def in_message(size: bytes) -> Transcript:
    talk = Transcript().greeted()
    talk.client(b"MAIL FROM:<a@b> SIZE=%b\r\n" % size).server(b"250 ok\r\n")
    talk.client(b"RCPT TO:<c@d>\r\n").server(b"250 ok\r\n")
    return talk.client(b"DATA\r\n").server(b"354 go\r\n")


def test_message_that_outgrows_its_size_is_reported_once() -> None:
    talk = in_message(b"20")
    talk.client(b"Subject: s\r\n\r\n")
    talk.client(b"123456789\r\n", SizeExceeded(CONNECTION, 20, 23))
    talk.client(b"123456789\r\n.\r\n").server(b"250 ok\r\n")


@pytest.mark.parametrize("cut", range(1, 25))
def test_message_of_its_size_is_not_however_it_is_cut(cut: int) -> None:
    text = b"Subject: s\r\n\r\n1234\r\n.\r\n"
    talk = in_message(b"20")
    for piece in (text[:cut], text[cut:]):
        if piece:
            talk.client(piece)
    talk.server(b"250 ok\r\n")


def test_stuffed_dots_do_not_count() -> None:
    in_message(b"22").client(b"Subject: s\r\n\r\n..12\r\n..\r\n.\r\n")


def test_next_mail_has_its_own_size() -> None:
    talk = in_message(b"9")
    talk.client(b"Subject: s\r\n\r\n\r\n.\r\n", SizeExceeded(CONNECTION, 9, 16))
    talk.server(b"250 ok\r\n").client(b"MAIL FROM:<a@b>\r\n").server(b"250 ok\r\n")
    talk.client(b"RCPT TO:<c@d>\r\n").server(b"250 ok\r\n").client(b"DATA\r\n")
    talk.server(b"354 go\r\n").client(b"Subject: much longer\r\n\r\n.\r\n")
