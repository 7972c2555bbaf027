"""Captures on the lab's interfaces, made by tcpdump."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from pathlib import Path

from nfinspect.lab.namespaces import Namespaces
from nfinspect.lab.topology import LabError, require_programs

LARGEST = 65_600
"""Bytes of a frame: a packet of 64 KiB with its link header."""

SETTLING = 0.15
"""Seconds to wait before a capture ends, for packets in flight."""


class RunningCapture:
    """A running tcpdump. It is listening once this object is made; ``stop`` completes the file."""

    def __init__(
        self, lab: Namespaces, file: Path, interface: str, where: str, expression: str
    ) -> None:
        """Raises LabError with tcpdump's output if it does not start to listen."""
        require_programs("tcpdump")
        self.file = file
        # -Z root: otherwise it drops privileges, and cannot write everywhere.
        argv = ["tcpdump", "-n", "-i", interface, "-w", str(file), "-U", "--immediate-mode"]
        # A large buffer, as it is divided into slots of the snap length.
        argv += ["-s", str(LARGEST), "-B", "32768", "-Z", "root", expression]
        self._process = lab.popen(where, argv)
        self._listening = threading.Event()
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        if not self._listening.wait(10) or self._process.poll() is not None:
            self.stop()
            raise LabError(f"tcpdump on {interface}: {' '.join(self._said)}")

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line.strip())
            if "listening on" in line:
                self._listening.set()
        self._listening.set()

    def stop(self) -> Path:
        """End the capture, unless it has ended, and return its file.

        Raises LabError if the kernel dropped packets that belong in it.
        """
        if self._process.poll() is None:
            time.sleep(SETTLING)
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._reader.join(10)
            lost = [line for line in self._said if "dropped by kernel" in line]
            if any(not line.startswith("0 ") for line in lost):
                raise LabError(f"the capture {self.file.name} is incomplete: {' '.join(lost)}")
        return self.file
