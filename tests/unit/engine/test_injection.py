"""Injected packets: in whose name, to which side, and how large."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nfinspect.actions import Drop, DropReason, Inject
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.events import Direction
from nfinspect.flow import opening
from nfinspect.policy import default_policy
from tests.model.inspector import SwapCase
from tests.model.talk import ACK, LATE, SYN, Talk
from tests.model.wire import CLIENT, SERVER, Packet, read

pytestmark = pytest.mark.pure

CLIENT_MAC, SERVER_MAC = bytes.fromhex("020000000110"), bytes.fromhex("020000000225")
OPTIONS = b"\2\4\5\xb4"
"""An MSS of 1,460."""


@pytest.fixture(autouse=True)
def swap_case(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(opening, "Inspector", SwapCase)
    yield
    SwapCase.instances.clear()


class Bridge:
    """An open connection over a bridge; packets arrive with the link-layer address of their sender."""

    def __init__(self) -> None:
        self.engine = Engine(default_policy(), started=0.0)
        self.client(b"", at=-1, flags=SYN, options=OPTIONS)
        self.server(b"", at=-1, ack=0, flags=SYN | ACK, options=OPTIONS)
        self.client(b"", at=0)

    def client(self, payload: bytes, **fields: object) -> list[object]:
        return self._send(CLIENT, SERVER, "outside", "inside", CLIENT_MAC, payload, **fields)

    def server(self, payload: bytes, **fields: object) -> list[object]:
        return self._send(SERVER, CLIENT, "inside", "outside", SERVER_MAC, payload, **fields)

    def _send(
        self,
        source: tuple[bytes, int],
        destination: tuple[bytes, int],
        ingress: str,
        egress: str,
        mac: bytes,
        payload: bytes,
        *,
        at: int,
        ack: int = 0,
        flags: int = ACK,
        options: bytes = b"",
        gso: bool = False,
        forger: tuple[str, bytes] | None = None,
    ) -> list[object]:
        ingress, mac = forger or (ingress, mac)
        acknowledgment = 1001 + ack if flags & ACK else 0
        packet = Packet(
            source, destination, 1001 + at, acknowledgment, flags, 60000, payload, options
        )
        arrival = Arrival(1, packet.build(), LATE, None, True, gso, ingress, egress, mac)
        return [a for a in self.engine.arrive(arrival) if isinstance(a, Inject | Drop)]


def test_gap_on_a_bridge_is_reported_on_the_senders_port_from_the_receivers_address() -> None:
    bridge = Bridge()
    (report,) = bridge.client(b"later", at=7)
    assert isinstance(report, Inject)
    assert report.direction is Direction.REPLY
    assert report.port == "outside"
    assert (report.link_source, report.link_destination) == (SERVER_MAC, CLIENT_MAC)


def test_gap_in_the_replies_is_reported_to_the_server() -> None:
    bridge = Bridge()
    (report,) = bridge.server(b"later", at=7)
    assert isinstance(report, Inject)
    assert report.direction is Direction.REQUEST
    assert report.port == "inside"
    assert (report.link_source, report.link_destination) == (CLIENT_MAC, SERVER_MAC)


def test_gap_on_a_bridge_is_reported_where_the_sender_is_not_where_a_forger_is() -> None:
    """The forged segment is old, as half of all sequence numbers are."""
    elsewhere = ("guests", bytes.fromhex("020000000666"))
    for at, payload in ((-50, b"x"), (-50, b""), (-(2**30), b"x"), (-(2**30), b"")):
        bridge = Bridge()
        bridge.client(b"hello", at=0)
        bridge.client(b"later", at=7)
        bridge.client(payload, at=at, forger=elsewhere)
        (report,) = bridge.server(b"", at=0, ack=5)
        assert isinstance(report, Inject)
        assert (report.port, report.link_destination) == ("outside", CLIENT_MAC)
    bridge.client(b"", at=5, forger=elsewhere)  # the client has moved
    (report,) = bridge.client(b"again", at=20, forger=elsewhere)
    assert isinstance(report, Inject)
    assert (report.port, report.link_destination) == elsewhere


def test_pieces_on_a_bridge_leave_by_the_receivers_port() -> None:
    """The server has only sent its SYN-ACK so far."""
    bridge = Bridge()
    drop, piece = bridge.client(b"data!more", at=0, gso=True)
    assert isinstance(drop, Drop)
    assert drop.reason is DropReason.GSO_CUT
    assert isinstance(piece, Inject)
    assert piece.port == "inside"
    assert (piece.link_source, piece.link_destination) == (CLIENT_MAC, SERVER_MAC)


def test_injected_packet_on_a_router_has_no_link_addresses() -> None:
    talk = Talk().open()
    talk.client(b"later", at=7)
    (report,) = [a for a in talk.actions if isinstance(a, Inject)]
    assert (report.port, report.link_source, report.link_destination) == ("", b"", b"")


def test_pieces_of_a_gso_packet_fit_a_path_whose_mtu_is_below_the_receivers_mss() -> None:
    talk = Talk().open()
    assert talk.client(b"d" * 1999 + b"!more", at=0, gso=True) is DropReason.GSO_CUT
    pieces = [read(datagram).payload for datagram in talk.injected]
    assert [len(piece) for piece in pieces] == [536, 536, 536, 392]
    assert b"".join(pieces) == b"D" * 1999 + b"!"


@pytest.mark.parametrize(("sack", "times"), [(b"", 4), (b"\1\1\4\2", 1)])
def test_held_gso_packet_counts_as_the_segments_in_it_without_sack(sack: bytes, times: int) -> None:
    """Without SACK, three duplicate ACKs trigger fast retransmit (RFC 5681)."""
    talk = Talk()
    talk.client(flags=SYN, at=-1, options=OPTIONS + sack)
    talk.server(flags=SYN | ACK, at=-1, ack=0, options=OPTIONS + sack)
    talk.client(flags=ACK)
    talk.client(b"x" * 5000, at=1460, gso=True)
    assert len(talk.injected) == times
