"""A lab in use: namespaces with programs, sockets, captures and the filter in them."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from nfinspect.lab.capture import RunningCapture
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.namespaces import Namespaces
from nfinspect.lab.topology import FILTER


class Lab(Namespaces):
    """`Namespaces` in which captures are made, and the filter runs."""

    def capture(
        self, file: Path, interface: str, where: str = FILTER, *, expression: str = "tcp port 25"
    ) -> RunningCapture:
        """Start a capture on an interface, by default of the filter; see `capture.Capture`."""
        capture = RunningCapture(self, file, interface, where, expression)
        self.at_close(capture.stop)
        return capture

    def filter(self, config: Path | None = None, *, arguments: Sequence[str] = ()) -> RunningFilter:
        """Apply the rules and start the filter in its namespace; see `filter.RunningFilter`."""
        running = RunningFilter(self, config, arguments)
        self.at_close(running.end)
        return running


@contextmanager
def orderly_end() -> Iterator[None]:
    """In this block, SIGTERM and SIGHUP act like Ctrl-C, so that they take the lab down too."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
