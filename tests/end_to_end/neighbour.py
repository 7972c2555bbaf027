"""A host with a TCP of its own: it opens connections by the hundred and leaves gaps in them.

It sends frames from an address that no kernel has, so no kernel resets its connections.
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
    """Opens connections from `ADDRESS` to a server that sends a greeting."""

    server = EXIM_ADDRESS

    def __init__(self, lab: Lab) -> None:
        self._cable = Cable(lab, CLIENT)
        self._link = bytes.fromhex(OUTSIDE.mac.replace(":", "")) + CLIENT_MAC + b"\x08\x00"
        mac = CLIENT_MAC.hex(":")
        neighbour = [ADDRESS, "lladdr", mac, "dev", "outside", "nud", "permanent"]
        lab.run(FILTER, ["ip", "neighbour", "replace", *neighbour])
        self._address, self._server = (socket.inet_aton(a) for a in (ADDRESS, self.server))
        self._acknowledged: dict[int, int] = {}
        """By port: the acknowledgment number, after all that has been received."""

    def send(self, port: int, at: int, flags: int, payload: bytes = b"") -> None:
        """Send a segment at the offset *at* from the initial sequence number."""
        ends = (self._address, port), (self._server, 25)
        acknowledged = self._acknowledged.get(port, 0)
        packet = Packet(*ends, FIRST + at, acknowledged, flags, 60_000, payload)
        self._cable.send(self._link + packet.build())

    def send_tcp(self, tcp: bytes, *, checksum: bool) -> None:
        """Send these bytes as the payload of IP, as they are or with a correct TCP *checksum*."""
        if checksum:
            tcp = tcp[:16] + bytes(2) + tcp[18:]
            right = tcp_checksum(self._address + self._server, tcp)
            tcp = tcp[:16] + right.to_bytes(2, "big") + tcp[18:]
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0)
        ip += self._address + self._server
        ip = ip[:10] + ipv4_header_checksum(ip).to_bytes(2, "big") + ip[12:]
        self._cable.send(self._link + ip + tcp)

    def open(self, count: int) -> list[int]:
        """Open *count* connections and receive the greetings; return their ports."""
        ports = list(itertools.islice(_ports, count))
        for port in ports:
            self.send(port, 0, SYN)
        self.receive(*ports)
        return ports

    def receive(self, *ports: int, at: int = 1) -> None:
        """Wait until each of *ports* has received data, and acknowledge everything."""
        left = set(ports)
        deadline = time.monotonic() + PATIENCE
        while left:
            assert time.monotonic() < deadline, f"no data for {left}"
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
