"""Where a packet of the filter's own leaves: by which socket, for whom, in which form."""

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
    """Remembers what it was given."""

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
    """Answers with what the test says."""

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
def test_routed_packet_sets_out_as_connection_tracking_says(
    tracking: Tracking, version: int
) -> None:
    """Its route is that to its true destination, whatever the header says."""
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
def test_only_what_is_not_tracked_is_marked(
    tracking: Tracking, tracked: bool, marked: bool
) -> None:
    tracking.answer = Origin(KEYS[0], tracked)
    assert Injector().inject(Inject(acknowledgment(KEYS[0]), Direction.REPLY, ""))
    ((used, datagram, _),) = sent()
    assert (used.marked, datagram) == (marked, acknowledgment(KEYS[0]))
    assert tracking.asked == (KEYS[0], False)


def test_nothing_is_sent_if_nobody_can_tell_how(tracking: Tracking) -> None:
    assert not Injector().inject(Inject(acknowledgment(KEYS[0]), Direction.REPLY, ""))
    assert sent() == []


def test_broken_datagram_is_not_sent(tracking: Tracking) -> None:
    tracking.answer = Origin(KEYS[0], True)
    assert not Injector().inject(Inject(b"\x45" + bytes(30), Direction.REPLY, ""))
    assert sent() == []


@pytest.mark.parametrize(("version", "type_"), [(0, 0x0800), (1, 0x86DD)], ids=["IPv4", "IPv6"])
def test_bridged_packet_is_a_frame_from_neighbour_to_neighbour(
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
def test_nothing_is_bridged_from_or_to_an_address_that_is_not_known(
    tracking: Tracking, destination: bytes, source: bytes
) -> None:
    tracking.answer = Origin(KEYS[0], True)
    action = Inject(acknowledgment(KEYS[0]), Direction.REQUEST, "inside", destination, source)
    assert not Injector().inject(action)
    assert sent() == []


@pytest.mark.parametrize("link", [(b"", b""), (SERVER, CLIENT)], ids=["routed", "bridged"])
def test_refusal_of_the_kernel_is_told(tracking: Tracking, link: tuple[bytes, bytes]) -> None:
    tracking.answer = Origin(KEYS[0], True)
    injector = Injector()
    for each in SOCKETS:
        each.refuses = True
    assert not injector.inject(Inject(acknowledgment(KEYS[0]), Direction.REQUEST, "inside", *link))


def test_sockets_are_closed_in_the_end(tracking: Tracking) -> None:
    injector = Injector()
    injector.close()
    assert len(SOCKETS) == 5
    assert all(each.closed for each in SOCKETS)
