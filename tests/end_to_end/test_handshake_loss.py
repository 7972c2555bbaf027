"""One packet is lost: each of the handshake, and the first ones with data, on either side of the filter, with TCP
intercept and without it. The mail arrives, but for two losses that no SYN cookie survives."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT, FILTER, INSIDE, OUTSIDE, SERVER
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
MAIL = f"EHLO client.example DATA {BODY.decode()} . QUIT\n"
LISTENER = """\
import socketserver
class Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 mail.example ESMTP\\r\\n")
        heard = []
        while "QUIT" not in heard:
            line = self.rfile.readline()
            if not line:
                break
            heard.append(line.rstrip().decode())
            if heard[-1] in ("DATA", "QUIT", ".") or "DATA" not in heard:
                self.wfile.write(b"354 go on\\r\\n" if heard[-1] == "DATA" else b"250 ok\\r\\n")
        if heard:
            print(" ".join(heard), flush=True)
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


def send(client: socket.socket) -> None:
    with client, client.makefile("rwb") as lines:
        assert lines.readline().startswith(b"220 ")
        for command in (b"EHLO client.example", b"DATA", BODY + b"\r\n.", b"QUIT"):
            lines.write(command + b"\r\n")
            lines.flush()
            assert lines.readline()[:4] in (b"250 ", b"354 ")
        assert lines.read() == b""


def received(scene: Scene) -> None:
    """The server has the mail, once."""
    assert scene.server.stdout is not None
    assert scene.server.stdout.readline() == MAIL


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
            send(client)
            received(scene)
    if scene.intercepted and not loss.survived:
        # Then it sends the mail again.
        client = scene.client()
        client.connect((scene.address, 25))
        send(client)
        received(scene)
    assert (intercept.proxied(scene.running) > proven) == scene.intercepted
