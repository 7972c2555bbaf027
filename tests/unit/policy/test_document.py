"""docs/configuration.md and the grammar agree."""

import re
from pathlib import Path

import pytest

from nfinspect.policy import ConfigurationError, parse_policy
from nfinspect.policy.grammar import ARGUMENTS, GRAMMAR

DOCUMENT = (Path(__file__).parents[3] / "docs/configuration.md").read_text()
ROWS = sorted({row.pattern for rows in GRAMMAR.values() for row in rows})
CELLS = {
    cell.replace("\\|", "|") for cell in re.findall(r"^\| (?:\d \| )?`(.*?)` \|", DOCUMENT, re.M)
}


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
    return [text for word, text in fenced if word == language]


def test_document_explains_every_line_of_the_grammar_and_no_other() -> None:
    # Actions are listed by number in a separate table: |1| `drop-connection …` |.
    assert sorted(CELLS - set(ARGUMENTS)) == ROWS


def test_document_explains_every_argument_with_its_range() -> None:
    for name, argument in ARGUMENTS.items():
        (explanation,) = re.findall(rf"^\| `{name}` \| (.*?) \|", DOCUMENT, re.MULTILINE)
        for figure in re.findall(r"\d+", argument.description):
            assert figure in explanation


def test_example_is_parsed_without_a_notice() -> None:
    (example,) = blocks("cfg")
    configuration = parse_policy(example, "mail.cfg")
    assert configuration.notices == ()
    assert [m.name for m in configuration.maps] == ["mail"]


def test_error_in_the_document_is_what_is_printed() -> None:
    (message,) = blocks("")
    text = "!\npolicy-map type inspect esmtp mail\n parameters\n  mask-baner\n"
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text, "mail.cfg")
    assert f"{caught.value}\n" == message


def test_error_for_unsupported_syntax_in_the_document_is_what_is_printed() -> None:
    (message,) = blocks("text")
    with pytest.raises(ConfigurationError) as caught:
        parse_policy("!\n" * 11 + "access-list a permit ip any any\n", "fw.cfg")
    assert str(caught.value).splitlines()[:1] == message.splitlines()
