"""The comparison of two checkouts: what counts as a difference, and how it is shown."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench import compare_behaviour
from bench.compare_behaviour import Side, compare, difference, renames
from bench.forms import FORCED_PURE

ROOT = Path(__file__).parents[3]
ONLY = "ordinary.inside.pcap$|^attack .*IPv4 to linux$|^(fuzz|replies|segments) 0$"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(compare, [*arguments, "--sessions", "2", "--only", ONLY])


def copy(place: Path, old: str, new: str) -> str:
    """A checkout with one thing changed in the vocabulary."""
    for name in ("nfinspect", "tests", "pcaps"):
        shutil.copytree(ROOT / name, place / name)
    module = place / "nfinspect/actions.py"
    text = module.read_text()
    assert old in text
    module.write_text(text.replace(old, new))
    return str(place)


def test_checkout_is_equal_to_itself() -> None:
    result = run(str(ROOT))
    assert result.exit_code == 0, result.output
    kinds = {line.split()[2] for line in result.output.splitlines() if line.startswith("equal")}
    assert kinds == {"replay", "engine", "mutated", "attack", "fuzz", "replies", "segments"}


def test_pure_form_is_compared_with_the_one_that_is_loaded() -> None:
    result = run(str(ROOT), "--pure-old")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{ROOT}: pure Python\n")


def test_checkout_that_cannot_be_made_pure_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_behaviour, "form", lambda *arguments: "compiled")
    assert run(str(ROOT), "--pure-old").exit_code == 2
    assert Side(ROOT, ROOT, pure=True).environment.items() >= FORCED_PURE.items()


@pytest.mark.pure  # a changed copy has no compiled form
def test_another_word_is_a_difference_unless_it_is_said_to_be_renamed(tmp_path: Path) -> None:
    checkout, words = tmp_path / "old", tmp_path / "words"
    old = copy(checkout, '"closed-connection"', '"of-a-closed-one"')
    words.write_text("# drop reasons\nof-a-closed-one=closed-connection\n")
    result = run(old)
    assert result.exit_code == 1
    assert "old:   drop" in result.output
    assert ", after > " in result.output
    assert run(old, "--words", str(words)).exit_code == 0


def test_checkout_that_fails_is_neither_equal_nor_different(tmp_path: Path) -> None:
    assert run(copy(tmp_path, '"""What', "This is no Python")).exit_code == 2


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("drop 3 shut", "drop 3 awaits-reply"),
        ("shutter shut-down", "shutter shut-down"),
        ("SYN Timeout, Timeout", "SYN-Timeout, late"),
    ],
)
def test_only_whole_words_are_renamed(line: str, becomes: str) -> None:
    rename = renames("shut=awaits-reply\nTimeout=late\nSYN Timeout=SYN-Timeout\n")
    assert rename(line) == becomes


def test_difference_names_the_packet_and_the_place(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("> 1 packet 7 45\n  accept 7\n")
    new.write_text("> 1 packet 7 45\n  accept 8\n  more\n")
    shown = difference(old, new, str)
    assert "line 2, character 10, after > 1 packet 7" in shown
    assert "new:   accept 8" in shown
    new.write_text("> 1 packet 7 45\n")
    assert "line 2, character 1" in difference(old, new, str)
