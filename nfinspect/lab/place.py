"""Where a lab keeps its files: one directory, ``/run/nfinspect-lab/NAME``.

It is a file system of its own, in memory: Postfix wants more room than many a ``/run`` has. It is made before anything else of the lab and removed last, and it says who keeps the lab. So what a
killed command has left behind can be found, and taken away.

Below it, each namespace has a ``/run`` of its own, which its programs see instead of the machine's: the
filter's socket and files in one lab are not those of another, nor of the machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Self

ROOT = Path("/run/nfinspect-lab")
RECORD = "lab.json"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
"""Of a lab. It is a part of file names."""


class Keeper(NamedTuple):
    """A process that takes its lab down when it ends."""

    pid: int
    started: int
    """In clock ticks since the boot, as in ``/proc/PID/stat``: another process may get the number."""

    @classmethod
    def this_process(cls) -> Self:
        pid = os.getpid()
        return cls(pid, _started(pid) or 0)

    @property
    def lives(self) -> bool:
        return _started(self.pid) == self.started


def _started(pid: int) -> int | None:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else int(words[19])


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a lab."""

    keeper: Keeper | None
    """None if it stays until ``lab down``."""
    bridge: bool = False
    nat: bool = False
    ipv6: bool = False
    bare: bool = True
    """Only the namespaces; nothing was started in them."""
    config: str | None = None
    """The file with the policy of the filter; None for the default policy."""

    def write(self, prefix: str) -> None:
        file = directory(prefix) / RECORD
        new = file.with_suffix(".new")
        new.write_text(json.dumps(asdict(self)))
        new.replace(file)


def read(prefix: str) -> Record | None:
    """The record of the lab; None if it has none, as when its building was killed at the first step."""
    try:
        known = json.loads((directory(prefix) / RECORD).read_text())
        keeper = known.pop("keeper")
        return Record(None if keeper is None else Keeper(*keeper), **known)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_kept(prefix: str) -> bool:
    """Whether a running command keeps the lab."""
    record = read(prefix)
    return record is not None and record.keeper is not None and record.keeper.lives


def is_left_behind(prefix: str) -> bool:
    """Whether the command that kept the lab was killed."""
    record = read(prefix)
    return record is None or (record.keeper is not None and not record.keeper.lives)


def names() -> list[str]:
    """All labs that have a directory."""
    with suppress(FileNotFoundError):
        return sorted(entry.name for entry in ROOT.iterdir() if NAME.fullmatch(entry.name))
    return []


def directory(prefix: str) -> Path:
    """The directory of the lab; readable by all, as mail servers switch users."""
    return ROOT / prefix


def private_run(prefix: str, namespace: str) -> Path:
    """What programs in *namespace* see as /run."""
    return directory(prefix) / "run" / namespace


def claim(prefix: str) -> None:
    """Make the directory of the lab, empty. Raises FileExistsError if there is one already."""
    while True:
        ROOT.mkdir(mode=0o755, exist_ok=True)
        with suppress(FileNotFoundError):  # `remove` of the last of other labs came in between
            directory(prefix).mkdir(mode=0o755)
            return


def furnish(prefix: str, namespaces: tuple[str, ...], record: Record) -> None:
    """Make what is in the directory. Raises CalledProcessError, OSError."""
    ROOT.chmod(0o755)  # whatever the umask
    where = directory(prefix)
    record.write(prefix)  # at once: without it the lab would look like one that was left behind
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "mode=0755", ROOT.name, str(where)],
        check=True,
        capture_output=True,
        text=True,
    )
    record.write(prefix)
    for namespace in namespaces:
        run = private_run(prefix, namespace)
        (run / directory(prefix).relative_to("/run")).mkdir(parents=True)
        (run / "lock").mkdir()
        (run / "lock").chmod(0o1777)


def remove(prefix: str) -> None:
    """Remove the directory of the lab, if there is one. Its processes must have ended."""
    while directory(prefix).is_mount():
        subprocess.run(
            ["umount", "--lazy", str(directory(prefix))], check=True, capture_output=True
        )
    shutil.rmtree(directory(prefix), ignore_errors=True)
    with suppress(OSError):
        ROOT.rmdir()  # if it was the last lab
