"""A packet's headers before address translation, from a fake connection tracking table."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from nfinspect.live import conntrack
from nfinspect.live.conntrack import SEARCH_PERIOD, UNTRACKED_PERIOD, Conntrack, Origin
from nfinspect.live.netlink import attribute, nested, walk
from nfinspect.packet.segment import reverse_key

ENTRY, DONE, ERROR, DUMP = 1 << 8, 3, 2, 0x300


def key(source: str, destination: str) -> bytes:
    """The key of a packet; *source* and *destination* are ``ADDRESS PORT``."""
    ends = [end.split() for end in (source, destination)]
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    addresses = b"".join(socket.inet_pton(family, address) for address, _ in ends)
    return addresses + b"".join(int(port).to_bytes(2, "big") for _, port in ends)


def tuple_of(kind: int, ends: bytes) -> bytes:
    half = (len(ends) - 4) // 2
    source, destination = (1, 2) if half == 4 else (3, 4)
    ip = nested(1, attribute(source, ends[:half]), attribute(destination, ends[half:-4]))
    ports = nested(2, attribute(1, b"\6"), attribute(2, ends[-4:-2]), attribute(3, ends[-2:]))
    return nested(kind, ip, ports)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


class Kernel:
    """A connection tracking table, and a netlink socket that answers from it."""

    def __init__(self) -> None:
        self.entries: list[tuple[bytes, bytes]] = []
        """Keys of the original and of the reply direction."""
        self.zone = b""
        self.searches = True
        """Whether this kernel can filter a dump."""
        self.refuses = 0
        self.asked = 0
        self.searched = 0
        self._answers: list[bytes] = []

    def opened(self) -> Kernel:
        self._answers = []
        return self

    def send(self, request: bytes) -> None:
        length, kind, flags, _, _ = struct.unpack("=IHHII", request[:16])
        assert (length, kind, flags & 1) == (len(request), 1 << 8 | 1, 1)
        values = {each: value for _, each, value in walk(request[20:])}
        wanted = self._read(values[1])
        self.asked += 1
        if self.refuses:
            self._answers = [message(ERROR, struct.pack("=i", -self.refuses))]
        elif flags & DUMP:
            self.searched += 1
            replies = self._read(values[2])
            found = [
                entry
                for entry in self.entries
                if not self.searches
                or (entry[0][-4:-2] == wanted[-4:-2] and entry[1][-4:-2] == replies[-4:-2])
            ]
            self._answers = [*map(self._message, found), message(DONE, bytes(4))]
        else:
            found = [entry for entry in self.entries if wanted in entry]
            missing = message(ERROR, struct.pack("=i", -errno.ENOENT))
            self._answers = [self._message(found[0]) if found else missing]

    def recv(self, size: int) -> bytes:
        answer, self._answers = b"".join(self._answers), []
        return answer

    def close(self) -> None:
        pass

    def _message(self, entry: tuple[bytes, bytes]) -> bytes:
        return message(ENTRY, bytes(4) + tuple_of(1, entry[0]) + tuple_of(2, entry[1]) + self.zone)

    @staticmethod
    def _read(value: bytes) -> bytes:
        return conntrack._key(value)[0]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(conntrack, "_opened", kernel.opened)
    return kernel


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(conntrack, "monotonic", lambda: now[0])
    return now


CLIENT, PUBLIC = "192.0.2.10 40000", "192.0.2.1 2525"
SERVER, HIDING = "198.51.100.25 25", "198.51.100.1 50000"
CLIENT6, PUBLIC6 = "2001:db8:1::10 40000", "2001:db8:1::1 2525"
SERVER6, HIDING6 = "2001:db8:2::25 25", "2001:db8:2::1 50000"
V4, V6 = (CLIENT, PUBLIC, SERVER, HIDING), (CLIENT6, PUBLIC6, SERVER6, HIDING6)


@pytest.mark.parametrize("ends", [V4, V6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("server_translated", [False, True])
@pytest.mark.parametrize("client_translated", [False, True])
def test_packet_sets_out_as_the_connections_come_in(
    kernel: Kernel, ends: tuple[str, ...], server_translated: bool, client_translated: bool
) -> None:
    client, public, server, hiding = ends
    addressed = public if server_translated else server
    seen = hiding if client_translated else client
    # The other connection from the same port must be ignored.
    kernel.entries = [
        (key(client, "192.0.2.2 25"), key("192.0.2.3 25", client)) if ends is V4 else
        (key(client, "2001:db8::2 25"), key("2001:db8::3 25", client)),
        (key(client, addressed), key(server, seen)),
    ]  # fmt: skip
    tracking = Conntrack()
    request, reply = key(client, server), key(server, client)
    assert tracking.origin(request, from_client=True) == Origin(key(client, addressed), True)
    assert tracking.origin(reply, from_client=False) == Origin(key(server, seen), True)
    assert kernel.searched == (1 if server_translated and client_translated else 0)


def test_untracked_connection_has_no_translation(kernel: Kernel) -> None:
    request = key(CLIENT, SERVER)
    assert Conntrack().origin(request, from_client=True) == Origin(request, False)
    assert kernel.searched == 1


def test_public_address_found_for_one_client_is_tried_first_for_the_next(kernel: Kernel) -> None:
    tracking = Conntrack()
    for port in range(40_000, 40_010):
        client = f"192.0.2.10 {port}"
        kernel.entries = [(key(client, PUBLIC), key(SERVER, HIDING))]
        origin = tracking.origin(key(client, SERVER), from_client=True)
        assert origin == Origin(key(client, PUBLIC), True)
    assert kernel.searched == 1


def test_table_is_searched_once_per_period_and_until_then_nothing_is_sent(
    kernel: Kernel, clock: list[float]
) -> None:
    tracking = Conntrack()
    requests = [key(f"192.0.2.{host} 40000", SERVER) for host in (10, 11)]
    assert tracking.origin(requests[0], from_client=True) == Origin(requests[0], False)
    assert tracking.origin(requests[1], from_client=True) is None
    clock[0] += SEARCH_PERIOD
    assert tracking.origin(requests[1], from_client=True) is None  # remembered
    tracking.forget()
    assert tracking.origin(requests[1], from_client=True) == Origin(requests[1], False)


def test_addresses_with_untracked_connections_are_searched_once_per_period(
    kernel: Kernel, clock: list[float]
) -> None:
    tracking = Conntrack()
    for port in range(40_000, 40_010):
        request = key(f"192.0.2.10 {port}", SERVER)
        assert tracking.origin(request, from_client=True) == Origin(request, False)
        assert tracking.origin(reverse_key(request), from_client=False) == Origin(
            reverse_key(request), False
        )
    assert kernel.searched == 1
    clock[0] += UNTRACKED_PERIOD
    tracking.forget()
    tracking.origin(key(CLIENT, SERVER), from_client=True)
    assert kernel.searched == 2


def test_answer_is_remembered_until_forget(kernel: Kernel) -> None:
    kernel.entries = [(key(CLIENT, SERVER), key(SERVER, CLIENT))]
    tracking = Conntrack()
    for _ in range(5):
        tracking.origin(key(CLIENT, SERVER), from_client=True)
    assert kernel.asked == 1
    tracking.forget()
    tracking.origin(key(CLIENT, SERVER), from_client=True)
    assert kernel.asked == 2


def test_remembered_answers_are_bounded(kernel: Kernel) -> None:
    tracking = Conntrack()
    for number in range(3 * Conntrack.LIMIT):
        host = f"10.{number >> 8}.{number & 255}.1"
        kernel.entries = [(key(f"{host} 1", f"{host} 2525"), key(f"{host} 25", f"{host} 1"))]
        tracking.origin(key(f"{host} 25", f"{host} 1"), from_client=False)
    assert len(tracking._known) <= Conntrack.LIMIT
    assert sum(map(len, tracking._destinations.values())) <= Conntrack.LIMIT


def test_nothing_is_sent_for_a_connection_in_a_zone(kernel: Kernel) -> None:
    """OUTPUT would look the packet up in another zone."""
    kernel.zone = attribute(18, b"\0\5")
    kernel.entries = [(key(CLIENT, PUBLIC), key(SERVER, CLIENT))]
    assert Conntrack().origin(key(CLIENT, SERVER), from_client=True) is None


def test_nothing_is_sent_if_the_kernel_cannot_filter_a_dump(kernel: Kernel) -> None:
    kernel.searches = False
    kernel.entries = [(key("192.0.2.77 1", PUBLIC), key(SERVER, "192.0.2.77 1"))]
    assert Conntrack().origin(key(CLIENT, SERVER), from_client=True) is None


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL])
def test_nothing_is_sent_if_connection_tracking_fails(kernel: Kernel, number: int) -> None:
    kernel.refuses = number
    assert Conntrack().origin(key(CLIENT, SERVER), from_client=True) is None
    kernel.refuses = 0
    kernel.entries = [(key(CLIENT, SERVER), key(SERVER, CLIENT))]
    tracking = Conntrack()
    assert tracking.origin(key(CLIENT, SERVER), from_client=True) is not None
