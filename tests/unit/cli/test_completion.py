"""What a shell completes: commands, the words of show, the cases of the lab."""

from __future__ import annotations

import pytest
from click.shell_completion import ShellComplete

from nfinspect import cli
from nfinspect.lab.cases import CASES


def completed(*words: str) -> list[str]:
    """What is offered for the last of *words*."""
    shell = ShellComplete(cli.main, {}, "nfinspect", "_NFINSPECT_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["stat"], ["status"]),
        (["show", ""], ["service-policy", "queue", "conn", "local-host", "xlate"]),
        (["show", "ser"], ["service-policy"]),
        (["show", "service-policy", ""], ["inspect", "set"]),
        (["show", "conn", "d"], ["detail"]),
        (["show", "service-policy", "inspect", "e"], ["esmtp"]),
        (["show", "queue", ""], []),
        (["show", "weather", ""], []),
        (["run", "--log-f"], ["--log-format"]),
        (["run", "--log-format", "j"], ["journal"]),
        (["lab", "ex"], ["exec"]),
    ],
)
def test_words_are_completed(words: list[str], offered: list[str]) -> None:
    assert completed(*words) == offered


def test_cases_of_the_lab_are_completed() -> None:
    names = [case.name for case in CASES]
    assert completed("lab", "demo", "") == names
    assert completed("lab", "demo", names[0], names[3][:4]) == [
        name for name in names if name.startswith(names[3][:4])
    ]
