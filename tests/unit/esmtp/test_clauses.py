"""Clauses for commands: their order, what they count, what they log (sections 4 and 10)."""

import pytest

from nfinspect.esmtp.address import Place, measure
from nfinspect.events import CloseCause
from nfinspect.policy.criteria import Criterion
from tests.unit.esmtp.transcript import (
    DROP,
    LOG,
    Transcript,
    malicious,
    map_with,
    masked,
    matched,
)

LINE = Criterion.COMMAND_LINE_LENGTH
SENDER = Criterion.SENDER_LENGTH
RCPT = Criterion.RECIPIENT_COUNT


def test_log_action_logs_for_each_command_and_counts_once_per_packet() -> None:
    logs = map_with((LINE, LOG, True, 10))
    talk = Transcript(logs).greeted()
    talk.client(b"NOOP 678901\r\n", matched(1, True, logs))
    talk.client(b"NOOP 678901\r\nNOOP 678901\r\n", matched(1, True, logs))
    talk.client(b"NOOP 6789").client(
        b"0",
    ).client(b"1", matched(1, True, logs)).client(b"2\r\n")


def test_log_action_for_the_recipient_count_logs_once_per_mail() -> None:
    logs = map_with((RCPT, LOG, True, 1))
    talk = Transcript(logs).greeted()
    for _ in range(2):
        talk.client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
        talk.client(b"RCPT TO:<c@d>\r\n", matched(1, True, logs))
        talk.client(b"RCPT TO:<c@d>\r\nRCPT TO:<c@d>\r\n", matched(1, False, logs))
        talk.client(b"RSET\r\n")


def test_drop_connection_without_log_does_not_log() -> None:
    quiet = map_with((LINE, DROP, False, 10))
    Transcript(quiet).greeted().client(
        b"NOOP 678901\r\n", matched(1, False, quiet), closes=CloseCause.CLAUSE
    )


def test_clauses_for_one_criterion_are_evaluated_in_the_order_of_the_map() -> None:
    log_first = map_with((LINE, LOG, True, 20), (LINE, DROP, False, 10))
    Transcript(log_first).greeted().client(
        b"NOOP " + b"x" * 20 + b"\r\n",
        matched(1, True, log_first),
        matched(2, False, log_first),
        closes=CloseCause.CLAUSE,
    )
    drop_first = map_with((LINE, DROP, False, 20), (LINE, LOG, True, 10))
    Transcript(drop_first).greeted().client(
        b"NOOP " + b"x" * 20 + b"\r\n", matched(1, False, drop_first), closes=CloseCause.CLAUSE
    )


def test_nothing_is_evaluated_after_a_clause_that_drops() -> None:
    both = map_with((LINE, DROP, True, 10), (SENDER, LOG, True, 5))
    Transcript(both).greeted().client(
        b"NOOP 678901\r\nMAIL FROM:<123456>\r\n", matched(1, True, both), closes=CloseCause.CLAUSE
    )


def test_log_clause_matched_earlier_in_the_packet_counts() -> None:
    both = map_with((LINE, DROP, True, 60), (SENDER, LOG, True, 5))
    Transcript(both).greeted().client(
        b"MAIL FROM:<123456>\r\n" + b"NOOP " + b"x" * 60,
        matched(2, True, both),
        matched(1, True, both),
        closes=CloseCause.CLAUSE,
    )


def test_first_violation_in_the_line_matches_first() -> None:
    rules = map_with((LINE, DROP, True, 30), (SENDER, DROP, True, 10))
    Transcript(rules).greeted().client(
        b"MAIL FROM:<" + b"a" * 30 + b">\r\n", matched(2, True, rules), closes=CloseCause.CLAUSE
    )
    Transcript(rules).greeted().client(
        b"MAIL FROM:<|" + b"a" * 30 + b">\r\n",
        malicious(b"FROM:<|" + b"a" * 30 + b">"),
        closes=CloseCause.PIPE,
    )
    Transcript(rules).greeted().client(
        b"MAIL FROM:<" + b"a" * 11 + b"|>\r\n", matched(2, True, rules), closes=CloseCause.CLAUSE
    )


def test_recipient_in_an_incomplete_line_is_not_counted_yet() -> None:
    counts = map_with((RCPT, DROP, True, 1))
    talk = Transcript(counts).greeted().client(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>")
    talk.client(b"\r\n", matched(1, True, counts), closes=CloseCause.CLAUSE).owes(2)


def test_rcpt_in_a_masked_line_is_not_counted() -> None:
    counts = map_with((RCPT, DROP, True, 1))
    Transcript(counts).greeted().client(
        b"MAIL FROM:<a@b>\r\n" + b"XRCPT\r\n" * 3,
        masked(),
        masked(),
        masked(),
        server_gets=b"MAIL FROM:<a@b>\r\n" + b"XXXXX\r\n" * 3,
    )


def test_recipients_before_any_mail_command_are_counted() -> None:
    counts = map_with((RCPT, DROP, True, 1))
    Transcript(counts).greeted().client(b"RCPT TO:<a@b>\r\n").client(
        b"RCPT TO:<a@b>\r\n", matched(1, True, counts), closes=CloseCause.CLAUSE
    )


# --- The length of the sender


@pytest.mark.parametrize(
    ("argument", "lengths"),
    [
        (b" FROM:<a@b>", [3]),
        (b" FROM:<>", [0]),
        (b" FROM: \t<a@b> SIZE=10", [3]),
        (b" FROM:<a b>", [3]),
        (b" FROM:<a@b", [3]),
        (b" FROM:<@x:a@b>", [6]),
        (b" FROM:a@b", [3]),
        (b" FROM:a@b SIZE=10", [3]),
        (b" FROM:a@b <c>", [3, 1]),
        (b" FROM:a<longer>", [9]),
        (b' FROM:"a b"@c x', [7]),
        (b' FROM:"a \\" b"@c', [10]),
        (b' FROM:"never ends ', [12]),
        (b" FROM<a@b>", [3]),
        (b" <a@b>", [3]),
        (b" FROM", []),
        (b" FROM:", []),
        (b" FROM: ", []),
        (b" FROM:<a>b", [1]),
        (b" FROM:a@b\tAUTH=<c@d>", [3]),
    ],
)
def test_sender_is_measured_as_a_whole_and_byte_by_byte(
    argument: bytes, lengths: list[int]
) -> None:
    _, _, whole = measure(Place.VERB, 0, argument, 0, len(argument))
    assert [piece.length for piece in whole] == lengths
    place, length, longest = Place.VERB, 0, []
    for position in range(len(argument)):
        place, length, pieces = measure(place, length, argument, position, position + 1)
        longest.extend(piece.length for piece in pieces)
    # Byte by byte, all shorter lengths occur too, but none that is longer.
    assert max(longest, default=0) == max(lengths, default=0)


def sender(argument: bytes, *, closes: bool) -> None:
    rules = map_with((SENDER, DROP, True, 10))
    for size in (len(argument), 1, 2, 3):
        talk = Transcript(rules).greeted().client(b"MAIL")
        passed = True
        for start in range(0, len(argument), size):
            if passed:
                talk.inspector.request(argument[start : start + size], size, 0)
                passed = talk.inspector.closing is None
        assert (not passed) == closes


@pytest.mark.parametrize(
    "text",
    [b":<%b>", b":%b", b": %b x", b":a <%b>", b'FROM:"%b', b" FROM<%b>", b":<%b", b":x%b <y>"],
)
def test_long_sender_in_any_form_closes(text: bytes) -> None:
    sender(b" FROM" + text.replace(b"%b", b"n" * 11), closes=True)


@pytest.mark.parametrize("text", [b":<%b>", b":%b x", b": %b", b":a <%b>"])
def test_sender_at_the_limit_passes(text: bytes) -> None:
    sender(b" FROM" + text.replace(b"%b", b"n" * 10), closes=False)
