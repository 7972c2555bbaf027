"""How an injected packet leaves: through which socket, to which destination, in which form."""

from __future__ import annotations

import socket

import pytest

from nfinspect.actions import Inject
from nfinspect.events import Direction
from nfinspect.live import injection
from nfinspect.live.conntrack import Origin
from nfinspect.live.injection import Injector
from nfinspect.live.nfnetlink import NOWHERE
from nfinspect.packet.craft import craft_acknowledgment
from nfinspect.rules.mark import MARK

CLIENT, SERVER = bytes.fromhex("020000000110"), bytes.fromhex("020000000225")


def key(source: str, destination: str, ports: bytes) -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    return socket.inet_pton(family, source) + socket.inet_pton(family, destination) + ports


KEYS = [
    key("192.0.2.10", "198.51.100.25", b"\x9c\x40\0\x19"),
    key("2001:db8:1::10", "2001:db8:2::25", b"\x9c\x40\0\x19"),
]
PUBLIC = [
    key("192.0.2.10", "192.0.2.1", b"\x9c\x40\x09\xdd"),
    key("2001:db8:1::10", "2001:db8:1::1", b"\x9c\x40\x09\xdd"),
]
DESTINATIONS = ["198.51.100.25", "2001:db8:2::25"]


class Socket:
    """Records its options and what is sent."""

    def __init__(self, family: int, kind: int, protocol: int) -> None:
        self.family, self.protocol = family, protocol
        self.options: dict[int, int] = {}
        self.sent: list[tuple[bytes, tuple[object, ...]]] = []
        self.closed = False
        self.refuses = False
        SOCKETS.append(self)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options[option] = value

    def sendto(self, data: bytes, address: tuple[object, ...]) -> None:
        if self.refuses:
            raise BlockingIOError
        self.sent.append((data, address))

    def close(self) -> None:
        self.closed = True

    @property
    def marked(self) -> bool:
        return self.options.get(injection.SO_MARK) == MARK


SOCKETS: list[Socket] = []


class Tracking:
    """Connection tracking with an answer set by the test."""

    answer: Origin | None = None
    asked: tuple[bytes, bool] | None = None

    def origin(self, key: bytes, *, from_client: bool) -> Origin | None:
        self.asked = (key, from_client)
        return self.answer

    def forget(self) -> None:
        self.answer = None

    def close(self) -> None:
        pass


@pytest.fixture
def tracking(monkeypatch: pytest.MonkeyPatch) -> Tracking:
    tracking = Tracking()
    SOCKETS.clear()
    monkeypatch.setattr(injection, "Conntrack", lambda: tracking)
    monkeypatch.setattr(injection.socket, "socket", Socket)
    return tracking


def acknowledgment(ends: bytes) -> bytes:
    return craft_acknowledgment(ends, sequence=1, acknowledgment=2, window=3)


def sent() -> list[tuple[Socket, bytes, tuple[object, ...]]]:
    return [(each, *what) for each in SOCKETS for what in each.sent]


@pytest.mark.parametrize("version", [0, 1], ids=["IPv4", "IPv6"])
def test_routed_packet_has_the_header_that_connection_tracking_translates(
    tracking: Tracking, version: int
) -> None:
    """It is routed to its true destination, whatever its header says."""
    tracking.answer = Origin(PUBLIC[version], True)
    injector = Injector()
    action = Inject(acknowledgment(KEYS[version]), Direction.REQUEST, "")
    assert injector.inject(action)
    assert tracking.asked == (KEYS[version], True)
    ((used, datagram, address),) = sent()
    assert used.family == (socket.AF_INET, socket.AF_INET6)[version]
    assert not used.marked
    assert address == (DESTINATIONS[version], 0)
    assert datagram == acknowledgment(PUBLIC[version])


@pytest.mark.parametrize(("tracked", "marked"), [(True, False), (False, True)])
def test_packet_is_marked_only_if_its_connection_is_untracked(
    tracking: Tracking, tracked: bool, marked: bool
) -> None:
    tracking.answer = Origin(KEYS[0], tracked)
    assert Injector().inject(Inject(acknowledgment(KEYS[0]), Direction.REPLY, ""))
    ((used, datagram, _),) = sent()
    assert (used.marked, datagram) == (marked, acknowledgment(KEYS[0]))
    assert tracking.asked == (KEYS[0], False)


def test_nothing_is_sent_if_connection_tracking_has_no_answer(tracking: Tracking) -> None:
    assert not Injector().inject(Inject(acknowledgment(KEYS[0]), Direction.REPLY, ""))
    assert sent() == []


def test_malformed_datagram_is_not_sent(tracking: Tracking) -> None:
    tracking.answer = Origin(KEYS[0], True)
    assert not Injector().inject(Inject(b"\x45" + bytes(30), Direction.REPLY, ""))
    assert sent() == []


@pytest.mark.parametrize(("version", "type_"), [(0, 0x0800), (1, 0x86DD)], ids=["IPv4", "IPv6"])
def test_bridged_packet_is_sent_as_a_frame_between_the_link_addresses(
    tracking: Tracking, version: int, type_: int
) -> None:
    datagram = acknowledgment(KEYS[version])
    action = Inject(datagram, Direction.REQUEST, "inside", SERVER, CLIENT)
    assert Injector().inject(action)
    ((used, frame, address),) = sent()
    assert used.family == socket.AF_PACKET
    assert frame == SERVER + CLIENT + type_.to_bytes(2, "big") + datagram
    assert address == ("inside", type_)
    assert tracking.asked is None


@pytest.mark.parametrize(
    ("destination", "source"),
    [(SERVER, b""), (b"", CLIENT), (NOWHERE, CLIENT), (SERVER, NOWHERE), (NOWHERE, NOWHERE)],
)
def test_nothing_is_sent_between_unknown_link_addresses(
    tracking: Tracking, destination: bytes, source: bytes
) -> None:
    tracking.answer = Origin(KEYS[0], True)
    action = Inject(acknowledgment(KEYS[0]), Direction.REQUEST, "inside", destination, source)
    assert not Injector().inject(action)
    assert sent() == []


@pytest.mark.parametrize("link", [(b"", b""), (SERVER, CLIENT)], ids=["routed", "bridged"])
def test_packet_that_the_kernel_refuses_counts_as_not_injected(
    tracking: Tracking, link: tuple[bytes, bytes]
) -> None:
    tracking.answer = Origin(KEYS[0], True)
    injector = Injector()
    for each in SOCKETS:
        each.refuses = True
    assert not injector.inject(Inject(acknowledgment(KEYS[0]), Direction.REQUEST, "inside", *link))


def test_close_closes_all_sockets(tracking: Tracking) -> None:
    injector = Injector()
    injector.close()
    assert len(SOCKETS) == 5
    assert all(each.closed for each in SOCKETS)
