"""What is measured of a message: header, body, fields of its header and of its parts (sections 4, 10)."""

import base64

import pytest

from nfinspect.esmtp.field import encoding, media_types, value_of
from nfinspect.esmtp.filename import filenames, readable_filenames
from nfinspect.esmtp.inspector import Inspector
from nfinspect.esmtp.mailboxes import addresses
from nfinspect.esmtp.structure import FIELD_BOUND
from nfinspect.events import ClauseMatched, CloseCause, Evidence
from nfinspect.policy.conditions import Above, Condition, Expression, Matches, Not, OneOf
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.model import InspectionMap
from tests.unit.esmtp.transcript import DROP, LOG, Transcript, map_with, matched

HEADER = Criterion.HEADER_LENGTH
BODY = Criterion.BODY_LENGTH
TO = Criterion.TO_FIELDS
ENCODING = Criterion.MIME_ENCODING
FILETYPE = Criterion.MIME_FILETYPE


def regex(*patterns: str) -> Matches:
    return Matches("r", tuple(Expression(each, each, each) for each in patterns))


EXE = regex(r"\.exe$")


def logs(*conditions: tuple[Criterion, Condition]) -> InspectionMap:
    """A map with a log clause for each."""
    return map_with(*((criterion, LOG, True, condition) for criterion, condition in conditions))


def found(text: bytes, size: int, criterion: Criterion, condition: Condition) -> list[int]:
    """Where in the message *text*, sent *size* bytes at a time, the clause matches: after how many
    bytes."""
    talk = Transcript(logs((criterion, condition))).in_message()
    inspector: Inspector = talk.inspector
    places = []
    for start in range(0, len(text), size):
        data = text[start : start + size]
        inspector.request(data, len(data), 10**6)
        if any(isinstance(event, ClauseMatched) for event in inspector.events):
            places.append(start + len(data))
        inspector.events.clear()
    return places


# --- Header and body as wholes

END = b".\r\n"


@pytest.mark.parametrize(
    ("text", "header", "body"),
    [
        (b"a: b\r\n\r\nc\r\n", 6, 3),
        (b"a: b\r\n\r\n", 6, 0),
        (b"a: b\r\n", 6, 0),
        (b"", 0, 0),
        (b"\r\n", 0, 0),
        (b"\r\nbody\r\n", 0, 6),
        (b"a: b\n\nc\n\r\n", 5, 4),
        (b"a: b\r\n..c\r\n\r\n..\r\n.d\r\n", 10, 6),
        (b"a\r: b\r\n\r\r\n\r\nc\r\r\n", 10, 4),
        (b"a: b\r\n\r\nc\n.\r\nd\r\n", 6, 2 + 2 + 3),
        (b"a: b\n.\r\nd\r\n", 5, 3),
        (b"a: b\r\n\r\n\r\n\r\n", 6, 4),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_lengths_of_header_and_body(text: bytes, header: int, body: int, size: int) -> None:
    text += END
    for criterion, length in ((HEADER, header), (BODY, body)):
        if length:
            assert found(text, size, criterion, Above(length - 1)), criterion
        assert not found(text, size, criterion, Above(length)), criterion
        assert found(text, size, criterion, Not(Above(length))), criterion
        assert not length or not found(text, size, criterion, Not(Above(length - 1))), criterion


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 6, 9])
def test_length_matches_at_the_byte_that_exceeds(limit: int) -> None:
    body = b".." + b"x" * 3 + b"\r\n" + b"y" * 100  # without the stuffed dot: .xxx
    (place, *_) = found(b"\r\n" + body, 1, BODY, Above(limit))
    counted = body[1:]
    assert place == 2 + 1 + limit + 1
    assert len(counted[: limit + 1]) == limit + 1


def test_header_is_judged_before_the_body_and_each_limit_at_its_place() -> None:
    several = logs(
        (BODY, Above(4)),
        (HEADER, Above(3)),
        (Criterion.BODY_LINE_LENGTH, Above(2)),
        (BODY, Above(1)),
    )
    Transcript(several).in_message().client(
        b"a: b\r\n\r\nccc\r\nd\r\n",
        *(matched(position, True, several) for position in (2, 3, 4, 1)),
    )


def test_several_limits_of_one_criterion_match_each_once() -> None:
    several = logs(*((BODY, Above(limit)) for limit in (30, 10, 20)))
    talk = Transcript(several).in_body()
    talk.client(b"x" * 15, matched(2, True, several))
    talk.client(b"x" * 20, matched(3, True, several), matched(1, True, several))
    talk.client(b"x" * 900)


# --- match not, for lines


def test_not_matches_the_first_finished_line_that_is_not_longer() -> None:
    short = logs((Criterion.BODY_LINE_LENGTH, Not(Above(4))))
    talk = Transcript(short).in_body().client(b"xxxxx\r\nyyyy")
    talk.client(b"z\r\nxxxxx\r\n").client(b"yyyy\r").client(b"\n", matched(1, True, short))


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_empty_line_and_final_dot_are_no_lines(size: int) -> None:
    text = b"a: 123456\r\n\r\n1234567\r\n.\r\n"
    for criterion in (Criterion.HEADER_LINE_LENGTH, Criterion.BODY_LINE_LENGTH):
        assert not found(text, size, criterion, Not(Above(5)))
        assert found(text, size, criterion, Not(Above(9)))


# --- To fields


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (b"a@b", 1),
        (b"", 1),
        (b" ,, ,", 1),
        (b"a@b, c@d", 2),
        (b'"Doe, John" <a@b>, (c, d) e@f', 2),
        (b'"Doe \\", J" <a@b>', 1),
        (b"<@a,@b:c@d>", 1),
        (b"friends: a@b, c@d;, e@f", 3),
        (b"undisclosed-recipients:;", 1),
        (b"a@b,\r\n\tc@d,\r\n. e@f", 3),
        (b"=?utf-8?q?a=2C_b?= <a@b>", 1),
        (b'"never ends <a@b>, <c@d>', 1),
        (b"<never ends, a@b", 1),
    ],
)
def test_addresses_are_counted(value: bytes, count: int) -> None:
    assert addresses(b"To: " + value + b"\r\n") == count


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_addresses_of_all_to_fields_count(size: int) -> None:
    text = b"To: a@b, c@d\r\nto : e@f\r\nCc: g@h\r\nX-To: i@j\r\nTo: k@l\r\n\r\nTo: m@n\r\n.\r\n"
    assert found(text, size, TO, Above(3))
    assert not found(text, size, TO, Above(4))
    assert found(text, size, TO, Not(Above(4)))
    assert not found(text, size, TO, Not(Above(3)))


def test_mail_without_a_to_field_has_none() -> None:
    assert found(b"a: b\r\n\r\n.\r\n", 1000, TO, Not(Above(1)))


# --- Encodings


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (b" base64", b"base64"),
        (b"BASE64 ", b"base64"),
        (b'"base64"', b"base64"),
        (b"(a comment) 7bit (another)", b"7bit"),
        (b"\r\n 8bit", b"8bit"),
        (b"quoted-printable; x=y", b"quoted-printable"),
        (b"x-uuencode", b"others"),
        (b"base65", b"others"),
        (b"", b"others"),
        (b"binary", b"binary"),
    ],
)
def test_word_of_an_encoding(value: bytes, word: bytes) -> None:
    field = b"Content-Transfer-Encoding:" + value + b"\r\n"
    assert encoding(value_of(field)) == word


PARTS = (
    b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
    b"preamble\r\n--b\r\nContent-Type: text/plain\r\n\r\ntext\r\n--b\r\n"
    b"Content-Transfer-Encoding: BASE64\r\n\r\nYQ==\r\n--b--\r\n.\r\n"
)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_encodings_of_the_mail_and_of_its_parts(size: int) -> None:
    assert found(PARTS, size, ENCODING, OneOf(("7bit",)))
    assert found(PARTS, size, ENCODING, OneOf(("base64", "binary")))
    assert not found(PARTS, size, ENCODING, OneOf(("quoted-printable", "others")))
    assert found(PARTS, size, ENCODING, Not(OneOf(("7bit", "8bit"))))
    assert not found(PARTS, size, ENCODING, Not(OneOf(("7bit", "base64"))))
    # A part that declares none has none.
    assert not found(b"a: b\r\n\r\n.\r\n", size, ENCODING, Not(OneOf(("base64",))))


# --- File types


@pytest.mark.parametrize(
    ("value", "types"),
    [
        (b" application/pdf; name=x", [b"application/pdf"]),
        (b" Application / PDF", [b"Application/PDF", b"application/pdf"]),
        (b'"text/plain"', [b"text/plain"]),
        (b"text(c)/(d)plain", [b"text/plain"]),
        (b"", []),
        (b"; name=x", []),
    ],
)
def test_declared_type(value: bytes, types: list[bytes]) -> None:
    assert media_types(value_of(b"Content-Type:" + value + b"\r\n")) == types


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (b'filename="a.exe"', b"a.exe"),
        (b"filename*=utf-8''%61.ex%65", b"a.exe"),
        (b"filename*1*=.exe; filename*0*=utf-8'en'%61", b"a.exe"),
        (b"filename*2=e; filename*10=X; filename*1=.ex; filename*0=a", b"a.exeX"),
        (b'filename="=?utf-8?B?' + base64.b64encode(b"a.exe") + b'?="', b"a.exe"),
        (b'filename="=?utf-8?q?a?= =?utf-8?q?=2eexe?="', b"a.exe"),
        (b"filename=(x)a.exe", b"a.exe"),
    ],
)
def test_readings_of_a_filename(parameters: bytes, name: bytes) -> None:
    assert name in filenames(b"Content-Disposition: attachment; " + parameters + b"\r\n")


def test_sections_of_two_parameters_are_read_apart() -> None:
    field = b"Content-Type: a/b; name*0=a; filename*0=b; name*1=.txt; filename*1=.exe\r\n"
    assert {b"a.txt", b"b.exe", b"ab.txt.exe"} <= set(filenames(field))


@pytest.mark.parametrize(
    "parameter",
    [
        b"filename*=UTF-16LE''" + b"".join(b"%%%02x" % byte for byte in "a.exe".encode("utf-16le")),
        b'filename="=?utf-16?B?' + base64.b64encode("a.exe".encode("utf-16")) + b'?="',
        b'filename="=?UTF-7*en?Q?a.+AGU-xe?="',
    ],
)
def test_name_in_a_charset_that_hides_letters_is_read(parameter: bytes) -> None:
    assert b"a.exe" in readable_filenames(b"Content-Disposition: a; " + parameter + b"\r\n")


def test_name_that_its_charset_does_not_allow_is_no_error() -> None:
    readable_filenames(b"Content-Disposition: a; filename*=utf-16''%ff\r\n")
    readable_filenames(b"Content-Disposition: a; filename*=utf-7''+%ff-\r\n")


def attached(field: bytes) -> bytes:
    return b"\r\n--b\r\n" + field + b"\r\n\r\nx\r\n--b--\r\n.\r\n"


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_type_is_told_by_declaration_and_by_name(size: int) -> None:
    program = attached(b"Content-Type: application/x-msdownload; name=setup.exe")
    pdf = attached(b"Content-Type: application/pdf;\r\n name=a.pdf")
    assert found(program, size, FILETYPE, EXE)
    assert found(program, size, FILETYPE, regex("^application/x-ms"))
    assert not found(program, size, FILETYPE, Not(regex("x-msdownload")))
    assert not found(pdf, size, FILETYPE, EXE)
    assert found(pdf, size, FILETYPE, Not(EXE))
    assert found(attached(b"Content-Disposition: a; filename=B.exe"), size, FILETYPE, EXE)
    assert not found(attached(b"Content-Disposition: inline"), size, FILETYPE, Not(EXE))


# --- Structure: nothing hides a part

NAME = b"Content-Disposition: attachment; filename=a.exe\r\n"
PART = NAME + b"\r\nx\r\n"
TOP = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


@pytest.mark.parametrize(
    "text",
    [
        TOP + b"--b\r\n" + PART,
        TOP + b"--b \t\r\n" + PART,
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n' + PART,
        b"Content-Type: multipart/mixed\r\n\r\n--missing\r\n" + PART,
        b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n--b\r\n" + PART,
        TOP + b"--bb\r\n" + PART,
        TOP + b"--b--\r\n--b\r\n" + PART,
        b"Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + PART,
        b"\r\n--b\r\n" + PART,
        # Within each other, deeper than anybody goes
        TOP + b"".join(b"--%d\r\nContent-Type: multipart/x;boundary=%d\r\n\r\n" % (n, n + 1)
                       for n in range(200)) + b"--200\r\n" + PART,
        TOP + b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + NAME + b"\r\n",
        TOP + b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n" + TOP + b"--b\r\n" + PART,
        b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n" + NAME + b"\r\n",
        # Broken headers
        b"Content-Type: multipart/mixed; boundary=b\r\nno field\r\n--b\r\n" + PART,
        b"Content-Type: multipart/digest; boundary=b\r\nno field\r\n--b\r\n\r\n" + NAME + b"\r\n",
        TOP + b"--b\r\nno field\r\n" + PART,
        TOP + b"--b\r\n: no name\r\n" + PART,
        TOP + b"--b\r\nContent-Disposition\r\n" + PART,
        TOP + b"--b\r\nContent-Disposition: inline; filename=a.txt\r\n" + PART,
        # Bare line feeds, stuffed dots
        TOP.replace(b"\r", b"") + b"--b\n" + PART.replace(b"\r", b""),
        TOP + b".--b\r\n." + PART,
        # Folding
        TOP + b"--b\r\nContent-Disposition:\r\n attachment;\r\n\tfilename\r\n =\r\n a.exe\r\n\r\n",
    ],
)  # fmt: skip
def test_part_is_found_wherever_it_is_cut(text: bytes) -> None:
    text += b".\r\n"
    places = found(text, 10**6, FILETYPE, EXE)
    assert places == [len(text)]
    talk_map = logs((FILETYPE, EXE))
    step = 1 if len(text) < 1000 else 211
    for cut in range(1, len(text), step):
        inspector = Transcript(talk_map).in_message().inspector
        seen = []
        for data in (text[:cut], text[cut:]):
            inspector.request(data, len(data), 10**6)
            seen += [event for event in inspector.events if isinstance(event, ClauseMatched)]
            inspector.events.clear()
        assert len(seen) == 1, text[:cut]


@pytest.mark.parametrize(
    "text",
    [
        b"Subject: x\r\n\r\n" + NAME,
        TOP + b"--b\r\nContent-Type: text/plain\r\n\r\n" + NAME,
        b"X-" + NAME + b"\r\n",
        b"Subject:\r\n " + NAME + b"\r\n",
        TOP + b"- -b\r\n" + PART,
        TOP + b" --b\r\n" + PART,
    ],
)
def test_text_is_no_field(text: bytes) -> None:
    assert not found(text + b".\r\n", 10**6, FILETYPE, EXE)


# --- What a finding says, and what is not asked for


def test_evidence() -> None:
    talk = Transcript(logs((FILETYPE, EXE), (ENCODING, OneOf(("others",))), (TO, Above(1))))
    talk.in_message()
    text = b"To: a@b,c@d\r\n" + NAME + b"Content-Transfer-Encoding: x-odd\r\n\r\n"
    talk.inspector.request(text, len(text), 10**6)
    events = [each for each in talk.inspector.events if isinstance(each, ClauseMatched)]
    assert [each.evidence for each in events] == [
        Evidence("To field", b"", 2, 1),
        Evidence("file type", b"a.exe", 0, 0),
        Evidence("encoding", b"x-odd", 0, 0),
    ]


def test_clause_that_drops_ends_the_evaluation() -> None:
    drop = map_with((FILETYPE, DROP, True, EXE), (FILETYPE, LOG, True, regex(".")))
    Transcript(drop).in_message().client(
        NAME + b"\r\n", matched(1, True, drop), closes=CloseCause.CLAUSE
    )


@pytest.mark.parametrize("criterion", [Criterion.BODY_LINE_LENGTH, BODY])
def test_map_that_does_not_ask_for_parts_keeps_no_field(criterion: Criterion) -> None:
    talk = Transcript(logs((criterion, Above(10**6)))).in_message()
    talk.client(b"Content-Type: a/b")
    assert talk.inspector.kept == 0
    asking = Transcript(logs((ENCODING, OneOf(("others",))))).in_message()
    asking.client(b"Content-Type: a/b")
    assert asking.inspector.kept == 17


@pytest.mark.parametrize("name", [b"Type", b"Disposition", b"Transfer-Encoding"])
def test_field_beyond_the_bound_meets_every_clause_about_it(name: bytes) -> None:
    criterion = ENCODING if name == b"Transfer-Encoding" else FILETYPE
    conditions: tuple[Condition, ...] = (EXE, Not(EXE))
    if criterion is ENCODING:
        conditions = (OneOf(("7bit",)), Not(OneOf(("7bit",))))
    text = b"Content-" + name + b": x\r\n" + (b" (" + b"c" * 900 + b")\r\n") * 80
    for condition in conditions:
        (place,) = found(text, 500, criterion, condition)
        assert FIELD_BOUND < place <= FIELD_BOUND + 500
