"""Sends the packets of a capture by tcpreplay, some at a time, when it is their turn."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nfinspect.lab.topology import LabError

_SENT = re.compile(rb"(?:Actual: )(\d+) packets \(\d+ bytes\) sent in ([\d.]+) seconds")
_FAILED = re.compile(rb"(?:Failed|Truncated) packets: +(\d+)")
_NEXT = b"How many packets do you wish to send? "


@dataclass(frozen=True, slots=True)
class Turn:
    """When a packet is sent."""

    waits: bool
    """Whether all packets before it must be decided."""
    due: float = 0.0
    """Seconds after the first packet, at the earliest."""
    held: int = 0
    """How many packets wait for their verdict once it is decided."""
    out: int = 0
    """How many packets have left the filter when it is decided, from the first one on."""
    queued: bool = True
    """Whether it comes to the queue by itself; false for all fragments of a datagram but the last."""


class Awaiting(Protocol):
    """Waits until the filter has decided what was sent."""

    def sent(self, turn: Turn) -> None:
        """Count a packet that is about to be sent."""

    def wait(self, position: int) -> None:
        """Wait until all packets are decided, the last of which is at *position*, from 0."""


def splitting(file: Path, client_mac: str) -> tuple[list[str], Path]:
    """The command by which tcpprep splits the frames in *file* by side, and its cache."""
    cache = file.with_suffix(".cache")
    # By the link-layer address: by ports, tcpprep does not know where fragments belong.
    return ["tcpprep", f"--mac={client_mac}", f"--pcap={file}", f"--cachefile={cache}"], cache


def replaying(file: Path, cache: Path, client: str, server: str) -> list[str]:
    """The command by which tcpreplay sends both sides' frames, by two interfaces."""
    argv = ["tcpreplay", "--no-flow-stats", "--oneatatime", f"--cachefile={cache}"]
    return [*argv, f"--intf1={client}", f"--intf2={server}", str(file)]


def send(process: subprocess.Popen[str], turns: Sequence[Turn], awaiting: Awaiting) -> None:
    """Let the started `replaying` send its packets when it is their turn.

    Raises LabError if it cannot send all.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    output = _Output(process.stdout.fileno())
    ready = output.wait_for(_NEXT)  # it has sent the first packet by itself
    start = time.monotonic()
    awaiting.sent(turns[0])
    number = 0

    def send_these() -> None:
        nonlocal number, ready
        if number and ready:
            assert process.stdin is not None
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            ready = output.wait_for(_NEXT)
        number = 0

    for position, turn in enumerate(turns[1:], 1):
        early = turn.due > 0 and start + turn.due > time.monotonic()
        if turn.waits or early:
            send_these()
        if turn.waits:
            awaiting.wait(position - 1)
        if early and (wait := start + turn.due - time.monotonic()) > 0:
            time.sleep(wait)
        number += 1
        awaiting.sent(turn)
    send_these()
    process.stdin.close()
    output.wait_for(None)
    process.wait(10)
    _check(output.text)


class _Output:
    """What a program prints, awaited piece by piece."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self.text = b""
        self._seen = 0

    def wait_for(self, words: bytes | None) -> bool:
        """Read until *words*, or to the end; returns whether they came."""
        while True:
            if words is not None:
                at = self.text.find(words, self._seen)
                if at >= 0:
                    self._seen = at + len(words)
                    return True
            ready, _, _ = select.select([self._descriptor], [], [], 30)
            if not ready:
                raise LabError(
                    f"tcpreplay stands still: {self.text[-500:].decode(errors='replace')}"
                )
            piece = os.read(self._descriptor, 65536)
            if not piece:
                return False
            self.text += piece


def _check(output: bytes) -> None:
    failed = sum(int(found) for found in _FAILED.findall(output))
    if failed or not _SENT.search(output):
        text = output.decode(errors="replace").strip()
        raise LabError(f"tcpreplay could not send all packets: {text}")
