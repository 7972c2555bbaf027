"""Where the filter spends its CPU time: PROFILE.md, from the samples of `sampled`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import process
from bench.loads import Load
from bench.machine import ROOT
from bench.measure import send, start_sink, warm_up
from bench.paths import in_path
from bench.report import describe, facts_table, table
from bench.sampled import START, Place
from bench.summary import FILTER
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import LabError

TOP = 30
"""Functions, and lines, that are listed."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The samples taken while *load* passed, and the CPU time that it took."""

    load: Load
    cpu_seconds: float
    samples: int
    running: Counter[Place]
    on_stack: Counter[Place]

    @property
    def by_function(self) -> Counter[Place]:
        """Samples in the function itself, without its callees."""
        found: Counter[Place] = Counter()
        for (file, function, _line), count in self.running.items():
            found[file, function, 0] += count
        return found


def take(load: Load) -> Profile:
    """Send *load* through the filter while sampling it. Raises LabError as `measure.rounds` does."""
    with Lab() as lab:
        file = lab.directory / "samples"
        start_sink(lab)
        run = [sys.executable, "-m", "bench.sampled", str(file), "run"]
        with in_path(lab, FILTER, run=run) as worker:
            assert worker is not None
            warm_up(lab)
            worker.send_signal(START)
            before = process.cpu_seconds(worker.pid)
            send(lab, load)
            cpu_seconds = process.cpu_seconds(worker.pid) - before
        return read(file.read_text(), load, cpu_seconds)


def read(text: str, load: Load, cpu_seconds: float) -> Profile:
    """Parse the output of `sampled`. Raises LabError if there are no samples."""
    found = json.loads(text)
    if not found["samples"]:
        raise LabError("the filter was not sampled: it did not get the signal, or did nothing")
    counts = (
        Counter({(file, function, line): count for file, function, line, count in found[kind]})
        for kind in ("running", "on_stack")
    )
    return Profile(load, cpu_seconds, found["samples"], *counts)


def profiles(taken: Iterable[Profile], facts: Mapping[str, str], command: str) -> str:
    """The complete text."""
    lines = [
        "# Where the filter spends its time",
        "",
        f"Written by `{command}`, which samples the filter every few milliseconds of CPU time.",
        "*Own* is the share of the function itself, including C code that it calls (a system call,",
        "a search in bytes); *with callees* includes the Python functions that it calls. Time in the",
        "compiled core is counted for the function that the interpreter runs next: its caller, or a",
        "dataclass's constructor.",
        "",
        *facts_table(facts),
        "",
    ]
    for profile in taken:
        lines += [f"## {describe(profile.load)}", "", *_profile(profile)]
    return "\n".join(lines)


def _profile(profile: Profile) -> Iterable[str]:
    per_session = profile.cpu_seconds / profile.load.sessions * 1e6
    yield f"{profile.samples:,} samples; {per_session:,.0f} µs of CPU time per session."
    yield ""
    own = profile.by_function
    yield from table(
        ["function", "own", "µs per session", "with callees"],
        [
            [
                name(place),
                _share(count, profile),
                f"{count / profile.samples * per_session:.1f}",
                _share(profile.on_stack[place], profile),
            ]
            for place, count in own.most_common(TOP)
        ],
    )
    yield ""
    yield from table(
        ["line", "own"],
        [
            [name(place), _share(count, profile)]
            for place, count in profile.running.most_common(TOP)
        ],
    )
    yield ""


def _share(count: int, profile: Profile) -> str:
    return f"{count / profile.samples:.1%}"


def name(place: Place) -> str:
    """``nfinspect/engine.py:70 Engine.arrive``; paths are relative to the checkout or to the
    library's package."""
    file, function, line = place
    path = Path(file)
    if path.is_relative_to(ROOT):
        path = path.relative_to(ROOT)
    if "site-packages" in path.parts:
        path = Path(*path.parts[path.parts.index("site-packages") + 1 :])
    elif path.is_absolute():
        path = Path(path.name)
    return f"{path}{f':{line}' if line else ''} {function}"
