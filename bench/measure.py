"""Rounds: in each, every path carries every load once, in a new lab, in rotating order."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import process
from bench.loads import SINK, SMALL, Load, mail
from bench.paths import in_path
from bench.summary import Sample
from nfinspect.lab import topology
from nfinspect.lab.lab import Lab

LOAD_TIMEOUT = 60.0
"""Seconds that one load may take through one path; a longer one fails and yields no figure."""


def rounds(
    count: int, loads: Sequence[Load], paths: Sequence[str], *, report: Callable[[str], None]
) -> Iterator[list[Sample]]:
    """Measure *count* rounds of all *paths*; yield the samples of each.

    Raises LabError if anything fails: a load that is not completely delivered yields no figure.
    """
    for number in range(1, count + 1):
        samples = []
        for path in order(number, paths):
            for sample in carry(path, number, loads):
                report(f"round {number}, {path}, {sample.load}: {sample.seconds:.2f} s")
                samples.append(sample)
        yield samples


def order(number: int, paths: Sequence[str]) -> list[str]:
    """The order of the paths in round *number*: each is first, second and last in turn."""
    turn = (number - 1) % len(paths)
    return [*paths[turn:], *paths[:turn]]


def carry(path: str, number: int, loads: Sequence[Load]) -> Iterator[Sample]:
    """Send each of *loads* through *path*, in a new lab, so that no path affects the next."""
    with Lab() as lab:
        start_sink(lab)
        with in_path(lab, path) as worker:
            warm_up(lab)
            for load in loads:
                yield sample(lab, path, number, load, worker)


def sample(
    lab: Lab, path: str, number: int, load: Load, worker: subprocess.Popen[str] | None
) -> Sample:
    """Send *load* and measure it; *worker* is the process in the path, if there is one."""
    if worker is None:
        seconds = send(lab, load)
        return Sample(path, number, load.name, load.sessions, load.octets, seconds)
    cpu = process.cpu_seconds(worker.pid)
    queued, lost = process.queue_counters(worker.pid)
    seconds = send(lab, load)
    queued_now, lost_now = process.queue_counters(worker.pid)
    return Sample(
        path,
        number,
        load.name,
        load.sessions,
        load.octets,
        seconds,
        process.cpu_seconds(worker.pid) - cpu,
        process.peak_memory(worker.pid),
        queued_now - queued,
        lost_now - lost,
    )


def start_sink(lab: Lab) -> None:
    """Start the server, and wait until it answers."""
    sink = lab.popen(topology.SERVER, SINK, stdout=subprocess.DEVNULL)
    lab.at_close(sink.terminate)
    deadline = time.monotonic() + 10
    while True:
        try:
            with lab.socket(topology.CLIENT) as client:
                client.settimeout(1)
                client.connect((topology.SERVER_ADDRESS, 25))
                return
        except OSError:
            if sink.poll() is not None or time.monotonic() > deadline:
                raise topology.LabError("smtp-sink does not start") from None
            time.sleep(0.02)


def warm_up(lab: Lab) -> None:
    """Resolve neighbours, run all code once and touch memory before measuring."""
    send(lab, SMALL.shortened(50))


def send(lab: Lab, load: Load) -> float:
    """Send *load* and return the seconds it took. smtp-source fails at any reply but success."""
    file = mail_file(lab.directory, load.size)
    started = time.perf_counter()
    lab.run(topology.CLIENT, load.command(file), timeout=LOAD_TIMEOUT)
    return time.perf_counter() - started


def mail_file(directory: Path, size: int) -> Path:
    """The file with the mail of *size* bytes, written at its first use."""
    file = directory / f"mail-{size}"
    if not file.exists():
        file.write_text(mail(size))
    return file
