"""The mail that a server of the lab has delivered."""

from __future__ import annotations

import time
from pathlib import Path

from nfinspect.lab.topology import LabError


class Maildir:
    """A maildir filled by a mail server: lines end with LF, and the server adds headers on top."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def messages(self) -> list[bytes]:
        """All messages, in the order of their delivery."""
        files = sorted((self.path / "new").glob("*"), key=lambda file: file.stat().st_mtime_ns)
        return [file.read_bytes() for file in files]

    def wait(self, count: int = 1, timeout: float = 30) -> list[bytes]:
        """Wait for *count* messages and return all; raises LabError if they do not arrive."""
        deadline = time.monotonic() + timeout
        while len(found := list((self.path / "new").glob("*"))) < count:
            if time.monotonic() > deadline:
                raise LabError(f"{len(found)} of {count} messages delivered in {timeout} s")
            time.sleep(0.02)
        return self.messages()

    def clear(self) -> None:
        """Delete all messages."""
        for file in (self.path / "new").glob("*"):
            file.unlink()
