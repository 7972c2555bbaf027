"""The appliance's regular expressions: what they match, and what is none."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfinspect.esmtp.clauses import compile_map
from nfinspect.events import ClauseAction
from nfinspect.policy.conditions import Expression, Matches
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.expressions import LONGEST, ExpressionError, compiled, translate
from nfinspect.policy.model import Clause, InspectionMap


def finds(pattern: str, value: bytes) -> bool:
    return compiled(Expression("x", pattern, translate(pattern).re2)).search(value) is not None


@pytest.mark.parametrize(
    ("pattern", "found", "not_found"),
    [
        ("d.g", b"hotdog", b"dg"),
        ("d.g", b"d\ng", b""),  # any byte, a line feed too
        ("d(o|a)g", b"dag", b"dg"),
        ("do|ag", b"do", b"dg"),
        ("lo?se", b"lse", b"loose"),
        ("lo*se", b"looose", b"lase"),
        ("lo+se", b"loose", b"lse"),
        ("^ab(xy){3}z$", b"abxyxyxyz", b"abxyxyz"),
        ("^ab(xy){2}z$", b"abxyxyxyz", b"abxyz"),  # at least
        ("^ab(xy){2,2}z$", b"abxyxyz", b"abxyxyxyz"),
        ("^ab(xy){2,}z$", b"abxyxyxyz", b"abxyz"),
        ("^a{1,2}$", b"aa", b"aaa"),
        ("[abcq-z]", b"s", b"d"),
        ("[abc-]", b"-", b"d"),
        ("[-abc]", b"-", b"d"),
        ("[a-c-e]", b"-", b"d"),
        ("[^A-Z]", b"a", b"A"),
        ("[]x]", b"]", b"y"),
        ("[^]x]", b"y", b"]x"),
        ("[\\]x]", b"]", b"\\"),
        ("[$.]", b"$", b"a"),
        ("^test", b"test it", b"a test"),
        (" test", b"a test", b"test"),
        ("a\\.b", b"a.b", b"axb"),
        ("\\[", b"[", b"("),
        ("\\r\\n\\t\\f", b"\r\n\t\f", b"rntf"),
        ("\\x2e", b".", b"x2e"),
        ("\\xE9", b"\xe9", "é".encode()),
        ("\\056", b".", b"056"),
        ("\\377", b"\xff", b"377"),
        ("^\\d$", b"d", b"5"),  # a letter that is no metacharacter is itself
        ("\\$$", b"5$", b"$5"),
        ('a"b', b'a"b', b"ab"),
        ("a}", b"a}", b"a"),
        ("(a|b)(c|d)", b"bd", b"ab"),
        ("(((a)))+", b"aa", b"b"),
        ("EXE", b"EXE", b"exe"),
    ],
)
def test_expression_finds(pattern: str, found: bytes, not_found: bytes) -> None:
    assert finds(pattern, found)
    assert not finds(pattern, not_found)


@pytest.mark.parametrize(
    ("pattern", "position", "message"),
    [
        ("", 0, "the expression is empty"),
        ("ab(c", 2, "this ( has no )"),
        ("ab)c", 2, "this ) has no ("),
        ("a[bc", 1, "this [ has no ]"),
        ("a[]", 1, "this [ has no ]"),
        ("a[z-b]", 2, "a range that ends before it begins"),
        ("*a", 0, "there is nothing before this *"),
        ("a|+b", 2, "there is nothing before this +"),
        ("(?:a)", 1, "there is nothing before this ?"),
        ("(?=a)", 1, "there is nothing before this ?"),
        ("^*", 1, "there is nothing before this *"),
        ("a**", 2, "what stands before it is repeated already"),
        ("a*?", 2, "what stands before it is repeated already"),
        ("ab{", 2, "this { has no }; the character itself is \\{"),
        ("ab{x}", 2, "not {n}, {n,} or {n,m}; the character itself is \\{"),
        ("ab{,3}", 2, "not {n}, {n,} or {n,m}; the character itself is \\{"),
        ("ab{3,2}", 2, "the second number is lower than the first"),
        ("ab{1001}", 2, "more than 1000 repetitions"),
        ("a\\", 1, "a backslash, and nothing behind it"),
        ("a\\xZ9", 1, "\\x and not two hexadecimal digits"),
        ("(a)\\1", 3, "an octal number is \\000 to \\377"),
        ("\\400", 0, "an octal number is \\000 to \\377"),
        ("Bücher", 1, "an expression is of printable ASCII characters; another byte is \\xNN"),
        ("a" * 101, LONGEST, "the expression is longer than 100 characters"),
    ],
)
def test_what_is_no_expression_is_an_error_at_its_place(
    pattern: str, position: int, message: str
) -> None:
    with pytest.raises(ExpressionError) as error:
        translate(pattern)
    assert (error.value.position, error.value.message) == (position, message)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("((a{30}){30}){30}", "RE2 cannot take it: invalid repetition size: {30,}"),
        ("(.{999}.{999}){1,9}", "RE2 cannot take it: invalid repetition size: {1,9}"),
        ("(abc|def){999,999}" * 5, "the expression is too large: 29974 instructions of RE2"),
        ("(abc|def){900,900}", "the expression is too large: 5404 instructions of RE2"),
        ("([^a]b|c.){999}" * 6, "the expression is too large"),
    ],
)
def test_expression_that_is_too_large_is_an_error_with_its_reason(
    pattern: str, reason: str
) -> None:
    with pytest.raises(ExpressionError) as error:
        translate(pattern)
    assert error.value.message.startswith(reason)


@pytest.mark.parametrize(
    ("pattern", "notes"),
    [
        ("\\d+\\.exe", [(0, "\\d is the letter d, as on the appliance")]),
        ("a|", [(0, "it matches whatever it is given, for it matches nothing, too")]),
        (
            "a(bc){2}",
            [(5, "{2} is at least 2 times, as on the appliance; {2,2} is exactly so often")],
        ),
        ("a\\.b{2,}c{1,2}", []),
    ],
)
def test_what_may_surprise_is_noted(pattern: str, notes: list[tuple[int, str]]) -> None:
    assert translate(pattern).notes == notes


def test_hostile_input_takes_linear_time_and_bounded_memory() -> None:
    # A backtracking search would take longer than the universe is old.
    assert not finds("^(a+)+$", b"a" * 100_000 + b"b")
    assert not finds("(x+x+)+y", b"x" * 100_000)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30), st.binary())
def test_any_text_is_an_expression_or_an_error_in_it(pattern: str, value: bytes) -> None:
    try:
        finds(pattern, value)
    except ExpressionError as refusal:
        error = refusal
    else:
        return
    assert 0 <= error.position <= len(pattern)
    assert error.message.isprintable()


# The same expression twice: for the appliance, and for Python.
BYTES = st.sampled_from(b"ab.\\x2-]^$\n\xff")
letters = BYTES.map(lambda byte: (f"\\x{byte:02x}", re.escape(bytes([byte]))))
plain = st.sampled_from("ab2x ").map(lambda c: (c, re.escape(c.encode())))
classes = st.builds(
    lambda negated, members: (
        "[" + "^" * negated + "".join(f"\\x{m:02x}" for m in members) + "]",
        b"[%s%s]" % (b"^" * negated, b"".join(b"\\x%02x" % m for m in members)),
    ),
    st.booleans(),
    st.lists(BYTES, min_size=1, max_size=4),
)
atoms = st.one_of(letters, plain, classes, st.just((".", b".")))
repeats = st.sampled_from(["", "", "?", "*", "+", "{2}", "{1,}", "{0,2}", "{3,3}"])


def larger(inner: st.SearchStrategy) -> st.SearchStrategy:
    repeated = st.builds(
        lambda e, r: (f"({e[0]}){r}", b"(?:%s)%s" % (e[1], r.replace("{2}", "{2,}").encode())),
        inner,
        repeats,
    )
    joined = st.lists(st.one_of(inner, repeated), min_size=1, max_size=3).map(
        lambda es: ("".join(e[0] for e in es), b"".join(e[1] for e in es))
    )
    either = st.lists(joined, min_size=1, max_size=2).map(
        lambda es: (f"({'|'.join(e[0] for e in es)})", b"(?:%s)" % b"|".join(e[1] for e in es))
    )
    return st.one_of(repeated, joined, either)


expressions = st.builds(
    lambda begin, e, end: (
        f"{'^' * begin}({e[0]}){'$' * end}",
        b"%s(?:%s)%s" % (b"\\A" * begin, e[1], b"\\Z" * end),
    ),
    st.booleans(),
    st.recursive(atoms, larger, max_leaves=6),
    st.booleans(),
).filter(lambda e: len(e[0]) <= LONGEST)


@given(expressions, st.lists(BYTES, max_size=12).map(bytes))
def test_expression_finds_what_pythons_finds(expression: tuple[str, bytes], value: bytes) -> None:
    pattern, pythons = expression
    assert finds(pattern, value) == bool(re.search(pythons, value, re.DOTALL))


def test_inspection_searches_as_the_expression_was_judged() -> None:
    # With several expressions it searches for all of them together.
    for pattern, value in (("a.b", b"xa\nbx"), ("^\\xe9$", b"\xe9"), ("a{2}c", b"aaac")):
        ours = Expression("ours", pattern, translate(pattern).re2)
        other = Expression("other", "zzz", "zzz")
        condition = Matches("c", (other, ours), True)
        clause = Clause(1, Criterion.SENDER_ADDRESS, condition, ClauseAction.LOG, True)
        group = compile_map(InspectionMap("m", clauses=(clause,))).groups[clause.criterion]
        assert group.met_by_text((value,)) == 1
        assert group.met_by_text((b"q",)) == 0
