"""Endpoints that wait: keep-alives, a receiver that does not read, a path whose MTU falls or that is
interrupted. In every case all bytes arrive in the end, and no packet is left without a verdict.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from nfinspect.lab.dialogue import ClientConnection
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT, FILTER, SERVER
from tests.attacks.mail import GREETING, Mail
from tests.end_to_end.ends import IPV4, IPV6, Counters, Family

BODY = b"".join(b"%06d %s\r\n" % (number, b"x" * 62) for number in range(5000))
PIECES = [BODY[at : at + 10_000] for at in range(0, len(BODY), 10_000)]
PATIENCE = 15.0

FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=["IPv4", "IPv6"])

IP_MTU, IPV6_MTU = 14, 24  # linux/in.h, linux/in6.h


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module", autouse=True)
def running(lab: Lab) -> Iterator[RunningFilter]:
    """The filter. Stopping it fails if a packet is waiting."""
    filter_ = lab.filter()
    yield filter_
    filter_.stop()


@contextmanager
def server(
    lab: Lab, family: Family, *, buffer: int = 0, after_data: Callable[[], None] = lambda: None
) -> Iterator[Mail]:
    """A server with a receive buffer of this size. After DATA it calls *after_data* before it reads
    on."""
    version = socket.AF_INET if family is IPV4 else socket.AF_INET6
    listener = lab.socket(SERVER, version)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    listener.bind((family.server, 25))
    listener.listen()
    listener.settimeout(PATIENCE)
    mail = Mail()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE)
            connection.sendall(GREETING)
            while data := connection.recv(1 << 16):
                answer = mail.feed(data)
                connection.sendall(answer)
                if answer.startswith(b"354"):
                    after_data()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield mail
    finally:
        thread.join()
        listener.close()


@contextmanager
def client(lab: Lab, family: Family) -> Iterator[ClientConnection]:
    """A client that has sent DATA; its message ends when the block is left."""
    with ClientConnection.open(lab, family.server, timeout=PATIENCE) as dialogue:
        assert dialogue.reply() == "220 *****"
        for line in ("HELO a", "MAIL FROM:<a@b>", "RCPT TO:<c@d>"):
            assert dialogue.command(line).startswith("250")
        assert dialogue.command("DATA").startswith("354")
        yield dialogue
        assert dialogue.command(".").startswith("250")


def arrived_complete(mail: Mail) -> bool:
    return bytes(mail.read).endswith(b"DATA\r\n" + BODY + b".\r\n")


def test_keep_alives_are_answered_through_the_filter(lab: Lab) -> None:
    """The client gives up if a single one is not answered."""
    before = Counters(lab, CLIENT)
    with server(lab, IPV4) as mail, client(lab, IPV4) as dialogue:
        for option, value in (
            (socket.TCP_KEEPIDLE, 1),
            (socket.TCP_KEEPINTVL, 1),
            (socket.TCP_KEEPCNT, 1),
        ):
            dialogue.socket.setsockopt(socket.IPPROTO_TCP, option, value)
        dialogue.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        dialogue.socket.settimeout(3.3)
        with pytest.raises(TimeoutError):  # nothing arrives, not even a FIN
            dialogue.reply()
        dialogue.send(BODY)
    assert arrived_complete(mail)
    assert before.since()["TCPKeepAlive"] >= 2


def test_receiver_that_does_not_read_for_two_seconds_gets_the_whole_mail(lab: Lab) -> None:
    before = Counters(lab, SERVER)
    with (
        server(lab, IPV4, buffer=8192, after_data=lambda: time.sleep(2)) as mail,
        client(lab, IPV4) as dialogue,
    ):
        dialogue.send(BODY)
    assert arrived_complete(mail)
    assert before.since()["TCPToZeroWindowAdv"] >= 1


@FAMILIES
def test_mail_arrives_although_the_path_mtu_falls_in_mid_transfer(lab: Lab, family: Family) -> None:
    """The router's ICMP message passes, and the sender retransmits in smaller segments."""
    level, option = (
        (socket.IPPROTO_IP, IP_MTU) if family is IPV4 else (socket.IPPROTO_IPV6, IPV6_MTU)
    )

    def set_mtu(size: int) -> None:
        for where, interface in ((FILTER, "inside"), (SERVER, "eth0")):
            lab.run(where, ["ip", "link", "set", interface, "mtu", str(size)])

    try:
        with server(lab, family) as mail, client(lab, family) as dialogue:
            dialogue.send(BODY[: len(BODY) // 2])
            set_mtu(1300)
            dialogue.send(BODY[len(BODY) // 2 :])
            deadline = time.monotonic() + PATIENCE
            while dialogue.socket.getsockopt(level, option) != 1300:
                assert time.monotonic() < deadline, "the sender has not noticed"
                time.sleep(0.01)
    finally:
        set_mtu(1500)
    assert arrived_complete(mail)


@pytest.mark.parametrize(
    ("where", "rule"),
    [
        (FILTER, "PREROUTING -i outside"),
        (SERVER, "INPUT -p tcp --dport 25"),
        (FILTER, "PREROUTING -i inside"),
        (CLIENT, "INPUT -p tcp --sport 25"),
    ],
    ids=["to the filter", "to the server", "back to the filter", "back to the client"],
)
def test_mail_arrives_although_one_direction_is_interrupted(
    lab: Lab, where: str, rule: str
) -> None:
    change = ["iptables", "-w", "-t", "mangle"]
    before = Counters(lab, CLIENT)
    with server(lab, IPV4) as mail, client(lab, IPV4) as dialogue:
        for number, piece in enumerate(PIECES):
            if number == 5:
                lab.run(where, [*change, "-A", *rule.split(), "-j", "DROP"])
                threading.Timer(
                    0.5, lab.run, (where, [*change, "-D", *rule.split(), "-j", "DROP"])
                ).start()
            dialogue.send(piece)
            time.sleep(0.01)
    assert arrived_complete(mail)
    assert before.since()["TCPTimeouts"] >= 1


def test_no_packet_is_left_waiting_after_the_other_tests(lab: Lab, running: RunningFilter) -> None:
    state = running.show_json("queue")
    assert (state["waiting"], state["held"]) == (0, 0)
    assert (state["kernel_dropped"], state["user_dropped"], state["enobufs"]) == (0, 0, 0)
