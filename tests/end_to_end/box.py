"""A network namespace of its own, for rules without traffic."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from nfinspect.lab.namespaces import NFINSPECT

_numbers = itertools.count()
PROGRAMS = ("iptables", "ip6tables")


class Box:
    """The namespace, with one of the two variants of iptables."""

    def __init__(self, variant: str, programs: Path) -> None:
        """*variant* is ``nft`` or ``legacy``; *programs* is an empty directory for its programs."""
        self.name = f"nfib{os.getpid()}-{next(_numbers)}"
        self._path = f"{programs}:{os.environ['PATH']}"
        for program in PROGRAMS:
            for what in ("", "-restore", "-save"):
                target = shutil.which(f"{program}-{variant}{what}")
                assert target is not None
                (programs / f"{program}{what}").symlink_to(target)

    def __enter__(self) -> Self:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.nfinspect("rules", "--remove", check=False)
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def command(self, argv: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.name, "env", f"PATH={self._path}", *argv]

    def run(self, *argv: str, input: str = "", check: bool = True) -> str:
        """Run a program to its end, and return its output."""
        done = self.done(*argv, input=input)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def done(self, *argv: str, input: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(argv), input=input, capture_output=True, text=True)

    def nfinspect(self, *words: str, check: bool = True) -> str:
        return self.run(*NFINSPECT, *words, check=check)

    def saved(self) -> str:
        """All rules of both families, with their places; without comments and counters."""
        return "".join(self._saved(program) for program in PROGRAMS)

    def _saved(self, program: str) -> str:
        text = self.run(f"{program}-save")
        text = re.sub(r"\[\d+:\d+\]", "[0:0]", text)
        return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("#"))

    def state(self) -> dict[str, object]:
        """What nfinspect might change. Tables and built-in chains without rules are left out."""
        tables = re.findall(r"\*.*?COMMIT\n", self.saved(), re.DOTALL)
        return {
            "iptables": [t for t in tables if "-A" in t or ":NFINSPECT" in t],
            "nft": self._ruleset(),
            "sysctl": self.run("sysctl", "net.bridge", "net.ipv4.ip_forward", check=False),
        }

    def _ruleset(self) -> dict[str, list[str]]:
        """The lines of each chain; those of its own that a chain of the user has without rules."""
        chains: dict[str, list[str]] = {}
        table = chain = ""
        for line in self.run("nft", "list", "ruleset").splitlines():
            words = line.split()
            if words[:1] == ["table"]:
                table = line
            elif words[:1] == ["chain"]:
                chain = f"{table} {line}"
                chains[chain] = []
            elif words not in (["}"], []):
                chains[chain].append(line)
        return {
            name: lines
            for name, lines in chains.items()
            if len(lines) != 1 or " hook " not in lines[0]
        }
