"""The tech note's cure as it stands: its lines in one file, with nameif lines, without them, and with
``--interface``.

The gateway (ESA) of the note is 192.168.1.1 on the inside, and 1.1.1.1 on the outside. Its packets are
captured on both sides of the filter and compared field by field; beside what NAT has to change, only the
TTL may differ. What other hosts send and receive is inspected.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.utils import PcapReader

from nfinspect.lab.filter import NFINSPECT, RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT, CLIENT_ADDRESS, FILTER, INSIDE, OUTSIDE, SERVER

ESA, MAPPED, GATEWAY = "192.168.1.1", "1.1.1.1", "192.168.1.254"
OTHER = "192.168.1.2"
"""Another mail server beside it."""

NOTE = """\
access-list ironport_esa_internal extended permit ip any 192.168.1.1
access-list ironport_esa_internal extended permit ip 192.168.1.1 any
class-map ironport_esa
match address ironport_esa_internal
policy-map global_policy
class ironport_esa
no inspect esmtp
static (inside,outside) 1.1.1.1 192.168.1.1 netmask 255.255.255.255 tcp 50 100
"""
NAMEIF = """\
nameif ethernet0 outside security0
nameif ethernet1 inside security100
"""


@dataclass(frozen=True, slots=True)
class Form:
    """How the interfaces are told."""

    name: str
    text: str
    devices: tuple[str, str] = (OUTSIDE.name, INSIDE.name)
    """The filter's Linux interfaces."""

    @property
    def options(self) -> list[str]:
        if self.devices == (OUTSIDE.name, INSIDE.name):
            return []
        named = zip((OUTSIDE.name, INSIDE.name), self.devices, strict=True)
        return [word for name, device in named for word in ("--interface", f"{name}={device}")]


FORMS = (
    Form("nameif", NAMEIF + NOTE),
    Form("alone", NOTE),
    Form("interface", NOTE, ("wan0", "lan0")),
)

REQUEST = b"".join(b"%06d %s\r\n" % (number, b"x" * 60) for number in range(3000))
"""What a line of an inspected mail may not hold, and more than fits into one window."""
ANSWER = b"".join(b"%06d \x80%s\r\n" % (number, b"y" * 990) for number in range(200))

PEER = f"""\
import socket, sys, threading
def read(source, size):
    got = b""
    while len(got) < size:
        more = source.recv(65536)
        if not more:
            return got
        got += more
    return got
def serve(connection, peer):
    connection.sendall(b"220-mail.example ESMTP\\r\\n220 " + peer[0].encode() + b"\\r\\n")
    command = connection.makefile("rb", 0).readline()
    connection.sendall(b"220 " + command)
    if command.startswith(b"STARTTLS"):
        sent = read(connection, {len(REQUEST)})
        connection.sendall(sent[:8] + b"".join(
            b"%06d \\x80%s\\r\\n" % (number, b"y" * 990) for number in range(200)))
        read(connection, 1)
    connection.close()
listening = socket.create_server(("", 25))
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=listening.accept()).start()
"""
"""Says who calls, and repeats the command; after STARTTLS neither side speaks SMTP any more."""


@dataclass(frozen=True, slots=True)
class Running:
    lab: Lab
    form: Form
    path: Path
    filter: RunningFilter

    @property
    def queued(self) -> int:
        """The packets that have reached the filter."""
        received: int = self.filter.show_json("queue")["received"]
        return received


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: form.name)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    form: Form = request.param
    path = tmp_path_factory.mktemp("note") / "note.cfg"
    path.write_text(form.text)
    with Lab(offloads=False) as lab:
        for address in (ESA, OTHER):
            lab.run(SERVER, ["ip", "address", "add", f"{address}/24", "dev", "eth0"])
        lab.run(FILTER, ["ip", "address", "add", f"{GATEWAY}/24", "dev", INSIDE.name])
        for name, device in zip((OUTSIDE.name, INSIDE.name), form.devices, strict=True):
            for words in (["down"], ["name", device], ["up"]):
                lab.run(FILTER, ["ip", "link", "set", device if words == ["up"] else name, *words])
        peers = [lab.popen(where, ["python3", "-c", PEER]) for where in (CLIENT, SERVER)]
        for peer in peers:
            assert peer.stdout is not None
            assert peer.stdout.readline() == "ready\n"
        rules = ["rules", "--apply", "--config", str(path), *form.options]
        filter_ = lab.filter(path, arguments=form.options)
        lab.run(FILTER, [*NFINSPECT, *rules])
        yield Running(lab, form, path, filter_)
        filter_.end()  # not stop, which takes the notices about the note's words for errors
        for peer in peers:
            peer.terminate()
            peer.wait()


def connect(running: Running, where: str, source: str, to: str) -> tuple[socket.socket, str]:
    """Return a connection, and what the other side calls its client."""
    client = running.lab.socket(where)
    client.settimeout(10)
    client.bind((source, 0))
    client.connect((to, 25))
    greeting = b""
    while greeting.count(b"\n") < 2:
        more = client.recv(4096)
        assert more
        greeting += more
    return client, greeting.decode()


def receive(client: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size and (more := client.recv(65536)):
        got += more
    return got


def packets(file: Path, esa: str) -> dict[bool, list[dict[str, Any]]]:
    """Return the packets of the gateway, those that it sends and those to it, without TTL, checksums and
    its own address. They are in the order of their IP identification: two processors may swap packets
    between two interfaces."""
    found: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    with PcapReader(str(file)) as captured:
        for each in captured:
            ip, tcp = each[IP], each[TCP]
            sends = ip.src == esa
            assert sends or ip.dst == esa, f"{ip.src} to {ip.dst}"
            fields = {f"ip {name}": ip.getfieldval(name) for name in IP_FIELDS}
            fields |= {f"tcp {name}": tcp.getfieldval(name) for name in TCP_FIELDS}
            payload = bytes(tcp.payload)[: ip.len - ip.ihl * 4 - tcp.dataofs * 4]
            found[sends].append({**fields, "peer": ip.dst if sends else ip.src, "payload": payload})
    for each in found.values():
        each.sort(key=lambda fields: fields["ip id"])
    return found


IP_FIELDS = ("version", "ihl", "tos", "len", "id", "flags", "frag", "proto", "options")
TCP_FIELDS = (
    *("sport", "dport", "seq", "ack", "dataofs", "reserved", "flags", "window", "urgptr"),
    "options",
)


@pytest.mark.parametrize(
    ("where", "source", "to", "seen_outside"),
    [
        (CLIENT, CLIENT_ADDRESS, MAPPED, MAPPED),
        (CLIENT, CLIENT_ADDRESS, ESA, ESA),
        (SERVER, ESA, CLIENT_ADDRESS, MAPPED),
    ],
    ids=["receives", "receives-on-its-own-address", "sends"],
)
def test_gateway_and_its_peers_see_each_others_packets(
    running: Running, tmp_path: Path, where: str, source: str, to: str, seen_outside: str
) -> None:
    before = running.queued
    captures = [
        running.lab.capture(tmp_path / f"{device}.pcap", device) for device in running.form.devices
    ]
    client, greeting = connect(running, where, source, to)
    with client:
        own = MAPPED if source == ESA else source
        assert greeting == f"220-mail.example ESMTP\r\n220 {own}\r\n"
        client.sendall(b"STARTTLS\r\n")
        assert receive(client, 14) == b"220 STARTTLS\r\n"
        client.sendall(REQUEST)
        assert receive(client, 8 + len(ANSWER)) == REQUEST[:8] + ANSWER
    outside, inside = (capture.stop() for capture in captures)
    outside_packets, inside_packets = packets(outside, seen_outside), packets(inside, ESA)
    assert outside_packets == inside_packets
    assert min(len(each) for each in inside_packets.values()) > 100
    assert running.queued == before + 1  # its SYN, as the static has limits


def test_other_mail_is_inspected(running: Running) -> None:
    before = running.queued
    for where, source, to in (
        (CLIENT, CLIENT_ADDRESS, OTHER),
        (SERVER, OTHER, CLIENT_ADDRESS),
    ):
        client, greeting = connect(running, where, source, to)
        with client:
            assert re.fullmatch(r"220-\*+\r\n220 [*20]+\r\n", greeting)
            client.sendall(b"STARTTLS\r\n")
            assert receive(client, 14) == b"220 XXXXXXXX\r\n"
    assert running.queued > before


def test_lines_call_sides_by_their_names(running: Running) -> None:
    client, _ = connect(running, CLIENT, CLIENT_ADDRESS, OTHER)
    port = client.getsockname()[1]
    client.close()
    line = f"for outside:{CLIENT_ADDRESS}/{port} ({CLIENT_ADDRESS}/{port}) to inside:{OTHER}/25"
    assert running.filter.wait(lambda: any(line in each for each in running.filter.syslog), 10)


TAKING_AWAY = re.compile(
    r"\b(remov|delet|without effect|no effect|never match|matches nothing|drop the|take away|unused"
    r"|instead|superfluous|not needed|useless|harmless)",
    re.IGNORECASE,
)


def test_check_advises_to_take_no_line_away(running: Running) -> None:
    command = [*NFINSPECT, "check", str(running.path), "--json", *running.form.options]
    answer = json.loads(running.lab.run(FILTER, command).stdout)
    assert answer["errors"] == []
    first = running.form.text.count("nameif") + 1
    said = {(each["code"], each["line"] - first) for each in answer["advice"]}
    # Of the lines of the note, from 0; the map's advice stands at the text's first line.
    wanted = {("bare-address", 0), ("bare-address", 1), ("real-or-mapped", 0)}
    wanted |= {("real-or-mapped", 1), ("match-address", 3), ("new-connections", 6)}
    wanted |= {("exemption", 6), ("embryonic-above-connections", 7)}
    wanted |= {(code, 1 - first) for code in ("no-allow-tls", "recipient-limit")}
    wanted |= {("assumed-interfaces", 7)} if running.form.name == "alone" else set()
    assert said == wanted
    for each in answer["advice"] + answer["not_done"]:
        assert not TAKING_AWAY.search(each["message"]), each["message"]
    assert answer["understood"] == running.form.text.count("\n")
    assert answer["other"] == {}
