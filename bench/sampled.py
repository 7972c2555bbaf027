"""Runs nfinspect and samples its stack every few milliseconds of CPU time.

``python -m bench.sampled FILE COMMAND…`` does what ``nfinspect COMMAND…`` does, and writes to FILE, as
JSON, how often each line was running and how often each function was on the stack since it received
`START`.

A profiler that traces every call costs more than the calls and makes small functions look expensive;
a sample costs next to nothing. The interpreter handles signals only at calls and loops, so time spent
between two calls is attributed to the line of the second; the shares by function are right.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

START = signal.SIGRTMIN
"""The signal; the filter ignores SIGUSR1 and 2."""

INTERVAL = 0.001
"""Seconds of CPU time between two samples; the kernel rounds it up to a tick of its clock."""

Place = tuple[str, str, int]
"""File, function and line; line 0 is the whole function."""


class Sampler:
    """Counts samples from `start` to `stop`."""

    def __init__(self) -> None:
        self.samples = 0
        self.running: Counter[Place] = Counter()
        """By line: the innermost function was there."""
        self.on_stack: Counter[Place] = Counter()
        """By function: it was running, or a function that it had called."""

    def start(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Start sampling; can be used as a signal handler."""
        signal.signal(signal.SIGPROF, self.sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def sample(self, _number: int, frame: FrameType | None) -> None:
        """Count *frame* and its callers as one sample."""
        if frame is None:
            return
        self.samples += 1
        code = frame.f_code
        self.running[code.co_filename, code.co_qualname, frame.f_lineno] += 1
        found = set()
        while frame is not None:
            code = frame.f_code
            found.add((code.co_filename, code.co_qualname, 0))
            frame = frame.f_back
        self.on_stack.update(found)

    def write(self, file: Path) -> None:
        file.write_text(
            json.dumps(
                {
                    "samples": self.samples,
                    "running": [[*place, count] for place, count in self.running.items()],
                    "on_stack": [[*place, count] for place, count in self.on_stack.items()],
                }
            )
        )


def main() -> None:
    from nfinspect.cli import main as nfinspect

    file, sys.argv[1:] = Path(sys.argv[1]), sys.argv[2:]
    sampler = Sampler()
    signal.signal(START, sampler.start)
    try:
        nfinspect()
    finally:
        sampler.stop()
        sampler.write(file)


if __name__ == "__main__":
    main()
