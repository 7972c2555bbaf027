"""The notation of the grammar, independent of any particular grammar."""

from collections.abc import Mapping
from typing import Any

import pytest

from nfinspect.policy.lexer import lines
from nfinspect.policy.syntax import (
    Argument,
    Fragment,
    Mismatch,
    Statement,
    Syntax,
    WordError,
    name,
    number,
    text,
)


def even(text: str, _: object) -> int:
    if not text.isdigit() or int(text) % 2:
        raise WordError("not even")
    return int(text)


def pair(values: Mapping[str, Any]) -> tuple[int, int]:
    if values["last"] < values["first"]:
        raise WordError("ends before it begins", "last")
    return values["first"], values["last"]


ARGUMENTS = {
    "N": number(1, 9),
    "NAME": name(5),
    "TEXT": text(9),
    "EVEN": Argument("an even number", even, rank=0),
}
FRAGMENTS = {"pair": Fragment("from first:N to last:N", pair)}


def match(line: str, *patterns: str) -> Statement[str] | Mismatch:
    rows = [(pattern, pattern) for pattern in patterns]
    (found,) = lines(line, "a.cfg")
    return Syntax(rows, ARGUMENTS, FRAGMENTS).match(found)


@pytest.mark.parametrize(
    ("pattern", "accepted"),
    [
        ("a b", ["a b", "A  b", " a\tB"]),
        ("a [b]", ["a", "a b"]),
        ("a {b | c}", ["a b", "a c"]),
        ("{a | b} [c [d]] e", ["a e", "b e", "a c e", "b c d e"]),
        ("a n:N [b m:N]", ["a 1", "a 2 b 3"]),
        ("a [b | c N]...", ["a", "a b", "a c 1", "a b c 1 c 2 b"]),
        ("a {b | c}...", ["a b", "a c b c"]),
        ("a NAME", ["a b", "a aaaaa"]),
        ("a TEXT", ["a b", "a b  c d", "a {b|c}"]),
        ("a x:<pair>", ["a from 1 to 2"]),
    ],
)
def test_line_that_fits_the_pattern_is_a_statement(pattern: str, accepted: list[str]) -> None:
    for line in accepted:
        statement = match(line, pattern)
        assert isinstance(statement, Statement), line
        assert statement.meaning == pattern


@pytest.mark.parametrize(
    ("pattern", "line", "understood", "expected"),
    [
        ("a b", "a", 1, ("b",)),
        ("a b", "b", 0, ("a",)),
        ("a b", "a b c", 2, ("the end of the line",)),
        ("a [b]", "a c", 1, ("b", "the end of the line")),
        ("a {b | c}", "a", 1, ("b", "c")),
        ("a {b | c}...", "a", 1, ("b", "c")),
        ("a {b | c}...", "a b", 2, None),
        ("a {b | c N}", "a d", 1, ("b", "c")),
        ("a N", "a 10", 1, ("a number from 1 to 9",)),
        ("a [N]", "a b", 1, ("a number from 1 to 9", "the end of the line")),
        ("a N", "a", 1, ("a number from 1 to 9",)),
        ("a NAME", "a bbbbbb", 1, ("a name of at most 5 characters",)),
        ("a TEXT", "a b  c d  e f", 1, ("a text of at most 9 characters",)),
        ("a x:<pair>", "a from 1", 3, ("to",)),
    ],
)
def test_line_that_leaves_the_pattern_reports_what_was_expected_there(
    pattern: str, line: str, understood: int, expected: tuple[str, ...] | None
) -> None:
    mismatch = match(line, pattern)
    if expected is None:
        assert isinstance(mismatch, Statement)
        return
    assert isinstance(mismatch, Mismatch)
    assert (mismatch.words_understood, mismatch.finding.expected) == (understood, expected)


def test_values_are_found_by_label() -> None:
    statement = match("A 7 B A C d 9", "a N b name:NAME [flag:c] [rest+:N | d]...")
    assert isinstance(statement, Statement)
    assert statement.values == {"n": 7, "name": "A", "flag": "c", "rest": [9]}
    assert (statement.word("name").text, statement.word("name").column) == ("A", 7)


def test_choice_gives_its_label_to_its_keywords() -> None:
    statement = match("a no", "a answer:{yes | no}")
    assert isinstance(statement, Statement)
    assert statement["answer"] == "no"


def test_fragment_becomes_one_value() -> None:
    pattern = "a x:<pair> [y:<pair>]"
    statement = match("a from 1 to 2", pattern)
    assert isinstance(statement, Statement)
    assert statement.values == {"x": (1, 2)}
    statement = match("a from 1 to 2 from 3 to 4", pattern)
    assert isinstance(statement, Statement)
    assert statement.values == {"x": (1, 2), "y": (3, 4)}


def test_fault_of_a_fragment_is_reported_at_its_word() -> None:
    mismatch = match("a from 1 to 2 from 4 to 3", "a x:<pair> y:<pair>")
    assert isinstance(mismatch, Mismatch)
    assert (mismatch.finding.column, mismatch.finding.message) == (25, "ends before it begins")


def test_arguments_in_one_place_are_tried_by_rank() -> None:
    for word, values in (("4", {"even": 4}), ("5", {"n": 5})):
        statement = match(f"a {word}", "a EVEN", "a N")
        assert isinstance(statement, Statement)
        assert statement.values == values


@pytest.mark.parametrize(
    "patterns",
    [
        ("a b", "a b"),  # the same words
        ("a [b]", "a"),
        ("a x:N", "a y:N"),  # one word with two labels
        ("a N", "a NAME"),  # two arguments of one rank
        ("a x:b", "a b c"),
    ],
)
def test_rows_that_clash_are_refused(patterns: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError):
        match("a", *patterns)


def test_many_optional_parts_cost_no_time() -> None:
    parts = " ".join(f"[k{n} [o{n}]]" for n in range(60))
    statement = match("a " + " ".join(f"k{n}" for n in range(60)), f"a {parts}")
    assert isinstance(statement, Statement)


def test_mistyped_keyword_is_reported_though_it_passes_for_an_argument() -> None:
    mismatch = match("a typ b", "a type b c", "a NAME")
    assert isinstance(mismatch, Mismatch)
    assert (mismatch.finding.column, mismatch.finding.suggestion) == (3, "type")


@pytest.mark.parametrize("digits", ["0", "10", "1" * 5000, "0" * 5000 + "10", "+1", "1.0", "1e0"])
def test_number_out_of_range_or_malformed_is_refused(digits: str) -> None:
    with pytest.raises(WordError):
        number(1, 9).read(digits, None)


@pytest.mark.parametrize("digits", ["1", "9", "0" * 5000 + "5"])
def test_number_within_its_range_is_read(digits: str) -> None:
    assert number(1, 9).read(digits, None) == int(digits.lstrip("0"))
