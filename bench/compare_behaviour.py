"""``python -m bench.compare_behaviour OLD [NEW]``: whether two checkouts treat the same traffic alike.

Each capture, the attack table, the grid and seeded hostile sessions go through both (`behaviour` says how);
all that comes out is compared byte for byte. NEW is this checkout, if it is not given.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import click

from bench.forms import AS_LOADED, FORCED_PURE, PURE, form

HERE = Path(__file__).parents[1]
RECORDER = Path(__file__).with_name("behaviour.py")
CAPTURES = (".pcap", ".pcapng", ".gz")
AROUND = 60
"""Characters shown on each side of the first that differs."""
MOST = 20
"""Differences shown of each kind of item; all are counted."""

Rename = Callable[[str], str]


@click.command()
@click.argument("old", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("new", default=HERE, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--captures",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A further directory of captures, besides pcaps/ of both.",
)
@click.option("--sessions", default=1000, show_default=True, help="Seeded hostile sessions.")
@click.option(
    "--words",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of renames, one old=new in a line: such a change is no difference.",
)
@click.option("--only", default="", metavar="REGEX", help="Only items whose name it is found in.")
@click.option("--pure-old", is_flag=True, help="Run the old one as pure Python.")
def compare(
    old: Path,
    new: Path,
    folders: tuple[Path, ...],
    sessions: int,
    words: Path | None,
    only: str,
    pure_old: bool,
) -> None:
    """Compare what two checkouts do; print a digest for each item, and how the different ones differ.

    Exit status 0 if everything is equal, 1 if not, 2 if a checkout cannot be run.
    """
    old, new = old.resolve(), new.resolve()
    captures, configurations = inputs([old / "pcaps", new / "pcaps", *folders])
    given = [
        f"--only={only}",
        *(f"--capture={path}" for path in captures),
        *(f"--configuration={path}" for path in configurations),
    ]
    rename = renames(words.read_text() if words else "")
    with tempfile.TemporaryDirectory(prefix="behaviour-") as directory:
        places = [Path(directory) / name for name in ("old", "new")]
        sides = Side(old, places[0], pure=pure_old), Side(new, places[1])
        tapes = Path(directory) / "tapes"
        act = ["--record", f"--sessions={sessions}", f"--only={only}"]
        if not (
            all(side.is_loadable() for side in sides)
            and succeeded([sides[0].start(tapes, act)])
            and succeeded([side.start(side.place, [*given, f"--tapes={tapes}"]) for side in sides])
        ):
            sys.exit(2)
        different = report(*(items(place) for place in places), rename)
    sys.exit(1 if different else 0)


def inputs(folders: list[Path]) -> tuple[list[Path], list[Path]]:
    """The captures and configurations of these directories; of two with the same name, the first."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*")):
            found.setdefault(path.name, path.resolve())
    captures = [path for path in found.values() if path.suffix in CAPTURES]
    return captures, [path for path in found.values() if path.suffix == ".cfg"]


@dataclass(frozen=True, slots=True)
class Side:
    """A checkout, and where its behaviour is written down."""

    checkout: Path
    place: Path
    pure: bool = False

    @property
    def python(self) -> str:
        """The checkout's own interpreter, if it has one."""
        own = self.checkout / ".venv/bin/python"
        return str(own) if own.exists() else sys.executable

    @property
    def environment(self) -> dict[str, str]:
        """One in which everything is loaded from this checkout, and nothing is written there. The order of
        a set would differ from run to run."""
        fixed = {
            "PYTHONPATH": str(self.checkout),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "TZ": "UTC",
        }
        return {**os.environ, **fixed, **(FORCED_PURE if self.pure else AS_LOADED)}

    def is_loadable(self) -> bool:
        """Print the form in which it is loaded; False if it is not, or not in the form that is wanted."""
        try:
            loaded = form(self.environment, self.python)
        except subprocess.CalledProcessError as error:
            click.echo(f"cannot run {self.checkout}: {error.stderr}", err=True)
            return False
        click.echo(f"{self.checkout}: {loaded}")
        return not self.pure or loaded == PURE

    def start(self, out: Path, given: list[str]) -> subprocess.Popen[bytes]:
        """Begin to write down the behaviour, or what went into the sessions."""
        command = [self.python, "-P", str(RECORDER), str(out), f"--checkout={self.checkout}"]
        return subprocess.Popen([*command, *given], cwd=self.checkout, env=self.environment)


def succeeded(running: list[subprocess.Popen[bytes]]) -> bool:
    """Whether all of them do."""
    try:
        statuses = [process.wait() for process in running]
    finally:
        for process in running:
            process.kill()
    return not any(statuses)


def items(place: Path) -> dict[str, Path]:
    """The file of each item, by the item's name."""
    names = (place / "names").read_text().splitlines()
    return {name: place / str(number) for number, name in enumerate(names)}


def renames(text: str) -> Rename:
    """What puts the new word in the place of each old one, where that stands alone."""
    pairs = dict(
        line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#")
    )
    if not pairs:
        return lambda line: line
    longest_first = sorted(pairs, key=len, reverse=True)
    words = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])")
    return lambda line: words.sub(lambda found: pairs[found[0]], line)


def report(old: dict[str, Path], new: dict[str, Path], rename: Rename) -> int:
    """Print a line for each item, and each first difference; return how many items differ."""
    different: Counter[str] = Counter()
    for name in dict.fromkeys([*old, *new]):
        kind = name.partition(" ")[0]
        if name not in old:
            click.echo(f"NOT COMPARED, the old one lacks it: {name}")
            continue
        if name not in new:
            click.echo(f"DIFFERENT, the new one lacks it: {name}")
            different[kind] += 1
            continue
        digests = digest(old[name], rename), digest(new[name])
        equal = digests[0] == digests[1]
        click.echo(f"{'equal' if equal else 'DIFFERENT'} {digests[1]} {name}")
        if not equal:
            different[kind] += 1
            if different[kind] <= MOST:
                click.echo(difference(old[name], new[name], rename))
    total = different.total()
    click.echo(f"{len(old.keys() | new.keys())} items, {total} different")
    for kind, count in different.items():
        click.echo(f"  {count} of {kind}")
    return total


def digest(file: Path, rename: Rename | None = None) -> str:
    """The first 16 digits of the SHA-256 of a text."""
    text = file.read_text()
    return hashlib.sha256((rename(text) if rename else text).encode()).hexdigest()[:16]


def difference(old: Path, new: Path, rename: Rename) -> str:
    """Where two texts part, and at which packet."""
    step = "the beginning"
    pairs = zip_longest(
        rename(old.read_text()).splitlines(), new.read_text().splitlines(), fillvalue=""
    )
    for number, (before, after) in enumerate(pairs, 1):
        if before != after:
            pairs_of_characters = enumerate(zip_longest(before, after))
            at = next(at for at, (one, other) in pairs_of_characters if one != other)
            begin = max(0, at - AROUND)
            shown = "\n".join(
                f"    {name}: {'…' * (begin > 0)}{line[begin : at + AROUND]}"
                for name, line in (("old", before), ("new", after))
            )
            after_step = "" if before.startswith(">") else f", after {step[:AROUND]}"
            return f"  line {number}, character {at + 1}{after_step}\n{shown}"
        if after.startswith((">", "packet")):
            step = after
    raise AssertionError("the texts are equal")


if __name__ == "__main__":
    compare(prog_name="python -m bench.compare_behaviour")
