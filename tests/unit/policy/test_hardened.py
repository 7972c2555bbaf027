"""hardened.cfg: it is read, and means what docs/hardened.md says."""

import re
from importlib import resources
from pathlib import Path

import pytest

from nfinspect.events import ClauseAction
from nfinspect.policy import parse_policy
from nfinspect.policy.advice import advise
from nfinspect.policy.conditions import Matches
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.expressions import compiled
from nfinspect.policy.model import InspectionMap, Reaction

TEXT = resources.files("nfinspect.policy").joinpath("hardened.cfg").read_text("utf-8")
DOCUMENT = (Path(__file__).parents[3] / "docs/hardened.md").read_text()
CLOSE = Reaction(ClauseAction.DROP_CONNECTION, True)


@pytest.fixture
def hardened() -> InspectionMap:
    configuration = parse_policy(TEXT, "hardened.cfg")
    assert configuration.not_done == ()
    (applied,) = configuration.policy.inspections
    return applied.map


def test_advice_is_what_the_document_warns_of() -> None:
    codes = {finding.code for finding in advise(parse_policy(TEXT, "hardened.cfg"))}
    assert codes == {"no-allow-tls", "recipient-limit"}


def test_parameters_close_at_each_attack_of_the_document(hardened: InspectionMap) -> None:
    said = hardened.parameters
    assert (said.bare_newline, said.special_character) == (CLOSE, CLOSE)
    assert said.bdat_chunk is said.starttls_injection is ClauseAction.DROP_CONNECTION
    assert said.closing_reply
    assert not said.allow_tls


@pytest.mark.parametrize(
    ("value", "is_program"),
    [
        (b"invoice.pdf.exe", True),
        (b"INVOICE.SCR", True),
        (b"run.Js", True),
        (b"run.jse", True),
        (b"page.hta", True),
        (b"disk.vhd", True),
        (b"disk.vhdx", False),
        (b"application/x-msdownload", True),
        (b"application/x-dosexec", True),
        (b"application/pdf", False),
        (b"image/png", False),
        (b"report.docx", False),
        (b"exe", False),
        (b"example.com.txt", False),
        (b"data.json", False),
    ],
)
def test_programs_are_found_by_name_and_by_type(
    hardened: InspectionMap, value: bytes, is_program: bool
) -> None:
    (condition,) = [c.condition for c in hardened.clauses if c.criterion is Criterion.MIME_FILETYPE]
    assert isinstance(condition, Matches)
    assert any(compiled(e).search(value) for e in condition.expressions) == is_program


def test_commented_lines_are_valid_where_they_stand(hardened: InspectionMap) -> None:
    own = re.sub(r"^( *)!   ", r"\1", TEXT, flags=re.MULTILINE)
    own = re.sub(r"^( *)nfinspect .*\n", "", own, flags=re.MULTILINE)
    configuration = parse_policy(own.replace("  no mail-relay\n", ""), "own.cfg")
    (applied,) = configuration.policy.inspections
    assert applied.map.parameters.mail_relay is not None
    assert len(applied.map.clauses) == len(hardened.clauses) + 1
    assert not configuration.own_notices


def test_map_for_a_gateway_in_the_document_closes_at_nothing_but_smuggling() -> None:
    (text,) = re.findall(r"^```cfg\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
    (applied,) = parse_policy(text, "gateway.cfg").policy.inspections
    assert (applied.map.clauses, applied.map.parameters.bare_newline) == ((), CLOSE)
