"""Advice about clauses that never act, or close everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfinspect.policy import default_text, parse_policy, useless
from nfinspect.policy.advice import advise
from nfinspect.policy.conditions import Above, Condition, Not, OneOf
from nfinspect.policy.useless import _Asked

HEAD = """\
regex exe "exe"
regex zip "zip"
regex all "a*"
class-map type regex match-any both
 match regex exe
 match regex zip
class-map type regex match-any any
 match regex exe
 match regex all
policy-map type inspect esmtp m
"""
FIRST = HEAD.count("\n") + 1


def found(*lines: str) -> list[tuple[int, str]]:
    """The line, in the map from 1, and the message of each advice about clauses."""
    applied = ["policy-map global_policy", "class inspection_default", "inspect esmtp m"]
    configuration = parse_policy(HEAD + "\n".join([*lines, *applied]), "test.cfg")
    return [
        (finding.line - FIRST + 1, finding.message)
        for finding in advise(configuration)
        if finding.code in ("never-acts", "closes-everything")
    ]


NEVER = "never acts: line {} has closed the connection by then"


@pytest.mark.parametrize(
    ("first", "action", "second", "never"),
    [
        ("cmd line length gt 512", "drop-connection", "cmd line length gt 1000", True),
        ("cmd line length gt 512", "reset log", "cmd line length gt 1000", True),
        ("cmd line length gt 512", "log", "cmd line length gt 1000", False),
        ("cmd line length gt 1000", "drop-connection", "cmd line length gt 512", False),
        ("body line length gt 512", "drop-connection", "header line length gt 1000", False),
        ("cmd verb VRFY HELP ETRN", "reset", "cmd verb HELP VRFY", True),
        ("cmd verb VRFY HELP", "reset", "cmd verb HELP ETRN", False),
        ("cmd verb VRFY HELP", "mask", "cmd verb HELP", False),
        ("not mime encoding 7bit base64", "reset", "mime encoding others 8bit", True),
        ("not mime encoding 7bit", "reset", "not mime encoding 7bit 8bit", True),
        ("not mime encoding 7bit 8bit", "reset", "not mime encoding 7bit", False),
        ("mime filetype regex class both", "reset", "mime filetype regex zip", True),
        ("mime filetype regex zip", "reset", "mime filetype regex class both", False),
        ("not mime filetype regex zip", "reset", "not mime filetype regex class both", True),
    ],
)
def test_clause_behind_one_that_closes_at_all_of_it_never_acts(
    first: str, action: str, second: str, never: bool
) -> None:
    between = ("match ehlo-reply-parameter others", "mask")
    expected = [(5, NEVER.format(FIRST))] if never else []
    assert found(f"match {first}", action, *between, f"match {second}", "log") == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not body length gt 1000", "what is not above 1000 is ordinary"),
        ("not cmd verb EHLO QUIT", "DATA and MAIL and RCPT are none of these commands"),
        ("not cmd verb EHLO HELO MAIL RCPT DATA QUIT", ""),
        ("cmd verb VRFY MAIL", "every mail needs MAIL"),
        ("cmd verb VRFY HELP", ""),
        ("sender-address regex all", "the expression matches whatever it is given"),
        ("sender-address regex class any", "the expression matches whatever it is given"),
        ("sender-address regex class both", ""),
        ("not sender-address regex exe", ""),
        ("not mime encoding 7bit", ""),
    ],
)
def test_clause_that_closes_everything_is_told(line: str, message: str) -> None:
    expected = [(1, f"{message}: no ordinary mail gets through")] if message else []
    assert found(f"match {line}", "drop-connection") == expected
    assert found(f"match {line}", "reset log") == expected
    assert found(f"match {line}", "log") == []


def test_clauses_of_the_default_map_are_all_of_use() -> None:
    text = default_text() + "policy-map type inspect esmtp other\n"
    codes = {finding.code for finding in advise(parse_policy(text, "default.cfg"))}
    assert not codes & {"never-acts", "closes-everything"}


values = st.integers(1, 4)
words = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True).map(tuple)
plain = st.one_of(values.map(Above), words.map(OneOf))
conditions = st.one_of(plain, plain.map(Not))


def meets(condition: Condition, value: int | str) -> bool:
    match condition:
        case Not(unmet):
            return not meets(unmet, value)
        case Above(limit):
            return value > limit
        case OneOf(choices):
            return value in choices
    raise AssertionError


def includes(one: Condition, other: Condition) -> bool:
    return _Asked.by(one).includes(_Asked.by(other))


@given(conditions, conditions)
def test_one_condition_includes_another_only_if_it_does(one: Condition, other: Condition) -> None:
    domains = {type(c.condition if isinstance(c, Not) else c) for c in (one, other)}
    if len(domains) > 1:
        assert not includes(one, other)
        return
    domain = range(7) if domains == {Above} else "abcde"
    if includes(one, other):
        assert all(meets(one, value) for value in domain if meets(other, value))
    elif isinstance(one, Not) == isinstance(other, Not):
        assert not all(meets(one, value) for value in domain if meets(other, value))


def test_expression_of_many_clauses_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = []
    once = useless.compiled
    monkeypatch.setattr(useless, "compiled", lambda e: judged.append(e.name) or once(e))
    lines = [
        line
        for criterion in ("mime filetype", "sender-address")
        for negation in ("", "not ")
        for line in (f"match {negation}{criterion} regex class both", "reset")
    ]
    assert found(*lines) == []
    assert sorted(judged) == ["exe", "zip"]


def test_comparison_of_many_clauses_ends() -> None:
    lines = [
        line
        for limit in range(900, 0, -1)
        for line in (f"match body line length gt {limit}", "drop-connection")
    ]
    assert found(*lines) == []
