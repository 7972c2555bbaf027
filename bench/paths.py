"""What is in the path: only the kernel, the accept-only process, or the filter."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.forms import AS_LOADED, FORCED_PURE, has_both
from bench.summary import ACCEPT_ONLY, FILTER, PATHS, PURE_FILTER, SPINNING
from nfinspect.lab import topology
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import LabError

TIMEOUT = 20.0
"""Seconds that a process may take to become ready, and to end."""

ACCEPT = [sys.executable, "-m", "bench.accept_only"]
RUN = [sys.executable, "-m", "nfinspect", "run"]
RULES = [sys.executable, "-m", "nfinspect", "rules"]


def paths() -> list[str]:
    """The paths to measure here. Raises LabError as `has_both` does."""
    return [path for path in PATHS if path != PURE_FILTER or has_both()]


ITS_SYNS = "-p tcp --dport 25 --tcp-flags SYN,ACK SYN -j NFQUEUE --queue-num 0"
"""Accept-only has one queue: the library reads no second one without a second thread, which would make it
dearer."""


@contextmanager
def in_path(
    lab: Lab, path: str, *, run: Sequence[str] = RUN, config: Path | None = None
) -> Iterator[subprocess.Popen[str] | None]:
    """Divert the lab's mail to the process of *path*, and yield it; None for plain forwarding.

    *run* is the command that starts the filter, whose configuration is *config*. Raises LabError if a
    process does not start, ends too early, or ends with an error.
    """
    files = ["--control", str(lab.directory / "control"), "--state", str(lab.directory / "closed")]
    policy = [] if config is None else ["--config", str(config)]
    command = [*run, *policy, *files]
    commands = {
        ACCEPT_ONLY: ACCEPT,
        FILTER: command,
        SPINNING: [*command, "--spin"],
        PURE_FILTER: command,
    }
    environment = FORCED_PURE if path == PURE_FILTER else AS_LOADED
    if path not in commands:
        yield None
        return
    log = lab.directory / "stderr"
    # Syslog lines go to a file, as they would go to a collector: writing them is the filter's work.
    with (lab.directory / "stdout").open("w") as out, log.open("w") as errors:
        process = lab.popen(
            topology.FILTER,
            commands[path],
            stdout=out,
            stderr=errors,
            environment=dict(environment),
        )
    try:
        deadline = time.monotonic() + TIMEOUT
        while "ready" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{path} does not start: {log.read_text().strip()}")
            time.sleep(0.02)
        lab.run(topology.FILTER, [*RULES, *policy, "--apply"])
        if path == ACCEPT_ONLY:
            lab.run(
                topology.FILTER, ["iptables", "-t", "security", "-I", "FORWARD", *ITS_SYNS.split()]
            )
        try:
            yield process
        finally:
            if process.poll() is not None:
                raise LabError(f"{path} ended by itself: {log.read_text().strip()}")
        if path == ACCEPT_ONLY:
            lab.run(
                topology.FILTER, ["iptables", "-t", "security", "-D", "FORWARD", *ITS_SYNS.split()]
            )
        lab.run(topology.FILTER, [*RULES, *policy, "--remove"])
    finally:
        process.terminate()
        try:
            status = process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise LabError(f"{path} does not end at SIGTERM") from None
    if status != 0:
        raise LabError(f"{path} ended with {status}: {log.read_text().strip()}")
