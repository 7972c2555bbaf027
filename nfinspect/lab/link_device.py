"""The device in the middle of a `link.Link`: forwards packets from one end to the other, delayed.

Runs as ``python -m nfinspect.lab.link_device JSON`` until SIGTERM; `link` passes the argument and
reads the output: a line when both ends exist, and the counts at the end.

Each end is a TUN device in its own namespace. The kernel splits what it sends there into packets
within the MTU and fills in their checksums, as for a wire. Packets of one direction stay in order,
except those that are made late.
"""

from __future__ import annotations

import ctypes
import heapq
import json
import os
import select
import signal
import struct
import sys
from fcntl import ioctl
from hashlib import blake2b
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

CELL = 1448
"""One byte in each cell of this size is marked: a full segment on Ethernet, with timestamps."""

BATCH = 64
"""Packets read from one end before it is the other end's turn."""

_TCP = 6
_SYN = 2
_PORTS, _NUMBERS = struct.Struct("!HH"), struct.Struct("!LL")

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000


class Fate:
    """Decides which packets of one direction are lost, or late, by what they carry.

    In every `CELL` bytes of a TCP stream one byte is marked, and each transmission of it is decided
    by a hash of the *seed*, the byte's offset and the number of the transmission. So the same bytes
    are lost however they are segmented and whatever else is in the path, and each retransmission
    has its own chance. A packet without payload is identified by its acknowledgment number. Packets
    with SYN are spared: their loss would show the length of a timeout, not a property of the path.
    """

    def __init__(self, seed: int, share: float, salt: str) -> None:
        self._share = share * 2**64
        self._key = f"{seed} {salt}".encode()
        self._starts: dict[bytes, int] = {}
        """The initial sequence number, by addresses and ports."""
        self._peer_starts: dict[bytes, int] = {}
        """The first acknowledgment number."""
        self._seen: dict[tuple[bytes, str, int], int] = {}

    def strikes(self, packet: bytes) -> bool:
        """Whether this packet, an IPv4 or IPv6 datagram, is affected."""
        if not self._share:
            return False
        if packet[0] >> 4 == 4:
            protocol, transport, ends = packet[9], (packet[0] & 0xF) * 4, packet[12:20]
        else:
            protocol, transport, ends = packet[6], 40, packet[8:40]
        if protocol != _TCP:
            return False
        ends += packet[transport : transport + 4]
        sequence, acknowledgment = _NUMBERS.unpack_from(packet, transport + 4)
        flags = packet[transport + 13]
        if flags & _SYN:
            self._starts[ends] = sequence
            return False
        peer_start = self._peer_starts.setdefault(ends, acknowledgment)
        payload = len(packet) - transport - (packet[transport + 12] >> 4) * 4
        if not payload:
            return self._chance(ends, "ack", (acknowledgment - peer_start) & 0xFFFFFFFF)
        first = (sequence - self._starts.get(ends, 0) - 1) & 0xFFFFFFFF
        end = first + payload
        struck = False
        for cell in range(first // CELL, (end - 1) // CELL + 1):
            marked = cell * CELL + self._hash(ends, "mark", cell, 0) % CELL
            if first <= marked < end and self._chance(ends, "data", cell):
                struck = True
        return struck

    def _chance(self, ends: bytes, kind: str, place: int) -> bool:
        key = ends, kind, place
        times = self._seen[key] = self._seen.get(key, 0) + 1
        return self._hash(ends, kind, place, times) < self._share

    def _hash(self, ends: bytes, kind: str, place: int, times: int) -> int:
        # Only the lower port number: the client's port differs each time.
        port = min(_PORTS.unpack(ends[-4:]))
        text = f"{port} {kind} {place} {times}".encode()
        return int.from_bytes(blake2b(text, key=self._key, digest_size=8).digest(), "big")


class OneWay:
    """The packets from one end to the other."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self._delay = settings["delay"]
        self._rate = settings["rate"]
        self._queue = settings["queue"]
        self._lateness = settings["lateness"]
        self._lost = Fate(settings["seed"], settings["loss"], f"{name} lost")
        self._late = Fate(settings["seed"], settings["late"], f"{name} late")
        self._free = 0.0
        """When the wire will be free again."""
        self._ahead: list[tuple[float, int, bytes]] = []
        self.counts = {"packets": 0, "lost": 0, "late": 0, "overflowed": 0}

    def take(self, packet: bytes, now: float) -> None:
        """Schedule a packet, unless it is lost."""
        counts = self.counts
        counts["packets"] += 1
        if self._lost.strikes(packet):
            counts["lost"] += 1
            return
        due = now
        if self._rate:
            due = max(now, self._free)
            if (due - now) * self._rate / 8 > self._queue:
                counts["overflowed"] += 1
                return
            self._free = due = due + len(packet) * 8 / self._rate
        due += self._delay
        if self._late.strikes(packet):
            counts["late"] += 1
            due += self._lateness
        heapq.heappush(self._ahead, (due, counts["packets"], packet))

    def due(self) -> float:
        """When the next packet arrives; infinity if there is none."""
        return self._ahead[0][0] if self._ahead else float("inf")

    def arrived(self, now: float) -> bytes | None:
        """The next packet that has arrived by *now*; None if there is none."""
        if self._ahead and self._ahead[0][0] <= now:
            return heapq.heappop(self._ahead)[2]
        return None


class Device:
    """Both ends and both directions."""

    def __init__(self, settings: dict[str, Any]) -> None:
        near, far = (open_end(end["namespace"], end["name"]) for end in settings["ends"])
        self._ends = near, far
        self.there = OneWay("there", settings["there"])
        self.back = OneWay("back", settings["back"])
        self._directions = ((self.there, near, far), (self.back, far, near))
        self._behind = 0.0

    def run(self) -> None:
        """Forward packets forever."""
        while True:
            due = min(direction.due() for direction, _, _ in self._directions)
            left = max(0.0, due - monotonic())
            select.select(self._ends, (), (), None if left == float("inf") else left)
            for direction, source, _ in self._directions:
                self._read(direction, source)
            for direction, _, target in self._directions:
                self._write(direction, target)

    def _read(self, direction: OneWay, source: int) -> None:
        for _ in range(BATCH):
            try:
                packet = os.read(source, 65536)
            except BlockingIOError:
                return
            direction.take(packet, monotonic())

    def _write(self, direction: OneWay, target: int) -> None:
        now = monotonic()
        self._behind = max(self._behind, now - direction.due())
        while (packet := direction.arrived(now)) is not None:
            os.write(target, packet)

    def counts(self) -> dict[str, Any]:
        """Packet counts of both directions, and the device's greatest delay behind schedule in
        seconds."""
        return {"there": self.there.counts, "back": self.back.counts, "behind": self._behind}


def open_end(namespace: str, name: str) -> int:
    """Create the TUN device *name* in the namespace at this path; it is non-blocking."""
    with Path(namespace).open("rb") as file:
        if _libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    ioctl(end, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return end


_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Run until SIGTERM."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, stop)
    device = Device(json.loads(sys.argv[1]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    try:
        device.run()
    finally:
        sys.stdout.write(json.dumps(device.counts()) + "\n")


if __name__ == "__main__":
    main()
