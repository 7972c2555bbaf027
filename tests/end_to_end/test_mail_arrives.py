"""Mail through the filter, byte for byte, with every combination of client, server and IP version."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from nfinspect.lab import expected_lines as lines
from nfinspect.lab import postfix, topology
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.postfix import Postfix
from nfinspect.lab.stage import ADDRESSES, RECIPIENT, SENDER, MailStage
from nfinspect.lab.streams import conversations
from nfinspect.lab.topology import CLIENT, FILTER
from tests.end_to_end.conftest import Syslog
from tests.frames import faulty_frames

KIB, MB = 1 << 10, 10**6
SIZES = (1, 997, 64 * KIB, MB)
"""Bytes in the mail's body: the minimum, less than a segment, several windows, many windows."""

CLIENTS = ("swaks", "postfix", "postfix-pipelining")
SERVERS = ("postfix", "exim")


@cache
def mail(size: int) -> bytes:
    """A mail with a body of *size* bytes, always the same, of lines with any bytes allowed in mail."""
    chance = random.Random(size)
    # All but the two characters that swaks interprets.
    printable = (
        bytes(set(range(0x20, 0x7F)) - set(b"\\%")) + b"\t....  " + bytes(range(0xA0, 0x100))
    )
    body = bytearray()
    while len(body) < size:
        length = min(chance.randrange(0, 990), size - len(body) - 1)
        body += bytes(chance.choices(printable, k=max(length, 0))) + b"\n"
    head = (
        f"Date: Mon, 2 Nov 2026 09:00:00 +0000\nFrom: <{SENDER}>\nTo: <{RECIPIENT}>\n"
        f"Subject: {size} bytes\nMessage-Id: <{size}@client.example>\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\n"
        "Content-Transfer-Encoding: 8bit\n\n"
    )
    return head.encode() + bytes(body)


class Sender:
    """Sends from any of the clients to any of the servers."""

    def __init__(self, lab: Lab, stage: MailStage) -> None:
        self.lab = lab
        self.stage = stage
        self._postfixes: dict[tuple[str, str], Postfix] = {}

    def send(self, client: str, server: str, version: int, message: bytes) -> bytes:
        """Send *message*, and return what the server has delivered."""
        self.stage.set(server, version)
        mailbox = self.stage.mailbox
        address = ADDRESSES[server, version]
        if client == "swaks":
            self._swaks(address, message)
        else:
            self._postfix(client, address).submit(message, SENDER, RECIPIENT)
        (delivered,) = mailbox.wait(1, timeout=60)
        return delivered

    def _swaks(self, address: str, message: bytes) -> None:
        file = self.lab.directory / "message"
        file.write_bytes(message.removesuffix(b"\n"))
        words = ["swaks", "--server", address, "--from", SENDER, "--to", RECIPIENT]
        self.lab.run(CLIENT, [*words, "--helo", topology.CLIENT_NAME, "--data", f"@{file}"])

    def _postfix(self, client: str, address: str) -> Postfix:
        if (client, address) not in self._postfixes:
            settings = {} if client == "postfix" else {"smtp_pix_workarounds": ""}
            name = f"client-{len(self._postfixes)}"
            running = postfix.client(self.lab, CLIENT, name, address, settings)
            running.start()
            self._postfixes[client, address] = running
        return self._postfixes[client, address]


@pytest.fixture(scope="module")
def sender(plain_lab: Lab, stage: MailStage) -> Sender:
    return Sender(plain_lab, stage)


def syslog_lines(client: str) -> tuple[lines.Template, ...]:
    return lines.ORDINARY if client == "swaks" else lines.BY_POSTFIX


def client_address(version: int) -> str:
    return topology.CLIENT_ADDRESS if version == 4 else topology.CLIENT_ADDRESS6


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_mail_of_any_size_arrives_byte_for_byte_with_correct_checksums_on_both_sides(
    client: str,
    server: str,
    version: int,
    plain_lab: Lab,
    running: RunningFilter,
    sender: Sender,
    syslog: Syslog,
    tmp_path: Path,
) -> None:
    captures = [plain_lab.capture(tmp_path / side, side) for side in ("outside", "inside")]
    for size in SIZES:
        message = mail(size)
        delivered = sender.send(client, server, version, message)
        assert delivered.endswith(b"\n" + message), size
        syslog.expect(
            syslog_lines(client), client=client_address(version), server=ADDRESSES[server, version]
        )
    for capture in captures:
        assert faulty_frames(capture.stop()) == []
    outside, inside = (conversations(capture.file) for capture in captures)
    assert [each.request.data for each in outside] == [each.request.data for each in inside]
    greetings = {"swaks": b"EHLO ", "postfix": b"HELO ", "postfix-pipelining": b"EHLO "}
    for each in inside:
        assert each.request.data.startswith(greetings[client])


def test_mail_of_20_mb_arrives_byte_for_byte(
    running: RunningFilter, sender: Sender, syslog: Syslog
) -> None:
    message = mail(20 * MB)
    delivered = sender.send("postfix-pipelining", "postfix", 4, message)
    assert delivered.endswith(b"\n" + message)
    syslog.expect(lines.BY_POSTFIX, client=client_address(4), server=ADDRESSES["postfix", 4])
    assert running.waiting() == 0


@pytest.mark.timeout(300)
def test_mail_of_20_mb_arrives_byte_for_byte_although_2_percent_of_packets_are_lost_each_way(
    running: RunningFilter, sender: Sender, syslog: Syslog, plain_lab: Lab
) -> None:
    message = mail(20 * MB)
    before = running.show_json("queue")["verdicts"]["injected"]
    with random_loss(plain_lab, 0.02) as lost:
        delivered = sender.send("postfix-pipelining", "postfix", 4, message)
        syslog.expect(lines.BY_POSTFIX, client=client_address(4), server=ADDRESSES["postfix", 4])
    assert delivered.endswith(b"\n" + message)
    assert lost()["outside"] > 100
    assert lost()["inside"] > 10
    # The filter reported the gaps to the sender on the receiver's behalf.
    assert running.show_json("queue")["verdicts"]["injected"] > before


@contextmanager
def random_loss(lab: Lab, probability: float) -> Iterator[Callable[[], dict[str, int]]]:
    """Drop packets before the filter's queue, in both directions. The value is a function that
    returns how many were lost by interface, once the block has ended."""
    counts: dict[str, int] = {}
    rule = f"-p tcp -m statistic --mode random --probability {probability} -j DROP".split()
    for side in ("outside", "inside"):
        lab.run(FILTER, ["iptables", "-w", "-t", "mangle", "-A", "PREROUTING", "-i", side, *rule])
    try:
        yield lambda: counts
    finally:
        listing = lab.run(FILTER, "iptables -w -t mangle -nvxL PREROUTING".split()).stdout
        for line in listing.splitlines():
            words = line.split()
            if "statistic" in words:
                counts[words[5]] = int(words[0])
        lab.run(FILTER, "iptables -w -t mangle -F PREROUTING".split())


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_mail_of_20_mb_arrives_byte_for_byte_in_packets_larger_than_the_mtu(version: int) -> None:
    with Lab(offloads=True) as lab:
        running = lab.filter()
        stage = MailStage(lab)
        syslog = Syslog(running)
        message = mail(20 * MB if version == 4 else MB)
        delivered = Sender(lab, stage).send("postfix-pipelining", "postfix", version, message)
        assert delivered.endswith(b"\n" + message)
        syslog.expect(
            lines.BY_POSTFIX, client=client_address(version), server=ADDRESSES["postfix", version]
        )
        assert running.show_json("queue")["gso"] > 10
        running.stop()
