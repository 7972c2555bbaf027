"""How many machine instructions the engine takes for a session, as valgrind counts them.

The count is the same in each run, on a busy machine as on a quiet one, so that a small change is seen. It is
no time: an instruction that waits for memory counts like any other. ``python -m bench.instructions FILE
SESSIONS`` sends the sessions and ends; the difference of two such runs, divided by the difference in
sessions, has nothing of the interpreter's start, of imports or of what happens only once.
"""

from __future__ import annotations

import gc
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.policy import default_policy, parse_policy

if TYPE_CHECKING:
    from bench.session import Packet

Step = tuple[int, bytes, bool]
"""Where the client's port is in a datagram, the datagram, and whether it is a GSO packet."""

FIRST_PORT = 1024
VALGRIND = "valgrind"


class NoValgrindError(Exception):
    """valgrind is not installed, or has not counted; the text says so."""


def per_session(
    packets: Sequence[Packet], fewer: int, more: int, *, configuration: str | None = None
) -> float:
    """Instructions for one session of *packets*, from runs of so many sessions; under the default map
    if no configuration is given.

    Raises NoValgrindError.
    """
    if shutil.which(VALGRIND) is None:
        raise NoValgrindError("valgrind is not installed")
    steps: list[Step] = [
        (20 if packet.from_client else 22, packet.datagram, packet.gso) for packet in packets
    ]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "session"
        file.write_bytes(pickle.dumps((steps, configuration)))
        counted = [_count(file, sessions) for sessions in (fewer, more)]
    return (counted[1] - counted[0]) / (more - fewer)


def _count(file: Path, sessions: int) -> int:
    command = [
        *(VALGRIND, "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"),
        *(sys.executable, "-m", "bench.instructions", str(file), str(sessions)),
    ]
    # The order in a set or dict of strings would differ from run to run, and its cost with it.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return read(done.stderr)


def read(text: str) -> int:
    """The count in what valgrind says at its end. Raises NoValgrindError if there is none."""
    found = re.search(r"^==\d+== I +refs: +([\d,]+)$", text, re.MULTILINE)
    if found is None:
        raise NoValgrindError(f"valgrind has not counted: {text[-500:]}")
    return int(found[1].replace(",", ""))


def send(steps: Sequence[Step], configuration: str | None, sessions: int) -> None:
    """Send the session so many times, each from another port."""
    policy = default_policy()
    if configuration is not None:
        policy = parse_policy(configuration, "measured").policy
    engine = Engine(policy, started=0.0)
    gc.collect()
    gc.freeze()
    for port in range(FIRST_PORT, FIRST_PORT + sessions):
        name = port.to_bytes(2, "big")
        for at, datagram, gso in steps:
            moved = datagram[:at] + name + datagram[at + 2 :]
            engine.arrive(Arrival(None, moved, 1000.0, checksum_ready=False, gso=gso))
    assert engine.connections == 0


if __name__ == "__main__":
    send(*pickle.loads(Path(sys.argv[1]).read_bytes()), int(sys.argv[2]))
