"""Runs nfinspect and looks where it is every few milliseconds of CPU time.

``python -m bench.sampled FILE COMMAND…`` does what ``nfinspect COMMAND…`` does, and leaves in FILE,
as JSON, how often each line was found running and how often each function was found on the stack
since it was sent SIGUSR1.

A profiler that is told of every call costs more than the calls and makes small functions look dear;
a sample costs next to nothing. The interpreter handles a signal when it calls or loops, so what is
computed between two calls is found at the second; by function the shares are right.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL = 0.001
"""Seconds of CPU time between two looks; the kernel makes it a tick of its own clock if that is
longer."""

Place = tuple[str, str, int]
"""File, function and line; line 0 is the function as a whole."""


class Sampler:
    """Counts, from `start` to `stop`."""

    def __init__(self) -> None:
        self.samples = 0
        self.running: Counter[Place] = Counter()
        """By line: where the innermost function was."""
        self.on_stack: Counter[Place] = Counter()
        """By function: in it, or in what it had called."""

    def start(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Begin; may be a signal's handler."""
        signal.signal(signal.SIGPROF, self.look)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def look(self, _number: int, frame: FrameType | None) -> None:
        """Count one sample of *frame* and its callers."""
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
    signal.signal(signal.SIGUSR1, sampler.start)
    try:
        nfinspect()
    finally:
        sampler.stop()
        sampler.write(file)


if __name__ == "__main__":
    main()
