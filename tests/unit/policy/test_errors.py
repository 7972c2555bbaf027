"""Faulty configurations: where the error is, what it is, and what was expected."""

import pytest

from nfinspect.policy import ConfigurationError, Finding, decode, parse_policy
from nfinspect.policy.errors import MAX_ERRORS
from nfinspect.policy.grammar import GLOBAL as GLOBAL_MODE
from nfinspect.policy.reader import SYNTAX

GLOBAL = SYNTAX[GLOBAL_MODE].first_words
IN_MAP = tuple(dict.fromkeys(("description", "parameters", "match", "class", *GLOBAL)))


def error_of(text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text, "a.cfg")
    return caught.value


def places(text: str) -> list[tuple[int, int, str]]:
    return [(f.line, f.column, f.message) for f in error_of(text).findings]


def only(text: str) -> Finding:
    (finding,) = error_of(text).findings
    return finding


def test_mistyped_keyword_where_a_name_is_possible_is_reported_as_mistyped() -> None:
    finding = only("policy-map tyep inspect esmtp m\n parameters\n  mask-banner\n")
    assert (finding.column, finding.message, finding.suggestion) == (
        12,
        "unexpected 'tyep'",
        "type",
    )
    finding = only("policy-map mail inspect esmtp m\n")
    assert (finding.column, finding.message) == (17, "unexpected 'inspect'")


def test_error_prints_position_message_expectation_line_and_caret() -> None:
    text = "policy-map type inspect esmtp m\n match cmd line\tlenth gt 5\n"
    assert str(error_of(text)) == (
        "a.cfg:2:17: unexpected 'lenth'; expected length\n"
        "   match cmd line lenth gt 5\n"
        "                  ^"
    )


@pytest.mark.parametrize(
    ("line", "column", "message", "expected"),
    [
        # (a line of a map, the column of the error, the message, what was expected)
        ("match", 6, "the line is incomplete", None),
        ("match cmd line length gt", 25, "the line is incomplete", None),
        ("match cmd line length 5", 23, "unexpected '5'", ("gt",)),
        ("match cmd line length gt 5 log", 28, "unexpected 'log'", ("the end of the line",)),
        (
            "match cmd line length gt 0",
            26,
            "'0': out of range",
            ("a number from 1 to 2147483647",),
        ),
        (
            "match cmd line length gt 2147483648",
            26,
            "'2147483648': out of range",
            ("a number from 1 to 2147483647",),
        ),
        (
            "match cmd RCPT count gt 65536",
            25,
            "'65536': out of range",
            ("a number from 1 to 65535",),
        ),
        (
            "match cmd RCPT count gt -1",
            25,
            "'-1': not a number",
            ("a number from 1 to 65535",),
        ),
        ("match cmd RCPT count gt ٣", 25, "'٣': not a number", ("a number from 1 to 65535",)),
        ("match ehlo-reply-parameter chunking", 28, "unexpected 'chunking'", None),
        ("mask-banner", 1, "unexpected 'mask-banner', which belongs below parameters", IN_MAP),
        (
            "log",
            1,
            "unexpected 'log', which belongs below match",
            IN_MAP,
        ),
        ("parameters now", 12, "unexpected 'now'", ("the end of the line",)),
        ("description", 12, "the line is incomplete", ("a text of at most 200 characters",)),
        ("exit now", 6, "unexpected 'now'", ("the end of the line",)),
        (
            "class x",
            1,
            "there are no classes for esmtp: an inspection map has match lines only",
            (),
        ),
    ],
)
def test_error_is_reported_at_the_first_wrong_word(
    line: str, column: int, message: str, expected: tuple[str, ...] | None
) -> None:
    finding = only(f"policy-map type inspect esmtp m\n{line}\n")
    assert (finding.line, finding.column, finding.message) == (2, column, message)
    if expected is not None:
        assert finding.expected == expected
    assert finding.text == line


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("mask-banner x", 13),
        ("allow-tls action", 17),
        ("allow-tls log", 11),
        ("server-anomaly", 15),
        ("server-anomaly reset", 16),
        ("incomplete-command close", 20),
        ("pipe-character mask", 16),
        ("unseen-data log", 13),
        ("midstream-pickup 86401", 18),
        ("no pipe-character", 4),
        ("mail-relay example.org", 23),
        ("special-character log", 19),
        ("bare-newline", 13),
    ],
)
def test_faulty_parameter_is_reported_at_the_wrong_word(line: str, column: int) -> None:
    finding = only(f"policy-map type inspect esmtp m\nparameters\n{line}\n")
    assert (finding.line, finding.column) == (3, column)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("parametres", "parameters"),
        ("mask-baner", "mask-banner"),
        ("polcy-map type inspect esmtp x", "policy-map"),
        ("match header line lenght gt 5", ""),  # only one word is possible, and "expected" names it
        ("match sender-adress length gt 5", "sender-address"),
        ("match sender\N{EN DASH}address length gt 5", "sender-address"),
        ("snmp-server", ""),
    ],
)
def test_known_word_is_suggested_for_a_similar_one(line: str, meant: str) -> None:
    sentence = only(f"policy-map type inspect esmtp m\n{line}\n").sentence
    assert sentence.partition("; did you mean ")[2] == (f"{meant}?" if meant else "")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "policy-map type inspect esmtp m\n match cmd line length gt 5\n",
            [(2, 2, "the match has no action")],
        ),
        (
            "policy-map type inspect esmtp m\n match cmd line length gt 5\n  log\n  mask\n",
            [
                (4, 3, "the match in line 2 already has an action"),
                (4, 3, "mask is not allowed for cmd line length"),
            ],
        ),
        (
            "policy-map type inspect esmtp m\n match cmd line length gt 5\n  log\n"
            " match cmd line length gt 05\n  drop-connection\n",
            [(4, 2, "line 2 already has the same match")],
        ),
        (
            "policy-map type inspect esmtp m\npolicy-map m\n",
            [(2, 12, "'m' is already defined in line 1")],
        ),
        (
            "policy-map m\npolicy-map type inspect esmtp m\n",
            [(2, 31, "'m' is already defined in line 1")],
        ),
        (
            "class-map c\n match default-inspection-traffic\nclass-map c\n match any\n",
            [(4, 2, "this class-map already has a match, in line 2")],
        ),
        (
            "class-map c\n match default-inspection-traffic\n match default-inspection-traffic\n",
            [(3, 2, "this class-map already has a match, in line 2")],
        ),
        (
            "policy-map p\n class inspection_defualt\nservice-policy p global\n",
            [(2, 8, "class-map 'inspection_defualt' is not defined")],
        ),
        (
            "policy-map global_policy\n class inspection_default\n  inspect esmtp mali\n",
            [(3, 17, "policy-map type inspect esmtp 'mali' is not defined")],
        ),
        (
            "policy-map p\n class inspection_default\n  inspect esmtp\n  inspect esmtp\n",
            [(4, 11, "this class already has an inspect esmtp, in line 3")],
        ),
        ("service-policy p global\n", [(1, 16, "policy-map 'p' is not defined")]),
        (
            "policy-map p\nservice-policy p global\nservice-policy p global\n",
            [(3, 16, "there is already a global service-policy, in line 2")],
        ),
        (
            "policy-map p\nservice-policy p interface a\nservice-policy p interface a\n",
            [(3, 16, "there is already a service-policy for interface a, in line 2")],
        ),
        (
            "policy-map type inspect esmtp m\n",
            [(1, 31, "no class uses the map 'm'")],
        ),
        ("policy-map p\n", [(1, 12, "policy-map 'p' is not applied")]),
        (
            f"policy-map type inspect esmtp {'n' * 41}\n",
            [(1, 31, f"'{'n' * 41}': the name is too long")],
        ),
        (
            f"policy-map type inspect esmtp m\n description {'d' * 201}\n",
            [(2, 14, f"'{'d' * 57}...': the text is too long")],
        ),
    ],
)
def test_contradiction_is_reported_where_it_arises(
    text: str, found: list[tuple[int, int, str]]
) -> None:
    assert places(text) == found


def test_name_of_40_and_description_of_200_characters_are_accepted() -> None:
    name = "n" * 40
    text = f"policy-map type inspect esmtp {name}\n description {'d' * 200}\n"
    text += f"policy-map global_policy\n class inspection_default\n  inspect esmtp {name}\n"
    (inspection,) = parse_policy(text, "a.cfg").policy.inspections
    assert (inspection.map.name, len(inspection.map.description)) == (name, 200)


def test_defined_name_is_suggested_for_a_similar_one() -> None:
    text = "policy-map p\n class inspection_defualt\nservice-policy p global\n"
    assert only(text).suggestion == "inspection_default"


def test_every_faulty_line_is_reported_without_consequential_errors() -> None:
    text = """policy-map type inspect esmtp m
 parametrs
  mask-banner
 match cmd line lenght gt 5
  drop-connection log
 match header line length gt 5
  logg
policy-map type inspect http h
 parameters
  protocol-violation action log
 match request method get
  reset
class-map inspection_default
 match port tcp eq 25
policy-map global_policy
 clas inspection_default
  inspect esmtp m
service-policy global_policy globl
"""
    assert [(line, column) for line, column, _ in places(text)] == [
        (2, 2),
        (4, 17),
        (7, 3),
        (16, 2),
        (18, 30),
    ]


def test_errors_beyond_the_bound_are_omitted() -> None:
    lines = str(error_of("x\n" * 1000)).splitlines()
    assert len(lines) == 3 * MAX_ERRORS + 1
    assert lines[-1] == "a.cfg: 1000 errors, of which the first 20 are shown"
    lines = str(error_of("x\n" * MAX_ERRORS)).splitlines()
    assert len(lines) == 3 * MAX_ERRORS


@pytest.mark.parametrize(
    ("text", "line", "column", "character"),
    [
        ("\n class-map\xa0c\n", 2, 11, "U+00A0"),
        ("class-map c\0\n", 1, 12, "U+0000"),
        ("class-map c\rmatch\n", 1, 12, "U+000D"),
        ("class-map c\n\tmatch\x1b[2J\n", 2, 7, "U+001B"),
        ("class-map \u202ec\n", 1, 11, "U+202E"),
        ("class-map \ud800\n", 1, 11, "U+D800"),
    ],
)
def test_invisible_character_is_an_error_and_is_not_printed(
    text: str, line: int, column: int, character: str
) -> None:
    error = error_of(text)
    found = error.findings[0]
    assert (found.line, found.column) == (line, column)
    assert found.message == f"unexpected character {character}"
    assert str(error).replace("\n", "").isprintable()


def test_line_longer_than_the_bound_is_an_error_at_its_end() -> None:
    assert places(f"class-map {'x ' * 495}") == [(1, 13, "unexpected 'x'")]
    text = f"class-map {'x ' * 496}"
    assert places(text) == [(1, 1001, "the line is longer than 1000 characters")]
    assert str(error_of(text)).splitlines()[2].endswith(" ^")


def test_invisible_character_in_a_comment_is_ignored() -> None:
    parse_policy("! \0 \x1b \xa0\n: \ud800", "a.cfg")


def test_long_line_is_cropped_around_its_error() -> None:
    text = f"policy-map type inspect esmtp m\n match {'x' * 400} {'y' * 400}\n"
    _, line, caret = str(error_of(text)).splitlines()
    assert len(line) <= 102
    assert line[caret.index("^")] == "x"
    assert line[caret.index("^") - 1] == " "


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (b"! ok\n! K\xf6ln\r\n", (2, 4), "byte 0xf6 is not valid UTF-8"),
        ("! ü\n! ü".encode() + b"\xff", (2, 4), "byte 0xff is not valid UTF-8"),
        (b"\xef\xbb\xbfclass\xc3", (1, 6), "byte 0xc3 is not valid UTF-8"),
        ("! x\n".encode("utf-16"), (1, 1), "the file is UTF-16; save it as UTF-8"),
    ],
)
def test_bytes_that_are_not_utf_8_are_an_error_at_their_position(
    data: bytes, place: tuple[int, int], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        decode(data, "a.cfg")
    (finding,) = caught.value.findings
    assert (finding.line, finding.column, finding.message) == (*place, message)


def test_utf_8_with_and_without_byte_order_mark_is_the_same_text() -> None:
    assert decode("! ü\n".encode("utf-8-sig"), "a.cfg") == decode("! ü\n".encode(), "a.cfg")
