"""Filenames in MIME header fields (section 10; RFC 2045, 2047, 2183, 2231)."""

import base64
import time

import pytest

from nfinspect.esmtp.field import without_comments
from nfinspect.esmtp.filename import filename_length
from nfinspect.esmtp.structure import FIELD_BOUND
from nfinspect.events import CloseCause
from nfinspect.policy.criteria import Criterion
from tests.unit.esmtp.transcript import (
    DROP,
    FILENAME,
    LOG,
    Transcript,
    map_with,
    matched,
)

D = b"Content-Disposition: attachment"
T = b"Content-Type: application/pdf"


@pytest.mark.parametrize(
    ("field", "length"),
    [
        # Plain forms
        (D + b"\r\n", 0),
        (D + b'; filename="a.pdf"\r\n', 5),
        (D + b"; filename=a.pdf\r\n", 5),
        (D + b"; filename=a.pdf; size=10\r\n", 5),
        (D + b'; filename=""\r\n', 0),
        (T + b'; name="a.pdf"\r\n', 5),
        (T + b"; charset=x; name=a.pdf\r\n", 5),
        (b"CONTENT-DISPOSITION:ATTACHMENT;FILENAME=a.pdf\r\n", 5),
        (b"Content-Disposition : attachment ; filename = a.pdf\r\n", 5),
        (b'Content-Disposition: attachment;\tfilename\t=\t"a.pdf"\r\n', 5),
        (b'Content-Disposition: ; filename="a.pdf"\r\n', 5),
        (b"Content-Disposition: filename=a.pdf\r\n", 5),
        (b"Content-Disposition: attachment filename=a.pdf\r\n", 5),
        # Quoting
        (D + rb'; filename="a\"b\\c"' + b"\r\n", 5),
        (D + b'; filename="a;b; c"\r\n', 6),
        (D + b'; filename="never ends\r\n', 10),
        (D + b"; filename=two words.pdf; x=y\r\n", 13),
        (D + b'; filename="a"b.pdf\r\n', 6),
        (D + b'; x="; filename=long.pdf"; filename=a\r\n', 1),
        (D + b"; filename='a'\r\n", 3),
        # Comments
        (D + b'; (a comment) filename (b) = (c (d) \\) e) "a.pdf"\r\n', 5),
        (D + b'; filename="a.pdf" (a comment)\r\n', 5),
        (D + b"; filename=Report (1).pdf\r\n", 14),
        (D + b'; filename=(never ends "a.pdf"\r\n', 19),
        (D + b"; file(c)name=(d)a\r\n", 4),
        # Folding
        (D + b';\r\n filename="a.pdf"\r\n', 5),
        (D + b';\r\n\tfilename="a\r\n b.pdf"\r\n', 7),
        (D + b";\n filename=a.pdf\n", 5),
        (b".Content-Disposition: a;\r\n. filename=a.pdf\r\n", 5),
        (b"Content-Disposition:\r\n attachment;\r\n filename\r\n =\r\n a.pdf\r\n", 5),
        # RFC 2231
        (D + b"; filename*=utf-8''%e2%82%ac.pdf\r\n", 7),
        (D + b"; filename*=utf-8'en'a%20b\r\n", 3),
        (D + b"; filename*=a%20b\r\n", 3),
        (D + b"; filename*=''%zz%4\r\n", 5),
        (D + b'; filename*0="ab"; filename*1="cd"\r\n', 4),
        (D + b"; filename*1=cd; filename*0=ab\r\n", 4),
        (D + b"; filename*0*=utf-8''a%20; filename*1*=b%20; filename*2=c%20\r\n", 8),
        (D + b"; filename *0* = ''ab;\r\n filename * 1 * = %63\r\n", 3),
        (T + b"; name*0*=us-ascii''a%41; name*1=b\r\n", 3),
        (D + b"; filename=short; filename*=''longer.pdf\r\n", 10),
        # RFC 2047
        (D + b'; filename="=?utf-8?B?' + base64.b64encode(b"name.pdf") + b'?="\r\n', 8),
        (D + b"; filename==?iso-8859-1?Q?a=20b_c?=\r\n", 5),
        (D + b'; filename="=?utf-8?q?ab?= =?utf-8?q?cd?="\r\n', 4),
        (D + b'; filename="=?utf-8?q?ab?=\r\n =?utf-8?b?Y2Q=?="\r\n', 4),
        (D + b'; filename="x =?utf-8?q?ab?= y"\r\n', 6),
        (D + b'; filename="=?utf-8?q?ab"\r\n', 12),
        (D + b'; filename="=?utf-8?B?!!!?="\r\n', 0),
        (D + b'; filename="=?utf-8?B?YWJ?="\r\n', 2),
        (D + b'; filename="=?utf-8?X?ab?="\r\n', 14),
        (b"Content-Disposition: =?utf-8?Q?attachment=3B_filename=3Da.pdf?=\r\n", 5),
        (D + b"; =?utf-8?B?" + base64.b64encode(b"filename=a.pdf") + b"?=\r\n", 5),
        # Bytes, not characters
        (D + "; filename=\u20ac.pdf\r\n".encode(), 7),
        # The longest of several
        (T + b"; name=a; name=abc; name=ab\r\n", 3),
        (D + b'; name="form"; filename="a"\r\n', 4),
        (D + b"; xfilename=abc; x-name=abc; rename=abc\r\n", 0),
    ],
)
def test_filename_length_is_measured_as_decoded(field: bytes, length: int) -> None:
    assert filename_length(field) == length


@pytest.mark.parametrize(
    ("text", "without"),
    [
        (b"a", b"a"),
        (b"a(b)c", b"a c"),
        (b"a((b)c)d", b"a d"),
        (b'"(a)"(b)', b'"(a)" '),
        (rb'"\"(a)"', rb'"\"(a)"'),
        (rb"(a\)b)c", b" c"),
        (b"a(b", b"a(b"),
        (b")", b")"),
        (b"(\\", b"(\\"),
    ],
)
def test_comments_are_replaced_by_blanks(text: bytes, without: bytes) -> None:
    assert without_comments(text) == without


@pytest.mark.parametrize(
    "text",
    [
        b"; name" + b" " * 60000,
        b"; name" + b"* " * 30000,
        b";name=" * 10000,
        b'"' * 60000,
        b"(" * 60000,
        b"()" * 30000,
        b"name=(" * 10000,
        b"=?" * 30000,
        b"name==?q?q?" * 5000,
        b"?= " * 20000,
        b"?=" + b" " * 60000,
        b"\\" * 60000,
        b"name*0" * 10000,
        b"\r\n." * 20000,
    ],
)
def test_hostile_field_is_measured_in_linear_time(text: bytes) -> None:
    started = time.process_time()
    filename_length(T + text)
    assert time.process_time() - started < 1  # quadratic time would be minutes


# --- In a message

LONG = b"n" * 256
FITS = b"n" * 255


def closing(talk: Transcript, text: bytes) -> None:
    """The packet *text* matches the filename clause and closes the connection."""
    talk.client(text, matched(FILENAME), closes=CloseCause.CLAUSE)


def test_filename_of_255_passes_and_of_256_closes() -> None:
    end = b'"\r\n\r\n'
    Transcript().in_message().client(D + b'; filename="' + FITS + end)
    closing(Transcript().in_message(), D + b'; filename="' + LONG + end)
    Transcript().in_message().client(T + b'; name="' + FITS + end)
    closing(Transcript().in_message(), T + b'; name="' + LONG + end)


def test_other_field_is_not_inspected() -> None:
    for name in (b"X-Content-Disposition", b"Content-Description", b"Content-Typ", b"Subject"):
        Transcript().in_message().client(name + b": a; filename=" + LONG + b"\r\n\r\n")


def test_field_name_in_a_folded_line_is_not_a_field() -> None:
    Transcript().in_message().client(
        b"DKIM-Signature: h=a;\r\n Content-Disposition: x; filename=" + LONG + b"\r\n\r\n"
    )


@pytest.mark.parametrize(
    "lead",
    [
        b"--b\r\n",
        b"text\r\n--b\r\n",
        b".--b\r\n",
        b"--\r\n",
        b"----=_Part\r\nContent-ID: <x>\r\n",
        b"--b\r\nContent-Type: text/plain;\r\n",
        b"text\n--b\n",
    ],
)
def test_field_in_a_body_part_closes(lead: bytes) -> None:
    text = lead + D + b"; filename=" + LONG + b"\r\n\r\n"
    closing(Transcript().in_body(), text)
    for cut in range(1, len(lead) + len(D) + 1):
        talk = Transcript().in_body().client(text[:cut])
        closing(talk, text[cut:])


def test_field_in_the_text_of_a_body_is_not_inspected() -> None:
    Transcript().in_body().client(b"Look:\r\n" + D + b"; filename=" + LONG + b"\r\n\r\n")
    Transcript().in_body().client(
        b"--b\r\nContent-Type: text/plain\r\n\r\n" + D + b"; filename=" + LONG + b"\r\n\r\n"
    )


@pytest.mark.parametrize(
    "lead",
    [
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n",
        b'--b\r\ncontent-type:\r\n (x) "message"/rfc822\r\n\r\nSubject: x\r\n',
        b"--b\r\nContent-Type: MESSAGE/RFC822\r\n\r\nContent-Type: message/global\r\n\r\n",
        b"--b\r\n\r\nSubject: of a digest\r\n",
        b"--b\r\nContent-Type: text/plain\r\n--b\r\n\r\nSubject: of a digest\r\n",
    ],
)
def test_field_in_an_embedded_message_closes(lead: bytes) -> None:
    text = lead + D + b"; filename=" + LONG + b"\r\n\r\n"
    closing(Transcript().in_body(), text)
    for cut in range(1, len(lead)):
        closing(Transcript().in_body().client(text[:cut]), text[cut:])


def test_message_of_type_message_rfc822_has_a_second_header() -> None:
    talk = Transcript().in_message().client(b"Content-Type: message/rfc822\r\n\r\n")
    closing(talk, b"Subject: x\r\n" + D + b"; filename=" + LONG + b"\r\n\r\n")


def test_field_is_evaluated_when_the_next_line_does_not_continue_it() -> None:
    text = D + b"; filename=" + LONG + b"\r\n"
    for follows in (b"X", b"\r", b".\r", b"..", b"-", b"\n"):
        talk = Transcript().in_message().client(text)
        closing(talk, follows)


def test_field_includes_folded_lines_even_dot_stuffed_ones() -> None:
    for fold in (b"\r\n ", b"\r\n\t", b"\r\n. ", b"\n.\t"):
        text = D + b";" + fold + b"filename*0=" + b"n" * 200 + b";" + fold + b"filename*1="
        text += b"n" * 56 + b"\r\nX"
        closing(Transcript().in_message(), text)
        for cut in range(1, len(text)):
            closing(Transcript().in_message().client(text[:cut]), text[cut:])


def test_field_typed_byte_by_byte_closes_before_the_final_dots_line_end() -> None:
    text = D + b"; filename=" + LONG + b"\r\n."
    talk = Transcript().in_message()
    for byte in text:
        talk.client(bytes([byte]))
    closing(talk, b"\r")


def test_field_at_the_end_of_the_message_closes() -> None:
    closing(Transcript().in_message(), D + b"; filename=" + LONG + b"\r\n.\r\nQUIT\r\n")


def test_field_beyond_the_bound_counts_as_too_long() -> None:
    talk = Transcript().in_message()
    line = b" (" + b"c" * 900 + b")\r\n"
    talk.client(D + b";\r\n")
    for _ in range(FIELD_BOUND // len(line) - 1):
        talk.client(line)
    talk.client(line)
    closing(talk, line)


def test_long_field_of_another_name_is_ignored() -> None:
    talk = Transcript().in_message().client(b"References:\r\n")
    for _ in range(100):
        talk.client(b" <" + b"r" * 900 + b">\r\n")
    closing(talk, D + b"; filename=" + LONG + b"\r\n\r\n")


def test_blanks_after_the_field_name_hide_nothing() -> None:
    for blanks in (1, 10, 50, 900):
        text = b"Content-Type" + b" " * blanks + b": a/b; name=" + b"n" * 50 + b"\r\n"
        text = text[:-2] + b";\r\n name=" + LONG + b"\r\n\r\n"
        closing(Transcript().in_message(), text)
        for cut in (5, 12, 13, 20, 40, 60):
            closing(Transcript().in_message().client(text[:cut]), text[cut:])


def test_log_clause_logs_once_per_mail() -> None:
    logs = map_with((Criterion.MIME_FILENAME_LENGTH, LOG, True, 10))
    field = D + b"; filename=elevenbytes\r\n"
    talk = Transcript(logs).in_message().client(field + b"X: y\r\n", matched(1, True, logs))
    talk.client(field + b"X: y\r\n", matched(1, False, logs)).client(b"\r\n.\r\n")
    talk.server(b"250 ok\r\n").client(b"DATA\r\n").server(b"354 go\r\n")
    talk.client(field + field + b"\r\n", matched(1, True, logs))


def test_clauses_with_different_limits_match_in_order() -> None:
    several = map_with(
        (Criterion.MIME_FILENAME_LENGTH, LOG, True, 5),
        (Criterion.MIME_FILENAME_LENGTH, DROP, False, 10),
    )
    talk = Transcript(several).in_message()
    talk.client(D + b"; filename=sixsix\r\nX", matched(1, True, several))
    talk.client(
        b"\r\n" + D + b"; filename=elevenbytes\r\nX",
        matched(1, False, several),
        matched(2, False, several),
        closes=CloseCause.CLAUSE,
    )
