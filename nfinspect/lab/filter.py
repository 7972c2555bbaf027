"""The filter under test: `nfinspect rules --apply` and `nfinspect run` in the filter's namespace.

They are started as a person starts them, as commands, and observed from outside: what they print,
what the control socket answers, what the kernel says of the queue.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nfinspect.lab.topology import FILTER, LabError

if TYPE_CHECKING:
    from nfinspect.lab.lab import Lab

NFINSPECT = (sys.executable, "-m", "nfinspect")

READY = "nfinspect ready, queues "
START_TIMEOUT = STOP_TIMEOUT = 20.0
"""Seconds. Generous: they only bound how long a failure takes."""


class Filter:
    """The running filter of a lab."""

    def __init__(self, lab: Lab, config: Path | None, arguments: Sequence[str]) -> None:
        """Apply the rules, start the worker, and return when it is ready.

        Raises LabError with what was printed if either fails.
        """
        self._lab = lab
        self._with_config = ["--config", str(config)] if config else []
        self._control = ["--control", str(lab.directory / "control")]
        self.syslog: list[str] = []
        """The syslog lines so far."""
        self.counters: list[str] = []
        """What else was on stdout: the counters, which are printed at the end."""
        self.errors: list[str] = []
        """The lines on stderr so far, the ready line among them."""
        self._rules = [*NFINSPECT, "rules", *self._with_config, *(["--bridge"] * lab.bridge)]
        lab.run(FILTER, [*self._rules, "--apply"])
        self._process = lab.popen(
            FILTER,
            [*NFINSPECT, "run", *self._with_config, *self._control, *arguments],
            environment={"PYTHONUNBUFFERED": "1"},
        )
        self._changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._collect, args=each, daemon=True)
            for each in (
                (self._process.stdout, self.syslog, self.counters),
                (self._process.stderr, self.errors, self.errors),
            )
        ]
        for reader in self._readers:
            reader.start()
        ready = self.wait(lambda: any(READY in line for line in self.errors), START_TIMEOUT)
        if not ready:
            self.end()
            raise LabError("the filter does not start: " + " / ".join(self.errors or ["(silent)"]))

    def _collect(self, stream: IO[str], messages: list[str], others: list[str]) -> None:
        for line in stream:
            with self._changed:
                (messages if line.startswith("%") else others).append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until *condition* holds, looked at whenever a line was printed; False if in vain."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0 or (
                    self._process.poll() is not None
                    and not any(reader.is_alive() for reader in self._readers)
                ):
                    return condition()
                self._changed.wait(min(left, 0.1))
        return True

    def show(self, *words: str) -> str:
        """Return what ``nfinspect show WORDS`` prints of this filter."""
        return self._lab.run(FILTER, [*NFINSPECT, "show", *self._control, *words]).stdout

    def show_json(self, *words: str) -> Any:
        """Return what ``nfinspect show WORDS --json`` prints of this filter."""
        return json.loads(self.show(*words, "--json"))

    def waiting(self) -> int:
        """Packets in the kernel that wait for a verdict, over all queues of the namespace."""
        table = Path(f"/proc/{self.pid}/net/netfilter/nfnetlink_queue").read_text()
        return sum(int(line.split()[2]) for line in table.splitlines())

    def stop(self) -> None:
        """Stop the filter in order, and see that it left nothing undone.

        Raises LabError if packets still wait for a verdict a second after the last traffic, if the
        filter had ended by itself, does not end well on SIGTERM, or complained of anything.
        """
        if self._process.poll() is not None:
            self._drain()
            raise LabError(f"the filter ended by itself: {' / '.join(self.errors)}")
        deadline = time.monotonic() + 1
        while waiting := self.waiting():
            if time.monotonic() > deadline:
                raise LabError(f"{waiting} packets wait for a verdict")
            time.sleep(0.02)
        self._process.terminate()
        status = self._process.wait(STOP_TIMEOUT)
        self._drain()
        if status != 0:
            raise LabError(f"the filter ended with {status}: {' / '.join(self.errors)}")
        self._lab.run(FILTER, [*self._rules, "--remove"])
        complaints = [line for line in self.errors if READY not in line]
        if complaints:
            raise LabError("the filter complained: " + "\n".join(complaints))

    def end(self) -> None:
        """End the filter if it still runs, whatever its state."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._drain()

    def _drain(self) -> None:
        for reader in self._readers:
            reader.join(STOP_TIMEOUT)
