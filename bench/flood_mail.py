"""Mail that is timed one by one: ``python -m bench.flood_mail FILE SECONDS``, in the client's namespace.

New sessions: a process of smtp-source for each mail in FILE, `NEW` a second. Open sessions: `OPEN` connections
that were there before, over each of which the same mail is sent again and again, `AGAIN` a second. When those
are open it prints ``ready``, and begins at a line on stdin. At the end it prints as JSON the seconds that each
mail took; null for one that was not delivered.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

from bench.loads import RECIPIENT, SENDER, Load, on_the_wire
from nfinspect.lab import topology

NEW, OPEN, AGAIN = 10, 4, 10
PATIENCE = 30.0
"""Seconds that a mail may take."""
ONE = Load("one", sessions=1, parallel=1, size=0)

Times = list[float | None]


def new_session(file: Path) -> float | None:
    """Deliver a mail in a session of its own."""
    began = monotonic()
    try:
        done = subprocess.run(ONE.command(file), capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return None
    return None if done.returncode else monotonic() - began


class OpenSession:
    """A session that lasts."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._socket = socket.create_connection((topology.SERVER_ADDRESS, 25), PATIENCE)
        self._lines = self._socket.makefile("rwb")
        self._answer(b"220")
        self._say(f"HELO {topology.CLIENT_NAME}\r\n".encode())

    def mail(self) -> float | None:
        """Deliver a mail."""
        began = monotonic()
        try:
            self._say(f"MAIL FROM:<{SENDER}>\r\n".encode())
            self._say(f"RCPT TO:<{RECIPIENT}>\r\n".encode())
            self._say(b"DATA\r\n", b"354")
            self._say(self._message + b".\r\n")
        except (OSError, ValueError):
            return None
        return monotonic() - began

    def _say(self, text: bytes, answer: bytes = b"250") -> None:
        self._lines.write(text)
        self._lines.flush()
        self._answer(answer)

    def _answer(self, answer: bytes) -> None:
        line = self._lines.readline()
        if not line.startswith(answer):
            raise ValueError(f"{line!r} instead of {answer!r}")


def again(session: OpenSession, until: float, found: Times) -> None:
    """Send mail over a session."""
    while (began := monotonic()) < until:
        taken = session.mail()
        found.append(taken)
        if taken is None:
            return
        sleep(max(0.0, began + 1 / AGAIN - monotonic()))


def send(file: Path, seconds: float, begin: Callable[[], object]) -> dict[str, Times]:
    """Send and time it; *begin* returns when it is time to begin."""
    message = on_the_wire(file.read_text()).encode()
    sessions = [OpenSession(message) for _ in range(OPEN)]
    begin()
    over_open: Times = []
    until = monotonic() + seconds
    threads = [Thread(target=again, args=(each, until, over_open)) for each in sessions]
    for thread in threads:
        thread.start()
    new: list[Future[float | None]] = []
    with ThreadPoolExecutor(NEW * round(PATIENCE)) as pool:
        while monotonic() < until:
            new.append(pool.submit(new_session, file))
            sleep(1 / NEW)
    for thread in threads:
        thread.join()
    return {"new": [each.result() for each in new], "open": over_open}


def _begin() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    print(json.dumps(send(Path(sys.argv[1]), float(sys.argv[2]), _begin)), flush=True)
