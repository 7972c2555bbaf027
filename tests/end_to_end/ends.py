"""Helpers for tests of the packets that the filter injects: addresses in both IP versions, the mail
that is sent, the TCP counters of both endpoints, and the packets that reach them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nfinspect.lab.dialogue import ClientConnection, RecordingServer, Script
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import (
    CLIENT,
    CLIENT_ADDRESS,
    CLIENT_ADDRESS6,
    FILTER,
    INSIDE,
    OUTSIDE,
    SCRIPT_ADDRESS,
    SCRIPT_ADDRESS6,
    SERVER,
)
from nfinspect.live.control import ask
from nfinspect.packet.checksum import tcp_checksum_valid
from nfinspect.packet.segment import Segment, parse
from tests.end_to_end.encapsulation import Cable

PATIENCE = 20.0
"""Seconds until a test gives up; normally nothing takes a tenth of that."""

ENVELOPE = ("EHLO client.example", "MAIL FROM:<a@client.example>", "RCPT TO:<b@inside.example>")
BODY = b"".join(b"%06d %s\r\n" % (number, b"x" * 60) for number in range(3000))
LONG_REPLY = b"".join(b"214-%06d %s\r\n" % (n, b"y" * 60) for n in range(3000)) + b"214 end\r\n"


def eventually(condition: Callable[[], Any]) -> Any:
    """Return the value of *condition* once it is true; fail if that takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still false: {condition}"
        time.sleep(0.02)
    return result


@dataclass(frozen=True, slots=True)
class Family:
    program: str
    client: str
    outside: str
    inside: str
    server: str


IPV4, IPV6 = (
    Family(program, client, OUTSIDE.addresses[at], INSIDE.addresses[at], server)
    for at, (program, client, server) in enumerate(
        (
            ("iptables", CLIENT_ADDRESS, SCRIPT_ADDRESS),
            ("ip6tables", CLIENT_ADDRESS6, SCRIPT_ADDRESS6),
        )
    )
)


class Counters:
    """How the TCP counters of an endpoint have changed."""

    def __init__(self, lab: Lab, where: str) -> None:
        self._lab, self._where = lab, where
        self._before = self._read()

    def _read(self) -> dict[str, int]:
        text = self._lab.run(self._where, ["cat", "/proc/net/netstat", "/proc/net/snmp"]).stdout
        lines = [line.split() for line in text.splitlines()]
        found = {}
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            found.update(zip(names[1:], map(int, values[1:]), strict=True))
        return found

    def since(self) -> dict[str, int]:
        now = self._read()
        return {name: value - self._before.get(name, 0) for name, value in now.items()}


@contextmanager
def rules(lab: Lab, family: Family, *texts: str) -> Iterator[None]:
    """Install rules on the filter, each ``TABLE CHAIN MATCH...``, for the duration of the block."""
    placed: list[list[str]] = []
    try:
        for text in texts:
            server = f"[{family.server}]" if ":" in family.server else family.server
            with_port = text.replace("{server}:", f"{server}:")
            table, *rule = with_port.format(
                server=family.server, outside=family.outside, inside=family.inside
            ).split()
            lab.run(FILTER, [family.program, "-w", "-t", table, "-A", *rule])
            placed.append([table, "-D", *rule])
        yield
    finally:
        for table, *rule in placed:
            lab.run(FILTER, [family.program, "-w", "-t", table, *rule])


def drop_one(ingress: str, number: int = 12) -> str:
    """A rule that drops one large segment, number *number*, before the queue; *ingress* matches the
    interface on which it arrives."""
    return (
        f"mangle PREROUTING {ingress} -p tcp -m length --length 1000:65535"
        f" -m statistic --mode nth --every 100000 --packet {number} -j DROP"
    )


def exchange_with_gaps(lab: Lab, family: Family, to: str, port: int = 25) -> None:
    """Send a long mail and receive a long reply; the caller has segments of both lost.

    Fail unless everything arrives and both senders learn of their gaps.
    """
    with (
        RecordingServer(lab, family.server, Script(replies={b"HELP": LONG_REPLY})) as server,
        ClientConnection.open(lab, to, port=port) as client,
    ):
        senders = Counters(lab, CLIENT), Counters(lab, SERVER)
        assert client.reply().startswith("220 ***")
        for line in ENVELOPE:
            assert client.command(line).startswith("250")
        assert client.command("DATA").startswith("354")
        client.send(BODY)
        assert client.command(b".").startswith("250")
        assert_fast_retransmit(senders[0])

        assert client.command("HELP").splitlines() == LONG_REPLY.decode().splitlines()
        assert_fast_retransmit(senders[1])
        assert client.command("QUIT").startswith("221")
        (recording,) = server.wait()
    commands = b"".join(line.encode() + b"\r\n" for line in (*ENVELOPE, "DATA"))
    assert recording.received == commands + BODY + b".\r\nHELP\r\nQUIT\r\n"


def assert_fast_retransmit(counters: Counters) -> dict[str, int]:
    """Fail unless the sender has retransmitted at once, without waiting for a timeout."""
    seen = counters.since()
    assert seen["TCPFastRetrans"] >= 1
    assert (seen["TCPTimeouts"], seen["InCsumErrors"], seen["OutRsts"]) == (0, 0, 0)
    return seen


def queue(lab: Lab) -> Any:
    """``show queue`` of the filter in the lab."""
    return ask(lab.directory / "control", ["show", "queue"]).data


class Watch:
    """The frames of all TCP packets that reach either endpoint while the block lasts."""

    def __init__(self, lab: Lab) -> None:
        self._cables = {where: Cable(lab, where) for where in (CLIENT, SERVER)}

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        for cable in self._cables.values():
            cable.close()

    def arrived(self, where: str) -> set[tuple[bytes, bytes]]:
        """The link-layer addresses and the TCP endpoints of the packets that have arrived. Fail if a
        checksum is wrong."""
        found = set()
        for frame in self._cables[where].received():
            segment = parse(frame[14:])
            if isinstance(segment, Segment):
                assert tcp_checksum_valid(segment)
                found.add((frame[:12], segment.key))
        return found

    def assert_one_connection(self) -> None:
        """Fail unless all packets have the same addresses and ports, and the same link-layer
        addresses."""
        for where in (CLIENT, SERVER):
            assert len(self.arrived(where)) == 1
