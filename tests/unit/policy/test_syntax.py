"""The notation of the grammar, independent of any particular grammar."""

import pytest

from nfinspect.policy.lexer import Line, words
from nfinspect.policy.syntax import Mismatch, Statement, Syntax, name, number, text

ARGUMENTS = {"N": number(1, 9), "NAME": name(5), "TEXT": text(9)}


def match(pattern: str, line: str) -> Statement[str] | Mismatch:
    return Syntax([(pattern, pattern)], ARGUMENTS).match(words(Line("a.cfg", 1, line)))


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [
        ("a b", ["a b", "A  b", " a\tB"]),
        ("a [b]", ["a", "a b"]),
        ("a {b | c}", ["a b", "a c"]),
        ("{a | b} [c [d]] e", ["a e", "b e", "a c e", "b c d e"]),
        ("a N [b N]", ["a 1", "a 2 b 3"]),
        ("a NAME", ["a b", "a aaaaa"]),
        ("a TEXT", ["a b", "a b  c d", "a {b|c}"]),
    ],
)
def test_line_that_fits_the_pattern_is_a_statement(pattern: str, lines: list[str]) -> None:
    for line in lines:
        statement = match(pattern, line)
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
        ("a {b | c N}", "a d", 1, ("b", "c")),
        ("a N", "a 10", 1, ("a number from 1 to 9",)),
        ("a [N]", "a b", 1, ("a number from 1 to 9",)),
        ("a N", "a", 1, ("a number from 1 to 9",)),
        ("a NAME", "a bbbbbb", 1, ("a name of at most 5 characters",)),
        ("a TEXT", "a b  c d  e f", 1, ("a text of at most 9 characters",)),
    ],
)
def test_line_that_leaves_the_pattern_reports_what_was_expected_there(
    pattern: str, line: str, understood: int, expected: tuple[str, ...]
) -> None:
    mismatch = match(pattern, line)
    assert isinstance(mismatch, Mismatch)
    assert (mismatch.words_understood, mismatch.finding.expected) == (understood, expected)


def test_arguments_are_found_by_name_and_keywords_are_listed_without_them() -> None:
    statement = match("a N b NAME [c]", "A 7 B A C")
    assert isinstance(statement, Statement)
    assert {key: word.text for key, word in statement.arguments.items()} == {"N": "7", "NAME": "A"}
    assert statement.keywords == ("a", "b", "c")


@pytest.mark.parametrize("digits", ["0", "10", "1" * 5000, "0" * 5000 + "10", "+1", "1.0", "1e0"])
def test_number_out_of_range_or_malformed_is_a_fault(digits: str) -> None:
    assert number(1, 9).fault(digits)


@pytest.mark.parametrize("digits", ["1", "9", "0" * 5000 + "5"])
def test_number_within_its_range_is_no_fault(digits: str) -> None:
    assert number(1, 9).fault(digits) == ""
