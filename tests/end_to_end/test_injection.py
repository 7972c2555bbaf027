"""What the filter sends of its own reaches a real TCP, which believes it: routed, with every kind of
address translation.

A segment is lost before the filter, so that what follows is held. Only the filter can tell the
sender, since the receiver sees nothing behind the gap: if the sender repeats the segment at once
and no timer of its own expires, it has been told, and has believed it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from scapy.utils import RawPcapReader

from nfinspect.lab.dialogue import Dialogue, RecordingServer, Script
from nfinspect.lab.filter import Filter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import (
    CLIENT,
    CLIENT_ADDRESS,
    CLIENT_ADDRESS6,
    FILTER,
    INSIDE,
    OUTSIDE,
    SERVER,
    SERVER_ADDRESS,
    SERVER_ADDRESS6,
)
from nfinspect.live.conntrack import SEARCH_PERIOD
from nfinspect.packet.checksum import tcp_checksum_valid
from nfinspect.packet.segment import Segment, parse

ENVELOPE = ("EHLO client.example", "MAIL FROM:<a@client.example>", "RCPT TO:<b@inside.example>")
BODY = b"".join(b"%06d %s\r\n" % (number, b"x" * 60) for number in range(3000))
LONG_REPLY = b"".join(b"214-%06d %s\r\n" % (n, b"y" * 60) for n in range(3000)) + b"214 end\r\n"


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
            ("iptables", CLIENT_ADDRESS, SERVER_ADDRESS),
            ("ip6tables", CLIENT_ADDRESS6, SERVER_ADDRESS6),
        )
    )
)


@dataclass(frozen=True, slots=True)
class Translation:
    """Rules of table nat (or raw); the client connects to the filter instead of the server."""

    rules: Sequence[str] = ()
    to_filter: bool = False
    port: int = 25
    searched: bool = False
    """The filter has to go through all of connection tracking."""


DNAT = "nat PREROUTING -i outside -p tcp -d {outside} --dport 25 -j DNAT --to-destination {server}"
OTHER_PORT = DNAT.replace("--dport 25", "--dport 2525") + ":25"
SNAT = "nat POSTROUTING -o inside -p tcp --dport 25 -j SNAT --to-source {inside}"
MASQUERADE = "nat POSTROUTING -o inside -p tcp -j MASQUERADE --to-ports 40000-40999"
UNTRACKED = tuple(
    f"raw PREROUTING -p tcp --{side} 25 -j CT --notrack" for side in ("dport", "sport")
)

TRANSLATIONS = {
    "none": Translation(),
    "server": Translation((DNAT,), True),
    "server-and-port": Translation((OTHER_PORT,), True, 2525),
    "client": Translation((SNAT,)),
    "client-and-port": Translation((MASQUERADE,)),
    "both-known-server": Translation((OTHER_PORT, MASQUERADE), True, 2525),
    "both": Translation((OTHER_PORT.replace("2525", "2526"), MASQUERADE), True, 2526, True),
    "untracked": Translation((*UNTRACKED, MASQUERADE), searched=True),
}


@contextmanager
def rules(lab: Lab, family: Family, where: str, *texts: str) -> Iterator[None]:
    """Rules, ``TABLE CHAIN MATCH...`` each, for as long as the block lasts."""
    placed: list[list[str]] = []
    try:
        for text in texts:
            server = f"[{family.server}]" if ":" in family.server else family.server
            with_port = text.replace("{server}:", f"{server}:")
            table, *rule = with_port.format(
                server=family.server, outside=family.outside, inside=family.inside
            ).split()
            lab.run(where, [family.program, "-w", "-t", table, "-A", *rule])
            placed.append([table, "-D", *rule])
        yield
    finally:
        for table, *rule in placed:
            lab.run(where, [family.program, "-w", "-t", table, *rule])


class Counters:
    """The TCP counters of an end, as they change."""

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
        return {name: value - self._before[name] for name, value in now.items()}


def lost(interface: str, number: int = 12) -> str:
    """A rule that loses one full segment, the so-manieth, before the filter's queue."""
    return (
        f"mangle PREROUTING -i {interface} -p tcp -m length --length 1000:65535"
        f" -m statistic --mode nth --every 100000 --packet {number} -j DROP"
    )


def told_and_believed(counters: Counters) -> dict[str, int]:
    """Fail unless the sender has repeated what was lost at once, and no timer had to help."""
    seen = counters.since()
    assert seen["TCPFastRetrans"] >= 1
    assert (seen["TCPTimeouts"], seen["InCsumErrors"], seen["OutRsts"]) == (0, 0, 0)
    return seen


def ends(file: Path) -> set[tuple[bytes, bytes]]:
    """The source and destination, with ports, of every packet; each checksum is right."""
    found = set()
    for frame, _ in RawPcapReader(str(file)):
        segment = parse(frame[14:])
        assert isinstance(segment, Segment)
        assert tcp_checksum_valid(segment)
        half = (len(segment.key) - 4) // 2
        source, destination = segment.key[:half], segment.key[half:-4]
        found.add((source + segment.key[-4:-2], destination + segment.key[-2:]))
    return found


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("name", TRANSLATIONS)
def test_sender_of_either_side_is_told_of_a_gap(
    plain_lab: Lab, running: Filter, family: Family, name: str
) -> None:
    lab, translation = plain_lab, TRANSLATIONS[name]
    if translation.searched:
        time.sleep(SEARCH_PERIOD)
    script = Script(replies={b"HELP": LONG_REPLY})
    injected = running.show_json("queue")["verdicts"]["injected"]
    captures = [
        lab.capture(lab.directory / f"{where}.pcap", "eth0", where, expression="tcp")
        for where in (CLIENT, SERVER)
    ]
    with (
        rules(lab, family, FILTER, *translation.rules, lost("outside"), lost("inside")),
        RecordingServer(lab, family.server, script) as server,
        Dialogue.open(
            lab,
            family.outside if translation.to_filter else family.server,
            port=translation.port,
        ) as client,
    ):
        senders = Counters(lab, CLIENT), Counters(lab, SERVER)
        assert client.reply().startswith("220")
        for line in ENVELOPE:
            assert client.command(line).startswith("250")
        assert client.command("DATA").startswith("354")
        client.send(BODY)
        assert client.command(b".").startswith("250")
        told_and_believed(senders[0])

        assert client.command("HELP").splitlines() == LONG_REPLY.decode().splitlines()
        told_and_believed(senders[1])
        assert client.command("QUIT").startswith("221")
        (recording,) = server.wait()
    sent = b"".join(line.encode() + b"\r\n" for line in (*ENVELOPE, "DATA"))
    assert recording.received == sent + BODY + b".\r\nHELP\r\nQUIT\r\n"

    verdicts = running.show_json("queue")["verdicts"]
    assert verdicts["injected"] > injected
    assert "not injected" not in verdicts
    for capture in captures:
        (one, other) = ends(capture.stop())  # no packet between other ends, one each way
        assert one == other[::-1]
