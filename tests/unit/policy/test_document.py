"""docs/configuration.md and the grammar agree."""

import re
from pathlib import Path

import pytest

from nfinspect.policy import ConfigurationError, advice, parse_policy
from nfinspect.policy.commands import ARGUMENTS, GRAMMAR, classes, inspection
from nfinspect.policy.reader import Reader

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs/configuration.md").read_text()


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
    return [text for word, text in fenced if word == language]


@pytest.mark.parametrize("text", blocks("cfg"))
def test_example_in_the_document_has_no_error(text: str) -> None:
    parse_policy(text, "example.cfg")


def test_examples_have_every_line_of_the_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    meant = Reader.meant

    def note(self: Reader, statement) -> None:
        read.add(statement.meaning.pattern)
        meant(self, statement)

    monkeypatch.setattr(Reader, "meant", note)
    for text in blocks("cfg"):
        Reader().read(text, "example.cfg")
    rows = {row.pattern for rows in GRAMMAR.values() for row in rows}
    assert rows - read == {"class [REST]"}  # which says that there is no such line


def test_document_explains_arguments_with_their_range() -> None:
    names = re.findall(r"^\| `([A-Z]+)` \| (.*?) \|", DOCUMENT, re.MULTILINE)
    explained = {name: text for name, text in names if name in ARGUMENTS}
    assert len(explained) >= 9
    for name, explanation in explained.items():
        description = ARGUMENTS[name].description
        for figure in re.findall(r"\d{2,}", description) if ":" not in description else ():
            assert figure in explanation, name


def test_document_lists_every_code_of_advice() -> None:
    package = ROOT / "nfinspect/policy"
    source = "".join(file.read_text() for file in package.rglob("*.py"))
    in_calls = re.findall(r'^ +"([a-z]+(?:-[a-z0-9]+)+)",\n +(?:READ|[A-Z_]+|"docs/)', source, re.M)
    used = {*in_calls, *re.findall(r'code="([a-z-]+)"', source)}
    assert len(used) > 10
    table = DOCUMENT.partition("| code | says |")[2].partition("\n\n")[0]
    assert used <= set(re.findall(r"`([a-z0-9-]+)`", table))


@pytest.mark.parametrize(
    "section",
    sorted(
        {classes.READ, inspection.READ}
        | {value for value in vars(advice).values() if str(value).startswith("docs/")}
        | {
            "docs/configuration.md#access-lists",
            "docs/configuration.md#complete-and-partial-configurations",
        }
    ),
)
def test_section_to_read_exists(section: str) -> None:
    file, _, anchor = section.partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / file).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def test_first_example_is_read_without_advice() -> None:
    configuration = parse_policy(blocks("cfg")[0], "mail.cfg")
    assert advice.advise(configuration) == configuration.notices == ()
    assert [m.name for m in configuration.maps] == ["mail"]


def test_error_in_the_document_is_what_is_printed() -> None:
    (message,) = blocks("")
    text = "!\npolicy-map type inspect esmtp mail\n parameters\n  mask-baner\n"
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text, "mail.cfg")
    assert f"{caught.value}\n" == message
