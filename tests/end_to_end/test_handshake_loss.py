"""One packet is lost: each of the handshake, and the first ones with data, on either side of the filter, with TCP
intercept and without it. The mail arrives, but for two losses that no SYN cookie survives. Also large mails with
losses, and ports that are used again."""

from __future__ import annotations

import hashlib
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.namespaces import NFINSPECT
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
from tests.end_to_end import test_intercept as intercept

SYN, SYN_ACK = "--tcp-flags SYN,ACK SYN", "--tcp-flags SYN,ACK SYN,ACK"
BARE_ACK = "--tcp-flags FIN,SYN,RST,PSH,ACK ACK"
DATA = "--tcp-flags PSH PSH"


class Loss(NamedTuple):
    where: str
    """The namespace in which it arrives and is dropped."""
    device: str
    side: str
    """The port that is the server's."""
    flags: str
    survived: bool = True
    """With TCP intercept."""


LOSSES = {
    "SYN before the filter": Loss(FILTER, OUTSIDE.name, "--dport", SYN),
    "SYN-ACK behind the filter": Loss(CLIENT, "eth0", "--sport", SYN_ACK),
    "ACK before the filter": Loss(FILTER, OUTSIDE.name, "--dport", BARE_ACK, survived=False),
    "SYN behind the filter": Loss(SERVER, "eth0", "--dport", SYN, survived=False),
    "SYN-ACK before the filter": Loss(FILTER, INSIDE.name, "--sport", SYN_ACK),
    "ACK behind the filter": Loss(SERVER, "eth0", "--dport", BARE_ACK),
    "greeting before the filter": Loss(FILTER, INSIDE.name, "--sport", DATA),
    "greeting behind the filter": Loss(CLIENT, "eth0", "--sport", DATA),
    "EHLO before the filter": Loss(FILTER, OUTSIDE.name, "--dport", DATA),
    "EHLO behind the filter": Loss(SERVER, "eth0", "--dport", DATA),
}
KEPT = (
    "policy-map global_policy\n class class-default\n  set connection timeout embryonic 0:10:00\n"
)
"""The flood is sent once: intercept lasts."""
QUIET = 3.0
"""Seconds: two retransmissions of whatever is retransmitted."""
BODY = b"one line"
LARGE = b"\r\n".join([b"x" * 70] * 70_000)
"""5 MB."""
LISTENER = """\
import hashlib, socketserver
class Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.reply("220 mail.example ESMTP")
        heard = []
        for line in self.rfile:
            heard.append(line.rstrip().decode())
            if heard[-1] == "DATA":
                self.reply("354 go on")
                body = hashlib.sha256()
                for line in self.rfile:
                    if line == b".\\r\\n":
                        break
                    body.update(line)
                heard.append(body.hexdigest())
            self.reply("250 ok")
            if heard[-1] == "QUIT":
                break
        if heard:
            print(" ".join(heard), flush=True)
    def reply(self, text):
        self.wfile.write(text.encode() + b"\\r\\n")
class Server(socketserver.ThreadingTCPServer):
    address_family = 10
    request_queue_size = 200
    daemon_threads = True
with Server(("::", 25), Session) as server:
    print("ready", flush=True)
    server.serve_forever()
"""


class Scene(NamedTuple):
    lab: Lab
    running: RunningFilter
    server: subprocess.Popen[str]
    address: str
    intercepted: bool

    @property
    def iptables(self) -> str:
        return "ip6tables" if ":" in self.address else "iptables"

    def client(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        client = self.lab.socket(CLIENT, family)
        client.settimeout(15)
        return client

    @contextmanager
    def losing(self, loss: Loss) -> Iterator[None]:
        """The first such packet is lost, and no other; fail unless it is."""
        rule = ["PREROUTING", "-i", loss.device, "-p", "tcp", loss.side, "25", *loss.flags.split()]
        rule += ["-m", "limit", "--limit", "1/day", "--limit-burst", "1", "-j", "DROP"]
        table = [self.iptables, "-w", "-t", "raw"]
        self.lab.run(loss.where, [*table, "-A", *rule])
        yield
        listed = self.lab.run(loss.where, [*table, "-nvxL", "PREROUTING"]).stdout.splitlines()
        self.lab.run(loss.where, [*table, "-D", *rule])
        assert [line.split()[0] for line in listed if " limit: " in line] == ["1"]


@pytest.fixture(scope="module", params=["not intercepted", "IPv4", "IPv6", "static"])
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    intercepted = request.param in intercept.CASES
    case = intercept.CASES[request.param if intercepted else "IPv4"]
    case = case._replace(text=case.text + KEPT)
    with Lab(offloads=False) as lab:
        running = intercept.filtered(lab, case, tmp_path_factory.mktemp("loss"))
        server = lab.popen(SERVER, ["python3", "-c", LISTENER])
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        if intercepted:
            intercept.flood(lab, case, 1)
            assert running.wait(lambda: case.members in intercept.in_place(lab), 10)
        yield Scene(lab, running, server, case.address, intercepted)
        running.stop()
        server.terminate()
        server.wait()


def send(scene: Scene, client: socket.socket, body: bytes = BODY) -> None:
    """Send a mail; fail unless the server has received it, once and byte for byte."""
    with client, client.makefile("rwb") as lines:
        assert lines.readline().startswith(b"220 ")
        for command in (b"EHLO client.example", b"DATA", body + b"\r\n.", b"QUIT"):
            lines.write(command + b"\r\n")
            lines.flush()
            assert lines.readline()[:4] in (b"250 ", b"354 ")
        assert lines.read() == b""
    assert scene.server.stdout is not None
    digest = hashlib.sha256(body + b"\r\n").hexdigest()
    assert scene.server.stdout.readline() == f"EHLO client.example DATA {digest} QUIT\n"


@pytest.mark.parametrize("name", LOSSES)
def test_mail_arrives_although_one_packet_is_lost(scene: Scene, name: str) -> None:
    loss = LOSSES[name]
    proven = intercept.proxied(scene.running)
    with scene.losing(loss):
        client = scene.client()
        client.connect((scene.address, 25))
        if scene.intercepted and not loss.survived:
            # Nobody sends anything again: the client has sent all, and the proxy keeps nothing. Until
            # its own timeout the client waits for the greeting.
            client.settimeout(QUIET)
            with client, pytest.raises(TimeoutError):
                client.recv(1)
        else:
            send(scene, client)
    if scene.intercepted and not loss.survived:
        # Then it sends the mail again.
        client = scene.client()
        client.connect((scene.address, 25))
        send(scene, client)
    assert (intercept.proxied(scene.running) > proven) == scene.intercepted


def test_a_large_mail_arrives_byte_for_byte_although_1_percent_of_packets_are_lost(
    scene: Scene,
) -> None:
    proven = intercept.proxied(scene.running)
    client = scene.client()
    client.connect((scene.address, 25))
    client.recv(1, socket.MSG_PEEK)  # as the handshake might not survive it
    table = [scene.iptables, "-w", "-t", "mangle"]
    rule = ["-p", "tcp", "-m", "statistic", "--mode", "random", "--probability", "0.01"]
    for device in (OUTSIDE.name, INSIDE.name):
        losing = [*table, "-A", "PREROUTING", "-i", device, *rule, "-j", "DROP"]
        scene.lab.run(FILTER, losing)
    send(scene, client, LARGE)
    listed = scene.lab.run(FILTER, [*table, "-nvxL", "PREROUTING"]).stdout.splitlines()
    scene.lab.run(FILTER, [*table, "-F", "PREROUTING"])
    lost = [int(line.split()[0]) for line in listed if " statistic " in line]
    assert all(count > 3 for count in lost)
    assert len(lost) == 2
    assert (intercept.proxied(scene.running) > proven) == scene.intercepted


def test_a_client_that_soon_uses_its_port_again_gets_through(scene: Scene) -> None:
    """Connection tracking still knows the earlier connection, and would change the proxy's answer."""
    for aborted in (False, True, False):
        client = scene.client()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("", 40_000))
        client.connect((scene.address, 25))
        if aborted:
            assert client.recv(4) == b"220 "
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        else:
            send(scene, client)
        time.sleep(0.1)  # its next initial number is beyond the server's window


def test_show_tells_of_intercept_and_clear_ends_connections_through_it(scene: Scene) -> None:
    server = SERVER_ADDRESS6 if ":" in scene.address else SERVER_ADDRESS
    host = CLIENT_ADDRESS6 if ":" in scene.address else CLIENT_ADDRESS
    control = ["--control", str(scene.lab.directory / "control")]
    clear = [*NFINSPECT, "clear", *control, "conn", "address", host]
    scene.lab.run(FILTER, clear)  # what earlier tests have left to idle out
    client = scene.client()
    client.connect((scene.address, 25))
    assert client.recv(4) == b"220 "
    show = scene.running.show
    details = show("service-policy", "set", "connection", "details")
    assert ("TCP intercept active, targets 1, current conns through it 1\n" in details) == (
        scene.intercepted
    )
    assert (f"intercept {server} port 25\n" in details) == scene.intercepted
    local = show("local-host", server)
    assert f"TCP intercept watermark = {intercept.EMBRYONIC}\n" in local
    assert ("TCP intercept = active, conns 1\n" in local) == scene.intercepted
    detail = show("conn", "detail", "address", host)
    assert (", intercepted\n" in detail) == scene.intercepted
    (known,) = scene.running.show_json("conn", "address", host)["connections"]
    assert known["intercepted"] == scene.intercepted
    scene.lab.run(FILTER, clear)
    assert show("conn", "address", host).count("TCP ") == 0
    client.settimeout(1)
    with client:
        client.recv(100)  # the rest of the greeting
        client.sendall(b"NOOP\r\n")
        with pytest.raises(TimeoutError):
            client.recv(1)
    again = scene.client()
    again.connect((scene.address, 25))
    send(scene, again)
