"""The documents agree with the code: their configurations parse, their listings are what is printed,
their links have targets."""

import re
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

from nfinspect import cli
from nfinspect.audit import show
from nfinspect.audit.counters import InspectionCounts
from nfinspect.audit.syslog import MESSAGES
from nfinspect.live import misfits
from nfinspect.policy import default_policy, parse_policy
from nfinspect.policy.commands.inspection import FAMILY, PARAMETERS
from nfinspect.policy.model import InspectionMap, Policy

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
APPLIANCE = (ROOT / "docs/appliance.md").read_text()
OPERATION = (ROOT / "docs/operation.md").read_text()
TROUBLESHOOTING = (ROOT / "docs/troubleshooting.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


COPY_OF_DEFAULT, NO_INSPECTION = blocks(TROUBLESHOOTING, "cfg")
REMEDIES = blocks(TROUBLESHOOTING, "diff")


def the_map(policy: Policy) -> InspectionMap:
    (inspection,) = policy.inspections
    return inspection.map


def applied(remedy: str, text: str) -> str:
    """*text* with a diff without context applied: its ``-`` lines replaced by its ``+`` lines."""
    lines = remedy.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line.startswith("-"))
    new = "".join(line[1:] for line in lines if line.startswith("+"))
    assert text.count(old) == 1, f"not exactly once in the map: {old}"
    return text.replace(old, new)


def test_copy_of_the_default_map_in_troubleshooting_equals_it() -> None:
    copy = parse_policy(COPY_OF_DEFAULT, "copy-of-default.cfg")
    assert not copy.notices
    shipped = the_map(default_policy())
    assert the_map(copy.policy).parameters == shipped.parameters
    assert the_map(copy.policy).clauses == shipped.clauses


@pytest.mark.parametrize("remedy", REMEDIES)
def test_remedy_in_troubleshooting_changes_one_thing_in_the_map(remedy: str) -> None:
    changed = parse_policy(applied(remedy, COPY_OF_DEFAULT), "changed.cfg")
    assert not changed.notices
    before, after = the_map(default_policy()), the_map(changed.policy)
    changes = (before.parameters != after.parameters) + (before.clauses != after.clauses)
    assert changes == 1


def test_exemption_of_all_mail_in_troubleshooting_inspects_nothing() -> None:
    assert parse_policy(NO_INSPECTION, "exempt.cfg").policy.inspections == ()


def test_listing_in_appliance_is_what_show_prints() -> None:
    (listing,) = blocks(APPLIANCE, "")
    (inspection,) = default_policy().inspections
    counts = dict.fromkeys(range(1, 8), 0) | {4: 41, 7: 2555}
    clauses = tuple((clause, counts[clause.position]) for clause in inspection.map.clauses)
    assert (
        show.service_policy([InspectionCounts(inspection, 104468, 0, 0, 639, clauses)]) == listing
    )


def test_messages_in_appliance_are_those_that_syslog_writes() -> None:
    rows = re.findall(r"^\| (\d)-(\d{6}) \|", APPLIANCE, re.MULTILINE)
    written = {(message.severity, message.number) for message in MESSAGES}
    assert sorted((int(severity), int(number)) for severity, number in rows) == sorted(written)


def test_own_parameters_in_appliance_are_those_of_the_grammar() -> None:
    section_9 = APPLIANCE.partition("\n## 9 ")[2].partition("\n## 10 ")[0]
    documented = re.findall(r"^\| `([a-z]+-[a-z]+)` \| ", section_9, re.MULTILINE)
    appliance = {"mask-banner", "allow-tls", "no", "mail-relay", "special-character"}
    ours = {row.pattern.split()[0] for row in FAMILY.rows[PARAMETERS]} - appliance
    assert sorted(ours) == sorted(documented)


def test_misfits_in_operation_are_those_that_status_names() -> None:
    section = OPERATION.partition("\n## Is it filtering?\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `([a-z-]+)` \| ", section, re.MULTILINE)) == sorted(misfits.ROWS)


def test_replay_in_readme_is_what_replay_prints() -> None:
    _, shown = blocks((ROOT / "README.md").read_text(), "text")
    command, _, lead = shown.partition("\n\n")
    _, program, *words = command.split()
    assert program == "nfinspect"
    run = CliRunner().invoke(cli.main, [*words[:-1], str(ROOT / words[-1])])
    assert (run.exit_code, lead.count("\n")) == (0, 6)
    assert f"\n\n{lead}" in run.stdout


def anchors(document: Path) -> set[str]:
    """The anchors of a document, as GitHub derives them from its headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_in_document_have_targets(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{document.name}: {link}"


@pytest.mark.parametrize("name", ["demo", "path"])
def test_picture_can_be_shown_in_a_page(name: str) -> None:
    picture = (ROOT / f"docs/pictures/{name}.svg").read_bytes()
    assert len(picture) < 200_000
    assert b"//" not in picture.replace(b"http://www.w3.org/2000/svg", b"").replace(
        b"https://www.textualize.io", b""
    )  # it loads nothing
    assert any(f"pictures/{name}.svg)" in document.read_text() for document in DOCUMENTS)


def test_picture_of_the_path_of_a_packet_is_what_its_script_draws() -> None:
    script = ROOT / "docs/pictures/path.py"
    assert runpy.run_path(str(script))["draw"]() == script.with_suffix(".svg").read_text()


def test_modules_in_the_picture_of_the_path_of_a_packet_exist() -> None:
    words = (ROOT / "docs/pictures/path.svg").read_text()
    places = re.findall(r"\b(?:flow|tcp|packet|esmtp|audit)/\w*", words)
    assert places
    for place in places:
        path = ROOT / "nfinspect" / place
        assert path.is_dir() or path.with_suffix(".py").exists(), place
