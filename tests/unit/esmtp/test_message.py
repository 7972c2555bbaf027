"""Messages: end of data, lines and header (sections 1, 9, 10)."""

import base64

import pytest

from nfinspect.esmtp.lines import first_long_line
from nfinspect.esmtp.message import end_of_data
from nfinspect.esmtp.structure import next_boundary
from nfinspect.events import CloseCause
from nfinspect.policy.criteria import Criterion
from tests.unit.esmtp.transcript import (
    BODY_LINE,
    DROP,
    FILENAME,
    HEADER_LINE,
    LOG,
    Transcript,
    map_with,
    masked,
    matched,
    short,
)

END = b"\r\n.\r\n"
PROBE = b"XFOO\r\n"
"""Passes within a message but is masked as a command."""


def has_ended(talk: Transcript) -> None:
    talk.owes(1).client(PROBE, masked(), server_gets=b"XXXX\r\n")


def continues(talk: Transcript) -> None:
    talk.owes(0).client(PROBE)


# --- The end of data


@pytest.mark.parametrize(
    "text", [b".\r\n", b"a\r\n.\r\n", b"\r\n.\r\n", b"a: b\r\n\r\nc\r\n.\r\n", b"..\r\n.\r\n"]
)
def test_end_of_data_split_anywhere_ends_the_message(text: bytes) -> None:
    has_ended(Transcript().in_message().client(text))
    for size in range(1, len(text)):
        talk = Transcript().in_message()
        for start in range(0, len(text), size):
            talk.client(text[start : start + size])
        has_ended(talk)


@pytest.mark.parametrize(
    "text",
    [
        b"a.\r\n",
        b"a\n.\n",
        b"a\n.\r\n",
        b"a\r\n.\n",
        b"a\r.\r",
        b"a\r.\r\n",
        b"\n.\r\n",
        b"\r\r\n.\r\r\n",
        b"a\r\n.\0\r\n",
        b"a\r\n\0.\r\n",
        b"a\r\n..\r\n",
        b"a\r\n. \r\n",
        b"a\r\n.\r",
        b"a\r\n.",
        b"\0.\r\n",
        b" .\r\n",
        b"RSET\r\nQUIT\r\nDATA\r\n",
    ],
)
def test_nothing_else_ends_the_message(text: bytes) -> None:
    continues(Transcript().in_message().client(text))
    for size in range(1, len(text)):
        talk = Transcript().in_message()
        for start in range(0, len(text), size):
            talk.client(text[start : start + size])
        continues(talk)


def test_commands_after_the_end_in_the_same_packet_are_inspected() -> None:
    Transcript().in_message().client(
        b"a\r\n.\r\nXFOO\r\nNOOP\r\n", masked(), server_gets=b"a\r\n.\r\nXXXX\r\nNOOP\r\n"
    ).owes(3)


def test_first_of_two_ends_of_data_counts() -> None:
    Transcript().in_message().client(
        b"a\r\n.\r\n.\r\n", short(), server_gets=b"a\r\n.\r\nX\r\n"
    ).owes(2)


def test_end_of_data_after_many_dots_is_found() -> None:
    body = b"a.b.c.\r\n..x\r\n" * 100
    has_ended(Transcript().in_body().client(body + b".\r\n"))
    continues(Transcript().in_body().client(body))


# --- Header and body lines


def test_header_line_of_998_passes_and_of_999_closes() -> None:
    Transcript().in_message().client(b"X: " + b"y" * 995 + b"\r\n")
    Transcript().in_message().client(
        b"X: " + b"y" * 996 + b"\r\n", matched(HEADER_LINE), closes=CloseCause.CLAUSE
    )


def test_length_of_a_folded_header_field_is_limited_line_by_line() -> None:
    Transcript().in_message().client((b"X: " + b"y" * 900 + b"\r\n " + b"z" * 900 + b"\r\n") * 3)


def test_header_line_closes_at_the_byte_that_exceeds_the_limit() -> None:
    talk = Transcript().in_message().client(b"y" * 998)
    talk.client(b"z", matched(HEADER_LINE), closes=CloseCause.CLAUSE)
    Transcript().in_message().client(b"y" * 998).client(b"\r").client(b"\n")
    Transcript().in_message().client(b"y" * 998 + b"\r").client(
        b"y", matched(HEADER_LINE), closes=CloseCause.CLAUSE
    )


def test_stuffed_dot_is_not_counted() -> None:
    Transcript().in_message().client(b".." + b"y" * 997 + b"\r\n")
    Transcript().in_message().client(
        b".." + b"y" * 998 + b"\r\n", matched(HEADER_LINE), closes=CloseCause.CLAUSE
    )
    talk = Transcript().in_message().client(b".").client(b"." + b"y" * 997)
    talk.client(b"y", matched(HEADER_LINE), closes=CloseCause.CLAUSE)


def test_bare_lf_ends_a_line_for_its_length() -> None:
    Transcript().in_message().client((b"y" * 998 + b"\n") * 3)
    Transcript().in_message().client(
        b"y" * 999 + b"\n", matched(HEADER_LINE), closes=CloseCause.CLAUSE
    )


def test_bare_cr_ends_no_line() -> None:
    Transcript().in_message().client(
        b"y" * 500 + b"\r" + b"y" * 500, matched(HEADER_LINE), closes=CloseCause.CLAUSE
    )


def test_header_ends_at_the_first_empty_line() -> None:
    talk = Transcript().in_message().client(b"A: b\r\n\r\n" + b"y" * 5000, matched(BODY_LINE))
    has_ended(talk.client(END))


@pytest.mark.parametrize("empty", [b"\r\n\r\n", b"\n\n", b"\n\r\n", b"\r\n\n"])
def test_empty_line_split_anywhere_ends_the_header(empty: bytes) -> None:
    text = b"A: b" + empty + b"y" * 999
    for cut in range(1, 10):
        talk = Transcript().in_message().client(text[:cut])
        talk.client(text[cut:], matched(BODY_LINE))


@pytest.mark.parametrize("line", [b" ", b"\t", b"\r", b"\0", b"..", b"a"])
def test_other_lines_do_not_end_the_header(line: bytes) -> None:
    Transcript().in_message().client(
        b"A: b\r\n" + line + b"\r\n" + b"y" * 999, matched(HEADER_LINE), closes=CloseCause.CLAUSE
    )


def test_message_that_begins_with_its_empty_line_has_no_header() -> None:
    Transcript().in_message().client(b"\r\n" + b"y" * 999, matched(BODY_LINE))
    Transcript().in_message().client(b"\r").client(b"\n").client(b"y" * 999, matched(BODY_LINE))


def test_header_of_a_body_part_has_the_limit_of_the_body() -> None:
    Transcript().in_body().client(b"--x\r\nA: " + b"y" * 999 + b"\r\n", matched(BODY_LINE))


def test_long_body_line_is_logged_once_per_message_and_counted_once_per_packet() -> None:
    long = b"y" * 999 + b"\r\n"
    talk = Transcript().in_body().client(long + long, matched(BODY_LINE)).client(b"short\r\n")
    talk.client(long, matched(BODY_LINE, log=False)).client(b"y" * 900)
    talk.client(b"y" * 99, matched(BODY_LINE, log=False)).client(b"y" * 9000)
    talk.client(b"\r\n.\r\n").server(b"250 ok\r\n")
    talk.client(b"DATA\r\n").server(b"354 go\r\n")
    talk.client(b"\r\n" + long, matched(BODY_LINE))


def test_body_line_split_at_its_limit_is_measured_correctly() -> None:
    talk = Transcript().in_body().client(b"y" * 998).client(b"\r\n")
    talk.client(b"y" * 998 + b"\r").client(b"\n").client(b"y" * 998).client(
        b"y", matched(BODY_LINE)
    )


def test_violation_drops_its_whole_packet() -> None:
    Transcript().in_message().client(
        b"A: b\r\n" + b"y" * 999 + b"\r\n\r\n.\r\nQUIT\r\n",
        matched(HEADER_LINE),
        closes=CloseCause.CLAUSE,
    ).owes(0)


def test_each_message_has_a_header_of_its_own() -> None:
    talk = Transcript().in_message().client(b"A: b\r\n\r\nc\r\n.\r\n").server(b"250 ok\r\n")
    talk.client(b"DATA\r\n").server(b"354 go\r\n")
    talk.client(b"y" * 999, matched(HEADER_LINE), closes=CloseCause.CLAUSE)


def test_high_bytes_count_as_one_each() -> None:
    Transcript().in_message().client(b"X: " + b"\xff" * 995 + b"\r\n")


# --- The order of clauses

LOG_THEN_DROP = map_with(
    (Criterion.HEADER_LINE_LENGTH, LOG, True, 200), (Criterion.HEADER_LINE_LENGTH, DROP, True, 100)
)
DROP_THEN_LOG = map_with(
    (Criterion.HEADER_LINE_LENGTH, DROP, False, 200), (Criterion.HEADER_LINE_LENGTH, LOG, True, 100)
)


def test_log_clause_before_a_dropping_one_logs() -> None:
    Transcript(LOG_THEN_DROP).in_message().client(
        b"y" * 201,
        matched(1, True, LOG_THEN_DROP),
        matched(2, True, LOG_THEN_DROP),
        closes=CloseCause.CLAUSE,
    )


def test_log_clause_after_a_dropping_one_does_not_log() -> None:
    Transcript(DROP_THEN_LOG).in_message().client(
        b"y" * 201 + b"\r\n", matched(1, False, DROP_THEN_LOG), closes=CloseCause.CLAUSE
    )


def test_log_clause_after_a_dropping_one_logs_for_an_earlier_line() -> None:
    Transcript(DROP_THEN_LOG).in_message().client(
        b"y" * 150 + b"\r\n" + b"y" * 201 + b"\r\n",
        matched(2, True, DROP_THEN_LOG),
        matched(1, False, DROP_THEN_LOG),
        closes=CloseCause.CLAUSE,
    )


def test_clauses_match_in_the_order_of_the_message() -> None:
    backwards = map_with(
        (Criterion.BODY_LINE_LENGTH, DROP, True, 10), (Criterion.HEADER_LINE_LENGTH, LOG, True, 10)
    )
    Transcript(backwards).in_message().client(
        b"y" * 11 + b"\r\n\r\n" + b"z" * 11,
        matched(2, True, backwards),
        matched(1, True, backwards),
        closes=CloseCause.CLAUSE,
    )


def test_filename_before_a_long_line_matches_first() -> None:
    field = b'Content-Type: a/b; name="' + b"n" * 256 + b'"\r\n'
    Transcript().in_message().client(
        field + b"y" * 999 + b"\r\n", matched(FILENAME), closes=CloseCause.CLAUSE
    )
    Transcript().in_message().client(
        b"y" * 999 + b"\r\n" + field, matched(HEADER_LINE), closes=CloseCause.CLAUSE
    )


def test_map_without_clauses_passes_everything() -> None:
    talk = Transcript(map_with()).in_message()
    talk.client(b'Content-Type: a/b; name="' + b"n" * 5000 + b'"\r\n\r\n--x\r\n' + b"y" * 5000)
    has_ended(talk.client(END))


# --- Fast scans compared with simple ones

CORPUS = [
    b"",
    b"a",
    b"\r\n",
    b"\n",
    b".",
    b"..",
    b"-",
    b"--",
    b".--",
    b"\r\n--x\r\n\n.--y\r\n\n-\n--",
    b"a" * 12 + b"\r\n" + b"b" * 10 + b"\r\n",
    b"." + b"a" * 10 + b"\r\n." + b"a" * 11 + b"\r\n",
    b"a" * 10 + b"\r" + b"\n" + b"a" * 10 + b"\r",
    b"a-b.c\r\n" * 60 + b"--d\r\n" + b"e" * 11,
    b"a-b.c\r\n" * 60 + b".--d\r\n.\r\n--",
    base64.b64encode(bytes(range(256)) * 3),
    # Long texts are searched in another way.
    *(
        lead + b"x" * 5000 + tail
        for lead in (b"", b"-a.b\r\n" * 10, b"-a.b\r\n" * 40)
        for tail in (
            b"",
            b"\n--",
            b"\n--a\n--b",
            b"\n.--a\n--b",
            b"\n--a\n.--b",
            b"\n-a\n.-b--",
            b"\n-",
            b".--",
            b"\r\n.\r",
            b"\n.\r\n..\r\n.x\r\n",
        )
    ),
]


@pytest.mark.parametrize("text", CORPUS)
@pytest.mark.parametrize("limit", [1, 9, 10, 11])
def test_first_long_line_is_the_one_that_a_simple_scan_finds(text: bytes, limit: int) -> None:
    wanted = -1
    start = 0
    for line in text.split(b"\n"):
        length = len(line.removesuffix(b"\r")) - line.startswith(b".")
        if length > limit and wanted < 0:
            wanted = start
        start += len(line) + 1
    assert first_long_line(text, 0, len(text), limit) == wanted


@pytest.mark.parametrize("text", CORPUS)
def test_next_boundary_is_the_one_that_a_simple_scan_finds(text: bytes) -> None:
    wanted = -1
    start = 0
    for line in text.split(b"\n"):
        if line.startswith((b"--", b".--")) and wanted < 0:
            wanted = start
        start += len(line) + 1
    assert next_boundary(text, 0, len(text)) == wanted


@pytest.mark.parametrize("text", CORPUS)
def test_end_of_data_is_the_one_that_a_simple_search_finds(text: bytes) -> None:
    for tail in (b"", b"x", b"\r\n.\r\n", b"\r\n.\r\n\r\n.\r\n"):
        whole = text + tail
        plain = whole.find(b"\r\n.\r\n")
        assert end_of_data(whole, 0) == (plain + 5 if plain >= 0 else -1)
