"""The filter under test: `nfinspect rules --apply` and `nfinspect run` in the filter's namespace.

They are started as commands, as a user would, and observed from outside: through their output, the
control socket, and the kernel's queue table.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from nfinspect.lab.namespaces import NFINSPECT, Namespaces
from nfinspect.lab.topology import FILTER, LabError

READY = "nfinspect ready, queues "
NOTICE = "nfinspect: notice: "
START_TIMEOUT = STOP_TIMEOUT = 20.0
"""Seconds. Generous: they only limit how long a failure takes."""

_numbers = itertools.count()


class RunningFilter:
    """The running filter of a lab."""

    def __init__(self, lab: Namespaces, config: Path | None, arguments: Sequence[str]) -> None:
        """Apply the rules, start the filter, and return when it is ready.

        Raises LabError with the output if either fails.
        """
        self._lab = lab
        self._with_config = ["--config", str(config)] if config else []
        self._control = ["--control", str(lab.directory / "control")]
        # Each filter of the lab is a first one, unless the arguments say otherwise.
        state = ["--state", str(lab.directory / f"closed-{next(_numbers)}")]
        self.syslog: list[str] = []
        """The syslog lines so far."""
        self.counters: list[str] = []
        """Other lines on stdout: the counters, printed at the end."""
        self.errors: list[str] = []
        """The lines on stderr so far, including the ready line, without the details below it."""
        self.details: list[str] = []
        """These, which are indented."""
        self._rules = [*NFINSPECT, "rules", *self._with_config, *(["--bridge"] * lab.bridge)]
        lab.run(FILTER, [*self._rules, "--apply"])
        self._process = lab.popen(
            FILTER,
            [*NFINSPECT, "run", *self._with_config, *self._control, *state, *arguments],
            environment={"PYTHONUNBUFFERED": "1"},
        )
        self._changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._collect, args=each, daemon=True)
            for each in (
                (self._process.stdout, "%", self.syslog, self.counters),
                (self._process.stderr, "  ", self.details, self.errors),
            )
        ]
        for reader in self._readers:
            reader.start()
        ready = self.wait(lambda: any(READY in line for line in self.errors), START_TIMEOUT)
        if not ready:
            self.end()
            raise LabError("the filter does not start: " + " / ".join(self.errors or ["(silent)"]))

    def _collect(self, stream: IO[str], start: str, messages: list[str], others: list[str]) -> None:
        for line in stream:
            with self._changed:
                (messages if line.startswith(start) else others).append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def complaints(self) -> list[str]:
        """Warnings and errors so far."""
        usual = (READY, NOTICE)
        return [line for line in self.errors if not line.startswith(usual)]

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until *condition* holds, checking it at every new line; False on timeout."""
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
        """Return the output of ``nfinspect show WORDS`` for this filter."""
        return self._lab.run(FILTER, [*NFINSPECT, "show", *self._control, *words]).stdout

    def show_json(self, *words: str) -> Any:
        """Return the data of ``nfinspect show WORDS --json`` for this filter."""
        return json.loads(self.show(*words, "--json"))

    def waiting(self) -> int:
        """Packets waiting for a verdict in the kernel, in all queues of the namespace."""
        table = Path(f"/proc/{self.pid}/net/netfilter/nfnetlink_queue").read_text()
        return sum(int(line.split()[2]) for line in table.splitlines())

    def stop(self, *, held: int = 0) -> None:
        """Stop the filter properly, and check that nothing is left.

        Raises LabError if more than *held* packets still wait for a verdict after a second, if the
        filter has already ended, if it fails on SIGTERM, or if it printed any error.
        """
        if self._process.poll() is not None:
            self._drain()
            raise LabError(f"the filter has already ended: {' / '.join(self.errors)}")
        deadline = time.monotonic() + 1
        while (waiting := self.waiting()) > held:
            if time.monotonic() > deadline:
                raise LabError(f"{waiting} packets are still waiting for a verdict")
            time.sleep(0.02)
        self._process.terminate()
        status = self._process.wait(STOP_TIMEOUT)
        self._drain()
        if status != 0:
            raise LabError(f"the filter ended with status {status}: {' / '.join(self.errors)}")
        self._lab.run(FILTER, [*self._rules, "--remove"])
        if self.complaints:
            raise LabError("the filter printed errors: " + "\n".join(self.complaints))

    def end(self) -> None:
        """End the filter if it is running, whatever its state."""
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
