"""docs/walkthrough.md is true: each of its commands is typed in a shell, and prints what the page says."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from nfinspect.lab import place, topology

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/walkthrough.md").read_text()
PREFIX = f"walk{os.getpid()}"
"""The page's lab is `nfinspect`; that one may be somebody's."""

PATIENCE = 120
"""Seconds for a command."""

BEGIN = f"""\
cd "$1"
nfinspect() {{
    if [[ $1 = lab && $2 != telnet ]]; then
        command nfinspect lab "$2" --prefix {PREFIX} "${{@:3}}"
    else
        command nfinspect "$@"
    fi
}}
"""


@dataclass(frozen=True)
class Step:
    """A command, and what it prints."""

    exercise: str
    command: str
    output: str

    @property
    def pattern(self) -> str:
        """The output as a regular expression: a line of ``…`` is any number of lines."""
        lines = self.output.splitlines(keepends=True)
        return "".join(
            r"(?:.*\n)*?" if line == "…\n" else re.escape(line).replace("…", ".*?")
            for line in lines
        )


def steps() -> Iterator[Step]:
    exercise = ""
    for heading, block in re.findall(r"^## ([^\n]*)$|^```console\n(.*?)^```$", PAGE, re.M | re.S):
        exercise = heading or exercise
        for text in re.split(r"^\$ ", block, flags=re.M)[1:]:
            first, *rest = text.splitlines(keepends=True)
            further = [line for line in rest if line.startswith("> ")]
            command = first + "".join(line.removeprefix("> ") for line in further)
            yield Step(exercise, command, "".join(rest[len(further) :]))


STEPS = list(steps())


class Terminal:
    """A shell, whose output goes to a terminal of 250 columns."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 50, 250, 0, 0))
        environment = os.environ | {"TERM": "dumb", "NO_COLOR": "1"}
        self._shell = subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=slave,
            stderr=slave,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        os.close(slave)
        work = directory / "work"
        work.mkdir()
        (work / ".venv").symlink_to(ROOT / ".venv")
        (work / "pcaps").symlink_to(ROOT / "pcaps")
        assert self.type(f"set -- {shlex.quote(str(work))}\n{BEGIN}") == ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shell.communicate()
        os.close(self._master)

    def type(self, command: str) -> str:
        """What *command* prints."""
        end = f"end of {os.urandom(8).hex()}"
        file = self._directory / "command"
        file.write_text(command)
        assert self._shell.stdin is not None
        # From a file, so that no program reads the commands that follow.
        self._shell.stdin.write(f". {shlex.quote(str(file))} </dev/null; echo '{end}'\n")
        self._shell.stdin.flush()
        watch = threading.Timer(PATIENCE, self._shell.kill)
        watch.start()
        try:
            printed = b""
            while not printed.endswith(f"{end}\r\n".encode()):
                printed += os.read(self._master, 65536)
        finally:
            watch.cancel()
        return printed.decode().replace("\r\n", "\n").removesuffix(f"{end}\n")


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    with Terminal(tmp_path_factory.mktemp("walkthrough")) as terminal:
        yield terminal
        if topology.is_up(PREFIX):
            topology.remove(PREFIX)


@pytest.mark.parametrize("exercise", dict.fromkeys(step.exercise for step in STEPS))
def test_exercise_prints_what_the_page_says(exercise: str, terminal: Terminal) -> None:
    for step in (step for step in STEPS if step.exercise == exercise):
        there = str(place.directory("nfinspect")), str(place.directory(PREFIX))
        printed = terminal.type(step.command.replace(*there))
        assert re.fullmatch(step.pattern, printed), (
            f"$ {step.command}the page says:\n{step.output}\nprinted was:\n{printed}"
        )


def test_page_has_the_six_exercises_and_takes_its_lab_down() -> None:
    numbers = [step.exercise.split()[0] for step in STEPS if step.exercise]
    assert list(dict.fromkeys(numbers)) == list("123456")
    assert "nfinspect lab down\n" in [step.command for step in STEPS[-2:]]
