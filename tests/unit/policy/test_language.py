"""Every criterion with every action: a clause, or an error at the word that the table does not have."""

from itertools import product

import pytest

from nfinspect.events import ClauseAction
from nfinspect.policy import Configuration, ConfigurationError, canonical, parse_policy
from nfinspect.policy.advice import advise
from nfinspect.policy.conditions import Above, Condition, Expression, Matches, Not, OneOf
from nfinspect.policy.criteria import MOST, ROWS, CriterionRow, Kind
from nfinspect.policy.errors import Finding
from nfinspect.policy.model import Clause, MailRelay, Parameters, Reaction

HEAD = """\
regex exe "\\.exe$"
regex zip "\\.zip$"
class-map type regex match-any files
 match regex exe
 match regex zip
policy-map type inspect esmtp m
"""
APPLIED = """\
policy-map global_policy
 class inspection_default
  inspect esmtp m
"""
LINE = HEAD.count("\n") + 1
"""Of the first line of the map."""

EXE = Expression("exe", "\\.exe$", "\\x2eexe\\z")
ZIP = Expression("zip", "\\.zip$", "\\x2ezip\\z")
ACTIONS = {
    "drop-connection": (ClauseAction.DROP_CONNECTION, False, 0),
    "drop-connection log": (ClauseAction.DROP_CONNECTION, True, 0),
    "reset": (ClauseAction.RESET, False, 0),
    "reset log": (ClauseAction.RESET, True, 0),
    "mask": (ClauseAction.MASK, False, 0),
    "mask log": (ClauseAction.MASK, True, 0),
    "log": (ClauseAction.LOG, True, 0),
    "rate-limit 7": (ClauseAction.RATE_LIMIT, False, 7),
}


def read(*lines: str, head: str = HEAD) -> Configuration:
    return parse_policy("".join((head, *(f"{line}\n" for line in lines), APPLIED)), "test.cfg")


def errors(*lines: str, head: str = HEAD) -> tuple[Finding, ...]:
    with pytest.raises(ConfigurationError) as error:
        read(*lines, head=head)
    return error.value.findings


def values(row: CriterionRow) -> list[tuple[str, Condition]]:
    if row.kind is Kind.WORDS:
        several = f"{row.words[1]} {row.words[0]} {row.words[1]}"
        return [
            (row.words[0].upper(), OneOf(row.words[:1])),
            (several.lower(), OneOf((row.words[1], row.words[0]))),
            (" ".join(row.words), OneOf(row.words)),
        ]
    if row.kind is Kind.EXPRESSION:
        return [
            ("regex exe", Matches("exe", (EXE,))),
            ("regex class files", Matches("files", (EXE, ZIP), True)),
        ]
    return [("gt 1", Above(1)), (f"gt {MOST[row.kind]}", Above(MOST[row.kind]))]


CASES = [
    pytest.param(row, value, condition, id=f"{row.criterion.value} {value}"[:50])
    for row in ROWS
    for value, condition in values(row)
]


@pytest.mark.parametrize(("row", "value", "condition"), CASES)
def test_criterion_with_each_action_is_a_clause_or_an_error(
    row: CriterionRow, value: str, condition: Condition
) -> None:
    for action, negated in product(ACTIONS, (False, True)):
        words = f"match {'not ' * negated}{row.criterion.value} {value}"
        kind, log, rate = ACTIONS[action]
        if kind in row.actions:
            configuration = read(words, action)
            (clause,) = configuration.maps[0].clauses
            meant = Not(condition) if negated else condition
            assert clause == Clause(1, row.criterion, meant, kind, log, rate)
            assert clause.action_words == action
            assert f" match {clause.words}\n  {action}\n" in canonical.text(configuration)
            assert not configuration.not_done
        else:
            (finding,) = errors(words, f"   {action}")
            assert (finding.line, finding.column) == (LINE + 1, 4)
            allowed = tuple(each.value for each in row.actions)
            assert finding.message == f"{kind.value} is not allowed for {row.criterion.value}"
            assert finding.expected == allowed


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("match cmd verb", 15, "the line is incomplete"),
        ("match cmd verb VFRY", 16, "unexpected 'VFRY'"),
        ("match cmd verb VRFY XPLODE", 21, "unexpected 'XPLODE'"),
        ("match cmd rcpt count gt 0", 25, "'0': out of range"),
        ("match cmd rcpt count gt 65536", 25, "'65536': out of range"),
        ("match body length gt 2147483648", 22, "'2147483648': out of range"),
        ("match header to-fields count gt -1", 33, "'-1': not a number"),
        ("match invalid-recipients gt 1", 26, "unexpected 'gt'"),
        ("match mime encoding base65", 21, "unexpected 'base65'"),
        ("match mime filetype exe", 21, "unexpected 'exe'"),
        ("match mime filetype regex", 26, "the line is incomplete"),
        ("match mime filetype regex class", 32, "the line is incomplete"),
        ("match sender-address regex exe zip", 32, "unexpected 'zip'"),
        ("match ehlo-reply-parameter size starttls", 33, "unexpected 'starttls'"),
        ("match not not cmd verb VRFY", 11, "unexpected 'not'"),
    ],
)
def test_faulty_match_is_an_error_at_its_word(line: str, column: int, message: str) -> None:
    (finding,) = errors(line)
    assert (finding.line, finding.column, finding.message) == (LINE, column, message)


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("rate-limit", 11, "the line is incomplete"),
        ("rate-limit 0", 12, "'0': out of range"),
        ("rate-limit 5 log", 14, "unexpected 'log'"),
        ("reset send-protocol-error", 7, "unexpected 'send-protocol-error'"),
    ],
)
def test_faulty_action_is_an_error_at_its_word(line: str, column: int, message: str) -> None:
    (finding,) = errors("match cmd verb VRFY", line)
    assert (finding.line, finding.column, finding.message) == (LINE + 1, column, message)


# Regular expressions.

USE = ("match sender-address regex x", "log")


@pytest.mark.parametrize(
    ("head", "line", "column", "message"),
    [
        ('regex x "a(b"\n', 1, 11, "this ( has no )"),
        ("regex x a(b\n", 1, 10, "this ( has no )"),
        ('regex  x   " a[b"\n', 1, 15, "this [ has no ]"),
        (
            'regex x "((a{30}){30}){30}"\n',
            1,
            10,
            "RE2 cannot take it: invalid repetition size: {30,}",
        ),
        ('regex x ""\n', 1, 10, "the expression is empty"),
        ("regex y a\n", 3, 28, "regex 'x' is not defined"),
        ("regex x a\nregex x b\n", 2, 7, "line 1 already defines the regex 'x'"),
        (f"regex {'x' * 41} a\n", 1, 7, f"'{'x' * 41}': the name is too long"),
        ("regex x\n", 1, 8, "the line is incomplete"),
    ],
)
def test_faulty_regex_is_an_error_at_its_place(
    head: str, line: int, column: int, message: str
) -> None:
    finding, *_ = errors(*USE, head=f"{head}policy-map type inspect esmtp m\n")
    assert (finding.line, finding.column, finding.message) == (line, column, message)


@pytest.mark.parametrize(
    ("head", "line", "message"),
    [
        ("", 2, "class-map type regex 'c' is not defined"),
        ("class-map type regex match-any c\n", 1, "the class has no regex"),
        ("class-map type regex c\n match regex z\n", 2, "regex 'z' is not defined"),
        (
            "regex z a\nclass-map type regex c\n match regex z\n match regex z\n",
            4,
            "line 3 already has the regex 'z'",
        ),
    ],
)
def test_faulty_class_is_an_error_at_its_place(head: str, line: int, message: str) -> None:
    map_lines = ("match not sender-address regex class c", "log")
    finding, *_ = errors(*map_lines, head=f"{head}policy-map type inspect esmtp m\n")
    assert (finding.line, finding.message) == (line, message)


def test_expression_that_no_mail_map_uses_may_be_whatever_it_is() -> None:
    listing = f"""\
regex urls "a(b"
regex pages "[
class-map type regex match-any c
 description of http
 match regex urls
 match regex nowhere
{HEAD}{APPLIED}service-policy global_policy global
"""
    configuration = parse_policy(listing, "test.cfg")
    assert [f.code for f in advise(configuration) if f.code == "unused-regex"] == []


def test_unused_expression_is_advice_in_a_partial_configuration() -> None:
    configuration = read("match sender-address regex exe", "log")
    found = [(f.line, f.message) for f in advise(configuration) if f.code == "unused-regex"]
    assert found == [
        (2, "no match uses the regex 'zip'"),
        (3, "no match uses the class-map type regex 'files'"),
    ]


def test_expression_that_may_surprise_is_advice_at_its_place() -> None:
    head = 'regex x "a\\d"\npolicy-map type inspect esmtp m\n'
    found = [f for f in advise(read(*USE, head=head)) if f.code == "regex"]
    assert [(f.line, f.column) for f in found] == [(1, 11)]


def test_canonical_text_defines_each_expression_once_and_only_those_used() -> None:
    configuration = read(
        "match sender-address regex class files",
        "log",
        "match mime filetype regex exe",
        "log",
        "match not mime filetype regex class files",
        "log",
    )
    text = canonical.text(configuration)
    assert text.count('regex exe "\\.exe$"\n') == text.count('regex zip "\\.zip$"\n') == 1
    assert (
        text.count("class-map type regex match-any files\n match regex exe\n match regex zip\n")
        == 1
    )
    assert (
        canonical.text(parse_policy(text, "again.cfg")).partition("! line")[0]
        == (text.partition("! line")[0])
    )


def test_quotation_marks_keep_blanks_and_are_no_part_of_an_expression() -> None:
    head = 'regex x " a"b "\npolicy-map type inspect esmtp m\n'
    configuration = read(*USE, head=head)
    assert 'regex x " a"b "\n' in canonical.text(configuration)


# Parameters.

PARAMETERS = {
    "mail-relay Example.ORG action drop-connection": {
        "mail_relay": MailRelay("example.org", Reaction(ClauseAction.DROP_CONNECTION))
    },
    "mail-relay example.org action drop-connection log": {
        "mail_relay": MailRelay("example.org", Reaction(ClauseAction.DROP_CONNECTION, True))
    },
    "mail-relay example.org action log": {
        "mail_relay": MailRelay("example.org", Reaction(ClauseAction.LOG, True))
    },
    "special-character action drop-connection": {
        "special_character": Reaction(ClauseAction.DROP_CONNECTION)
    },
    "special-character action drop-connection log": {
        "special_character": Reaction(ClauseAction.DROP_CONNECTION, True)
    },
    "special-character action log": {"special_character": Reaction(ClauseAction.LOG, True)},
    "bare-newline action mask": {"bare_newline": Reaction(ClauseAction.MASK)},
    "bare-newline action mask log": {"bare_newline": Reaction(ClauseAction.MASK, True)},
    "bare-newline action drop-connection log": {
        "bare_newline": Reaction(ClauseAction.DROP_CONNECTION, True)
    },
    "bare-newline action reset": {"bare_newline": Reaction(ClauseAction.RESET)},
    "bare-newline action log": {"bare_newline": Reaction(ClauseAction.LOG, True)},
    "starttls-injection drop-connection": {},
    "starttls-injection reset": {"starttls_injection": ClauseAction.RESET},
    "bdat-chunk mask": {},
    "bdat-chunk drop-connection": {"bdat_chunk": ClauseAction.DROP_CONNECTION},
    "bdat-chunk reset": {"bdat_chunk": ClauseAction.RESET},
    "closing-reply": {"closing_reply": True},
    "no closing-reply": {},
    "no bare-newline": {},
}


@pytest.mark.parametrize("line", PARAMETERS)
def test_parameter_sets_its_field_and_is_written_again(line: str) -> None:
    configuration = read("parameters", line)
    expected = Parameters(**PARAMETERS[line])
    assert configuration.maps[0].parameters == expected
    assert configuration.not_done == ()
    assert f"  {line.lower()}\n" in canonical.text(configuration)


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("mail-relay -x.org action log", 12),
        ("mail-relay example.org action reset", 31),
        ("mail-relay example.org log", 24),
        ("special-character action mask", 26),
        ("bare-newline action log log", 25),
        ("bare-newline action rate-limit 3", 21),
        ("starttls-injection log", 20),
        ("bdat-chunk log", 12),
        ("closing-reply log", 15),
    ],
)
def test_faulty_parameter_is_an_error_at_its_word(line: str, column: int) -> None:
    (finding,) = errors("parameters", line)
    assert (finding.line, finding.column) == (LINE + 1, column)


def test_last_parameter_line_wins_with_advice() -> None:
    configuration = read(
        "parameters",
        "mail-relay a.org action log",
        "mail-relay b.org action log",
        "no mail-relay",
        "bare-newline action mask",
        "bare-newline action mask",
    )
    assert configuration.maps[0].parameters == Parameters(bare_newline=Reaction(ClauseAction.MASK))
    assert [(f.line, f.code) for f in configuration.notices] == [
        (LINE + 2, "overridden"),
        (LINE + 3, "overridden"),
    ]


def test_parameter_taken_back_is_not_reported_by_its_canonical_text() -> None:
    configuration = read("parameters", "closing-reply", "no closing-reply")
    assert configuration.maps[0].parameters == Parameters()
    assert "  no closing-reply\n" in canonical.text(configuration)
