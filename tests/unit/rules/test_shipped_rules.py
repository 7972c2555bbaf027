"""The rule sets in iptables/ are what the command prints for the examples."""

from pathlib import Path

import pytest

from tests.unit.rules.shipped import CONFIGURATIONS, DIRECTORY, OPTIONS, files, printed

README = DIRECTORY / "README.md"


def test_shipped_rules_are_what_the_command_prints() -> None:
    made = dict(files())
    assert {path for path in DIRECTORY.iterdir() if path != README} == set(made)
    for path, text in made.items():
        assert path.read_text() == text, "write it anew: python -m tests.unit.rules.shipped"


def test_every_example_has_its_rules_and_is_named_in_the_read_me() -> None:
    examples = {path.stem for path in CONFIGURATIONS.glob("*.cfg")}
    assert examples | {"default"} == set(OPTIONS)
    text = README.read_text()
    assert all(f"{path.name}](" in text for path, _ in files())


@pytest.mark.parametrize(("option", "version"), [("-4", 4), ("-6", 6)])
def test_command_prints_the_rules_of_one_ip_version(option: str, version: int) -> None:
    for example in OPTIONS:
        if not OPTIONS[example]:
            file: Path = DIRECTORY / f"{example}.v{version}.rules"
            assert printed(example, option) == file.read_text()
