"""A neighbour with a TCP of its own making: it opens connections by the hundred and leaves gaps.

It sends frames from an address that no kernel has, so that nobody resets what it opens.
"""

from __future__ import annotations

import itertools
import socket
import struct
import time

from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT, EXIM_ADDRESS, FILTER, OUTSIDE
from nfinspect.packet.checksum import ipv4_header_checksum, tcp_checksum
from nfinspect.packet.segment import SYN, Segment, parse
from tests.end_to_end.encapsulation import CLIENT_MAC, Cable
from tests.model.wire import ACK, Packet

ADDRESS = "192.0.2.66"
FIRST = 1000
"""Its initial sequence number, in all connections."""

PATIENCE = 10.0
"""Seconds."""

_ports = itertools.count(20_000)


class Neighbour:
    """Connections from `ADDRESS` to a server that greets."""

    server = EXIM_ADDRESS

    def __init__(self, lab: Lab) -> None:
        self._cable = Cable(lab, CLIENT)
        self._link = bytes.fromhex(OUTSIDE.mac.replace(":", "")) + CLIENT_MAC + b"\x08\x00"
        mac = CLIENT_MAC.hex(":")
        neighbour = [ADDRESS, "lladdr", mac, "dev", "outside", "nud", "permanent"]
        lab.run(FILTER, ["ip", "neighbour", "replace", *neighbour])
        self._address, self._server = (socket.inet_aton(a) for a in (ADDRESS, self.server))
        self._acknowledged: dict[int, int] = {}
        """By port: what it has received and acknowledged."""

    def send(self, port: int, at: int, flags: int, payload: bytes = b"") -> None:
        """Send a segment *at* an offset from the initial sequence number."""
        ends = (self._address, port), (self._server, 25)
        acknowledged = self._acknowledged.get(port, 0)
        packet = Packet(*ends, FIRST + at, acknowledged, flags, 60_000, payload)
        self._cable.send(self._link + packet.build())

    def send_tcp(self, tcp: bytes, *, checksum: bool) -> None:
        """Send these bytes as the payload of IP, with the right *checksum* of TCP or as they are."""
        if checksum:
            tcp = tcp[:16] + bytes(2) + tcp[18:]
            right = tcp_checksum(self._address + self._server, tcp)
            tcp = tcp[:16] + right.to_bytes(2, "big") + tcp[18:]
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0)
        ip += self._address + self._server
        ip = ip[:10] + ipv4_header_checksum(ip).to_bytes(2, "big") + ip[12:]
        self._cable.send(self._link + ip + tcp)

    def open(self, count: int) -> list[int]:
        """Open so many connections and receive the greeting; return their ports."""
        ports = list(itertools.islice(_ports, count))
        for port in ports:
            self.send(port, 0, SYN)
        self.receive(*ports)
        return ports

    def receive(self, *ports: int, at: int = 1) -> None:
        """Wait until something has come to each of *ports*, and acknowledge all."""
        left = set(ports)
        deadline = time.monotonic() + PATIENCE
        while left:
            assert time.monotonic() < deadline, f"nothing comes to {left}"
            time.sleep(0.01)
            for frame in self._cable.received():
                segment = parse(frame[14:])
                if isinstance(segment, Segment) and segment.destination == self._address:
                    size = segment.length + bool(segment.flags & SYN)
                    self._acknowledged[segment.destination_port] = segment.sequence + size
                    if size:
                        self.send(segment.destination_port, at, ACK)
                    if segment.length:
                        left.discard(segment.destination_port)

    def close(self) -> None:
        self._cable.close()
