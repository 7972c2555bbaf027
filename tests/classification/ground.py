"""The namespaces in which SYNs are sent: a filter that routes, or one that bridges."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import (
    CABLES,
    CLIENT,
    CLIENT_ADDRESSES,
    FILTER,
    INSIDE,
    OUTSIDE,
    SERVER,
    SERVER_ADDRESSES,
)
from nfinspect.packet.checksum import ipv4_header_checksum, tcp_checksum
from tests.classification.drawing import DrawnConnection, Setting, packed
from tests.end_to_end.encapsulation import Cable

BEHIND = (
    (OUTSIDE.name, CLIENT_ADDRESSES, ("203.0.113.0/24", "2001:db8:99::/48")),
    (
        INSIDE.name,
        SERVER_ADDRESSES,
        ("192.168.0.0/16", "10.0.0.0/8", "2001:db8:aa::/48", "2001:db8:bb::/48"),
    ),
)
"""The networks that the filter routes to the end hosts."""

QUIET = 0.05
"""Seconds for packets in flight."""

SYN = 2


@dataclass(frozen=True, slots=True)
class Passed:
    """What became of a SYN."""

    connection: DrawnConnection
    queued: bool
    ingress: str
    egress: str
    """Linux interfaces; the egress is empty if nobody has seen the SYN leave."""
    destination: bytes
    destination_port: int
    """Behind the translation of the destination, ahead of that of the source."""

    def __str__(self) -> str:
        return f"{self.connection}, {self.ingress} > {self.egress or 'nowhere'}"


class Ground:
    """A lab, with a process in the filter that applies rules and reads the queue."""

    def __init__(self, *, bridge: bool) -> None:
        self.bridge = bridge
        self._lab = Lab(offloads=False, bridge=bridge)
        self._number = 0

    def __enter__(self) -> Self:
        lab = self._lab.__enter__()
        try:
            self._begin(lab)
        except BaseException:
            lab.__exit__(*sys.exc_info())
            raise
        return self

    def _begin(self, lab: Lab) -> None:
        if self.bridge:
            lab.run(FILTER, [sys.executable, "-m", "nfinspect", "rules", "--bridge", "--apply"])
        else:
            for device, (gateway, gateway6, *_), networks in BEHIND:
                for network in networks:
                    via = gateway6 if ":" in network else gateway
                    words = ["route", "add", network, "via", via, "dev", device]
                    lab.run(FILTER, ["ip", *words])
        self._configuration = lab.directory / "policy.cfg"
        script = Path(__file__).with_name("kernel.py")
        self._kernel = lab.popen(FILTER, [sys.executable, script], stdin=subprocess.PIPE)
        self._cables = {where: Cable(lab, where) for where in (CLIENT, SERVER)}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lab.__exit__(kind, error, traceback)

    def apply(self, setting: Setting) -> str:
        """Put the rules of *setting* in place; returns why that failed, if it did."""
        self._configuration.write_text(setting.text)
        options = ["--config", str(self._configuration), *setting.options]
        options += ["--bridge"] * self.bridge
        answer = self._ask({"apply": options})
        return "" if answer["status"] == 0 else answer["output"]

    def send(self, connections: Sequence[DrawnConnection]) -> list[Passed]:
        """Send the SYN of each connection, and return what became of it."""
        for cable in self._cables.values():
            list(cable.received())
        sent = {}
        for connection in connections:
            self._number += 1
            sent[self._number] = connection
            where = CLIENT if connection.from_outside else SERVER
            self._cables[where].send(self._frame(connection, self._number))
        queued = {each["number"]: each for each in self._ask({"read": True})["queued"]}
        time.sleep(QUIET)
        arrived = self._arrived()
        return [
            self._passed(connection, queued.get(number), arrived.get(number))
            for number, connection in sent.items()
        ]

    def _passed(self, connection: DrawnConnection, queued: Any, arrived: bytes | None) -> Passed:
        near, far = (OUTSIDE.name, INSIDE.name)
        if not connection.from_outside:
            near, far = far, near
        datagram = bytes.fromhex(queued["datagram"]) if queued else arrived
        if datagram is None:
            destination, port = packed(connection.destination), connection.destination_port
            return Passed(connection, False, near, "", destination, port)
        ingress, egress = (queued["ingress"], queued["egress"]) if queued else (near, far)
        at = 16 if datagram[0] >> 4 == 4 else 24
        end = 20 if datagram[0] >> 4 == 4 else 40
        port = int.from_bytes(datagram[end + 2 : end + 4], "big")
        return Passed(connection, bool(queued), ingress, egress, datagram[at:end], port)

    def _arrived(self) -> dict[int, bytes]:
        """Return the SYNs that have reached the other side, by number."""
        found = {}
        for cable in self._cables.values():
            for frame in cable.received():
                if frame[12:14] in (b"\x08\x00", b"\x86\xdd"):
                    datagram = frame[14:]
                    start = 20 if datagram[0] >> 4 == 4 else 40
                    protocol = datagram[9] if start == 20 else datagram[6]
                    tcp = datagram[start:]
                    if protocol == 6 and len(tcp) >= 20 and tcp[13] == SYN:
                        found[int.from_bytes(tcp[4:8], "big")] = datagram
        return found

    def _frame(self, connection: DrawnConnection, number: int) -> bytes:
        client, server = (bytes.fromhex(end.mac.replace(":", "")) for end, _ in CABLES)
        outside, inside = (bytes.fromhex(end.mac.replace(":", "")) for _, end in CABLES)
        near, far = (client, server) if connection.from_outside else (server, client)
        gateway = outside if connection.from_outside else inside
        kind = b"\x08\x00" if connection.version == 4 else b"\x86\xdd"
        return (far if self.bridge else gateway) + near + kind + datagram_of(connection, number)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        kernel = self._kernel
        assert kernel.stdin is not None
        assert kernel.stdout is not None
        kernel.stdin.write(json.dumps(request) + "\n")
        kernel.stdin.flush()
        line = kernel.stdout.readline()
        if not line:
            assert kernel.stderr is not None
            raise RuntimeError(f"the reader of the queue has ended: {kernel.stderr.read()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def datagram_of(connection: DrawnConnection, number: int) -> bytes:
    """Return a connection's SYN, with *number* as its sequence number."""
    addresses = packed(connection.source) + packed(connection.destination)

    def segment(checksum: int) -> bytes:
        ports = connection.source_port, connection.destination_port
        return struct.pack("!HHIIBBHHH", *ports, number, 0, 5 << 4, SYN, 64240, checksum, 0)

    tcp = segment(tcp_checksum(addresses, segment(0)))
    if connection.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + addresses + tcp
    header = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0x4000, 64, 6, 0) + addresses
    checksum = ipv4_header_checksum(header).to_bytes(2, "big")
    return header[:10] + checksum + header[12:] + tcp
