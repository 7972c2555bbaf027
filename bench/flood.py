"""Mail while SYNs from forged addresses flood its server, with and without an embryonic limit."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import process
from bench.flood_mail import AGAIN, NEW, OPEN, PATIENCE
from bench.loads import KIB
from bench.measure import mail_file, start_sink, warm_up
from bench.paths import in_path
from bench.report import NONE, facts_table, table
from bench.summary import FILTER, MIB
from bench.syn_flood import SOURCES
from nfinspect.lab import topology
from nfinspect.lab.lab import Lab
from nfinspect.live import queue_table, synproxy
from nfinspect.rules.queues import syn_queue

SECONDS, QUICK_SECONDS = 20.0, 5.0
"""How long mail is sent; the flood begins before and ends after it."""
BEFORE, AFTER = 2.0, 1.0
SIZE = 20 * KIB
SENDER = 25_000
"""SYNs a second from one sender: more are sent by several, which get more of a busy machine."""

LIMIT = 100
WITHOUT = "policy-map global_policy\n class class-default\n  set connection random-sequence-number enable\n"
WITH = (
    f"policy-map global_policy\n class class-default\n  set connection embryonic-conn-max {LIMIT}\n"
)


@dataclass(frozen=True, slots=True)
class Condition:
    rate: int
    """SYNs a second that the sender tries to send; 0 for no flood."""
    limited: bool = False
    """There is an embryonic limit."""

    def describe(self) -> str:
        if not self.rate:
            return "no flood"
        return f"{self.rate:,}, {f'limit {LIMIT}' if self.limited else 'no limit'}"


CONDITIONS = (
    Condition(0),
    *(Condition(rate, limited) for rate in (20_000, 100_000) for limited in (False, True)),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One condition, once."""

    condition: Condition
    new: tuple[float | None, ...]
    """Seconds of each mail in a session of its own; None if it was not delivered."""
    open: tuple[float | None, ...]
    """The same over sessions that were open before."""
    reached: float
    """SYNs a second that were sent."""
    cpu: float
    """CPU seconds of the filter, for each second."""
    memory_early: int
    memory: int
    """Of the filter, in bytes: a second before mail begins, and when all is over."""
    answered: int
    """SYNs that the kernel answered."""
    decided: int
    """SYNs that the filter decided."""
    lost: int
    """SYNs that the queue for SYNs had no place for."""


def rounds(
    count: int,
    seconds: float,
    conditions: Sequence[Condition] = CONDITIONS,
    *,
    report: Callable[[str], None],
) -> Iterator[list[Sample]]:
    """Measure each condition *count* times, and yield the samples of each round.

    Raises LabError if anything fails; mail that is not delivered is no failure.
    """
    for number in range(1, count + 1):
        found = []
        for condition in conditions:
            sample = measure(condition, seconds)
            report(
                f"round {number}, {condition.describe()}: {share(sample.new)} of new,"
                f" {share(sample.open)} of open sessions, {sample.reached:,.0f} SYNs/s"
            )
            found.append(sample)
        yield found


def measure(condition: Condition, seconds: float) -> Sample:
    """Send mail through a flood, in a new lab."""
    with Lab() as lab:
        route = ["ip", "route", "replace", str(SOURCES), "via", topology.CLIENT_ADDRESS]
        lab.run(topology.FILTER, route)
        start_sink(lab)
        config = lab.directory / "firewall.cfg"
        config.write_text(WITH if condition.limited else WITHOUT)
        with in_path(lab, FILTER, config=config) as worker:
            assert worker is not None
            warm_up(lab)
            return _through(lab, condition, seconds, worker.pid)


def _through(lab: Lab, condition: Condition, seconds: float, worker: int) -> Sample:
    mail = _start(lab, "flood_mail", mail_file(lab.directory, SIZE), seconds, ready=True)
    before, began, syns = process.cpu_seconds(worker), time.monotonic(), _counters(worker)
    senders, lasts = -(-condition.rate // SENDER), BEFORE + seconds + AFTER
    flooding = [
        _start(lab, "syn_flood", topology.SERVER_ADDRESS, condition.rate // senders, lasts)
        for _ in range(senders)
    ]
    time.sleep(BEFORE)
    early = process.peak_memory(worker)
    times = _end(mail, "go\n", seconds + 2 * PATIENCE)
    sent = [_end(sender, "", 60) for sender in flooding]
    cpu = (process.cpu_seconds(worker) - before) / (time.monotonic() - began)
    answered, decided, lost = (
        now - then for now, then in zip(_counters(worker), syns, strict=True)
    )
    return Sample(
        condition,
        tuple(times["new"]),
        tuple(times["open"]),
        sum(each["sent"] / each["seconds"] for each in sent),
        cpu,
        early,
        process.peak_memory(worker),
        answered,
        decided,
        lost,
    )


def _start(lab: Lab, module: str, *words: object, ready: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"bench.{module}", *map(str, words)]
    started = lab.popen(topology.CLIENT, command, stdin=subprocess.PIPE)
    lab.at_close(started.kill)
    if ready and (started.stdout is None or started.stdout.readline() != "ready\n"):
        raise topology.LabError(f"{module} does not start: {started.communicate()[1]}")
    return started


def _end(started: subprocess.Popen[str], said: str, timeout: float) -> dict[str, Any]:
    out, errors = started.communicate(said, timeout=timeout)
    if started.returncode:
        raise topology.LabError(f"{started.args!r} ended with {started.returncode}: {errors}")
    found: dict[str, Any] = json.loads(out)
    return found


def _counters(pid: int) -> tuple[int, int, int]:
    """SYNs answered by the kernel; decided by the process, and lost before it."""
    network = Path(f"/proc/{pid}/net")
    row = queue_table.parse((network / "netfilter/nfnetlink_queue").read_text())[syn_queue(0)]
    try:
        answered = synproxy.parse((network / "stat/synproxy").read_text())
    except FileNotFoundError:
        answered = 0
    return answered, row.last, row.lost


# ---- the report --------------------------------------------------------------------------------


def share(times: Sequence[float | None]) -> str:
    """How many of the mails were delivered."""
    delivered = sum(each is not None for each in times)
    return f"{delivered} of {len(times)}"


def quantile(times: Sequence[float | None], part: float) -> float | None:
    """The time within which *part* of all mails were delivered; None if fewer were."""
    done = sorted(each for each in times if each is not None)
    at = max(0, -(-round(part * 1000) * len(times) // 1000) - 1)
    return done[at] if at < len(done) else None


def results(samples: Sequence[Sample], facts: Mapping[str, str], command: str) -> str:
    """The complete text."""
    conditions = list(dict.fromkeys(each.condition for each in samples))
    count = len(samples) // max(1, len(conditions))
    return "\n".join(
        [
            "# Mail in a flood of SYNs",
            "",
            f"Written by `{command}`; [README.md](README.md) explains what is measured and how.",
            f"{count} round{'s' if count > 1 else ''}, whose mails are counted together: {NEW} new"
            f" sessions a second, {OPEN} open ones with {AGAIN} mails a second each,",
            f"mails of {SIZE // KIB} KiB. Times are milliseconds of a whole mail; – if fewer were"
            " delivered.",
            "",
            *facts_table(facts),
            "",
            *_mails(samples, conditions),
            "",
            "What the filter had to do, as the median of the rounds, memory as the most:",
            "",
            *_work(samples, conditions),
            "",
        ]
    )


def _mails(samples: Sequence[Sample], conditions: Sequence[Condition]) -> list[str]:
    rows = []
    for condition in conditions:
        some = [each for each in samples if each.condition == condition]
        row = [condition.describe(), f"{middle(each.reached for each in some):,.0f}"]
        for times in (
            [taken for each in some for taken in each.new],
            [taken for each in some for taken in each.open],
        ):
            row += [share(times), *(_milliseconds(quantile(times, part)) for part in (0.5, 0.99))]
        rows.append(row)
    head = ["SYNs a second", "reached"]
    for kind in ("new", "open"):
        head += [f"{kind} sessions: delivered", "median", "99 %"]
    return table(head, rows)


def _work(samples: Sequence[Sample], conditions: Sequence[Condition]) -> list[str]:
    rows = []
    for condition in conditions:
        some = [each for each in samples if each.condition == condition]
        rows.append(
            [
                condition.describe(),
                f"{middle(each.cpu for each in some):.2f}",
                f"{max(each.memory_early for each in some) / MIB:.0f}",
                f"{max(each.memory for each in some) / MIB:.0f}",
                *(
                    f"{middle(getattr(each, name) for each in some):,.0f}"
                    for name in ("answered", "decided", "lost")
                ),
            ]
        )
    head = ["SYNs a second", "CPU", "MiB early", "MiB at the end"]
    return table([*head, "SYNs answered by the kernel", "decided by the filter", "lost"], rows)


def middle(figures: Iterator[float]) -> float:
    ordered = sorted(figures)
    return ordered[len(ordered) // 2]


def _milliseconds(seconds: float | None) -> str:
    return NONE if seconds is None else f"{1000 * seconds:.1f}"
