"""What an attacker must not do to the filter's state: impersonate the server, exhaust it, or disturb
others."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from nfinspect.actions import DropReason
from nfinspect.events import (
    ConnectionBuilt,
    ConnectionTornDown,
    DeniedNoConnection,
    TeardownReason,
)
from tests.model.talk import ACK, FIN, PSH, RST, START, SYN, SwapTalk, Talk
from tests.model.wire import CLIENT, SERVER, Packet

MSS, SACK_PERMITTED = b"\2\4\5\xb4", b"\4\2"


def scale(shift: int) -> bytes:
    return bytes((3, 3, shift))


def stamps(value: int, echo: int = 1) -> bytes:
    return b"\1\1\x08\x0a" + struct.pack("!LL", value, echo)


class Routed(Talk):
    """A routed filter: the client's packets arrive on the outside, the server's on the inside."""

    def __init__(self) -> None:
        super().__init__(devices=("outside", "inside"))

    def forged(self, payload: bytes, **fields: int) -> bytes | DropReason | None:
        """A segment in the server's name that arrives on the client's side."""
        packet = Packet(
            SERVER,
            CLIENT,
            START + 1 + self.next["server"],
            START + 1 + self.next["client"],
            ACK | PSH,
            60000,
            payload,
        )
        datagram = replace(packet, **fields).build()
        return super().arrive(datagram, ingress="outside", egress="outside")


# ---- in the server's name ----------------------------------------------------------------------


def test_server_segment_from_the_clients_side_is_dropped_and_changes_nothing() -> None:
    """Otherwise a client could answer its own DATA, which the server never accepted, and send commands
    while the filter believes that it is sending a message."""
    talk = Routed().open()
    talk.server(b"220 mail.example\r\n")
    for line in (b"HELO a\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n"):
        talk.client(line)
        talk.server(b"250 ok\r\n")
    assert (
        talk.client(b"DATA\r\n") == b"DATA\r\n"
    )  # the server drops it, for instance because of its timestamp
    assert talk.forged(b"354 go on\r\n") is DropReason.WRONG_SIDE
    assert talk.client(b"XEVL\r\n") is None  # held: there has been no reply
    assert talk.client(b"DATA\r\n", at=talk.next["client"] - 12) == b"DATA\r\n"  # not forgotten


@pytest.mark.parametrize("flags", [SYN | ACK, RST, RST | ACK, ACK, FIN | ACK])
def test_no_kind_of_segment_in_the_servers_name_passes_from_the_clients_side(flags: int) -> None:
    talk = Routed()
    talk.client(flags=SYN, at=-1)
    assert talk.forged(b"", flags=flags, sequence=START, acknowledgment=START + 1) is (
        DropReason.WRONG_SIDE
    )
    talk.open()
    assert talk.forged(b"", flags=flags) is DropReason.WRONG_SIDE
    assert talk.server(b"220 x\r\n") == b"220 *\r\n"


def test_filter_with_one_interface_does_not_distinguish_sides() -> None:
    talk = Routed()
    talk.devices = ("eth0", "eth0")
    talk.open()
    assert talk.server(b"220 x\r\n") == b"220 *\r\n"


def test_client_may_change_to_another_interface() -> None:
    talk = Routed().open()
    talk.server(b"220 x\r\n")
    talk.devices = ("outside2", "inside")
    assert talk.client(b"HELO a\r\n") == b"HELO a\r\n"
    assert talk.server(b"250 ok\r\n") == b"250 ok\r\n"


def test_segment_from_a_socket_to_itself_is_dropped() -> None:
    """The "land" attack of 1997."""
    talk = Talk(client=SERVER, now=10.0)
    for flags in (SYN, SYN | ACK, ACK):
        assert talk.client(flags=flags, at=-1) is DropReason.MALFORMED
    talk.wait(4000)
    assert talk.engine.connections == 0


# ---- exhaustion --------------------------------------------------------------------------------


def test_short_connections_leave_no_timers_behind() -> None:
    talk = Talk()
    for _ in range(40):
        for _ in range(50):
            talk.client(flags=SYN, at=-1)
            talk.server(flags=RST | ACK, at=0, ack=0)
        talk.client(flags=SYN, at=-1)  # it exists whenever an old timer expires
        talk.wait(29)
        talk.server(flags=RST | ACK, at=0, ack=0)
    assert len(talk.emitted(ConnectionBuilt)) == 40 * 51
    assert len(talk.engine._core.table._timers) <= 51  # of the second that comes next


def test_memory_of_tiny_segments_needs_little_more_than_their_bytes() -> None:
    talk = SwapTalk().open()
    for number in range(20_000):
        talk.client(b"a", at=number, flags=ACK)
    memory = talk.engine._core.table.streams[next(iter(talk.engine._core.table.streams))].memory
    assert memory.size == talk.engine.ledger.memory_bytes == 20_000
    assert len(memory.chunks) <= 20_000 // 256
    assert talk.client(b"b" * 3, at=700) == b"A" * 3
    talk.server(ack=19_990, flags=ACK)
    assert talk.client(b"b" * 3, at=19_995) == b"A" * 3
    assert talk.client(b"b" * 3, at=700) == b"XXX"
    talk.server(ack=20_000, flags=ACK)
    assert talk.engine.ledger.memory_bytes == 0


def test_gso_packet_for_a_receiver_with_an_mss_of_one_is_cut_into_few_pieces() -> None:
    """CVE-2019-11479 was the same problem in senders."""
    talk = SwapTalk()
    talk.client(flags=SYN, at=-1, options=MSS)
    talk.server(flags=SYN | ACK, at=-1, ack=0, options=b"\2\4\0\1")
    talk.client(flags=ACK)
    talk.client(b"a" * 5000 + b"!more", at=0, gso=True)
    assert len(talk.injected) < 150


# ---- blind, off-path ---------------------------------------------------------------------------


@pytest.mark.parametrize("at", [-(10**6), -50])
def test_segment_that_the_receiver_would_not_accept_does_not_lower_the_ttl(at: int) -> None:
    """Half of all sequence numbers are old, so a single packet from anywhere could cut off a
    connection."""
    talk = Talk().open()
    talk.server(b"220 x\r\n", ack=0)
    talk.client(b"HELO a\r\n")
    talk.server(b"250 ok\r\n")
    talk.client(flags=ACK, at=at, ack=0, hop_limit=1)
    talk.client(b"x", flags=ACK, at=at, ack=0, hop_limit=1)
    assert talk.client(b"NOOP\r\n") == b"NOOP\r\n"
    assert talk.last.hop_limit == 64


def test_segment_that_the_receiver_may_accept_lowers_the_ttl() -> None:
    talk = Talk().open()
    talk.server(b"220 x\r\n")
    talk.client(b"HELO a\r\n", hop_limit=3)
    assert talk.client(b"HELO a\r\n", at=0) == b"HELO a\r\n"
    assert talk.last.hop_limit == 3


# ---- windows -----------------------------------------------------------------------------------


def test_syn_repeated_without_window_scale_keeps_the_windows_of_the_first() -> None:
    """The filter cannot know which of the two the server received. Assuming a window that is too
    large does no harm."""
    talk = SwapTalk()
    talk.client(flags=SYN, at=-1, options=MSS)
    talk.client(flags=SYN, at=-1, options=MSS + b"\1" + scale(7))
    talk.server(flags=SYN | ACK, at=-1, ack=0, options=MSS + b"\1" + scale(7))
    talk.client(flags=ACK, window=1000)
    assert talk.server(b"x", at=1000 * 100, flags=ACK) is None  # held, not out of the window


def test_syn_ack_repeated_with_window_scale_scales_both_windows() -> None:
    """A server that stops using SYN cookies starts to scale."""
    talk = SwapTalk()
    talk.client(flags=SYN, at=-1, options=MSS + b"\1" + scale(7))
    talk.server(flags=SYN | ACK, at=-1, ack=0, options=MSS)
    talk.server(flags=SYN | ACK, at=-1, ack=0, options=MSS + b"\1" + scale(7))
    talk.client(flags=ACK, window=1000)
    assert talk.server(b"x", at=1000 * 100, flags=ACK) is None


# ---- timestamps --------------------------------------------------------------------------------


def test_held_segment_passes_with_a_timestamp_not_older_than_that_of_the_segment_before_it() -> (
    None
):
    """The retransmission that fills a gap has a newer timestamp than what is held beyond it. The
    receiver gets it first, and would drop those with older ones (PAWS, RFC 7323 section 5)."""
    talk = SwapTalk()
    talk.client(flags=SYN, at=-1, options=MSS + stamps(1000, 0)[2:])
    talk.server(flags=SYN | ACK, at=-1, ack=0, options=MSS + stamps(9, 1000)[2:])
    talk.client(flags=ACK, options=stamps(1001))
    assert talk.client(b"world", at=5, options=stamps(1002)) is None
    assert talk.client(b"again", at=10, options=stamps(1003)) is None
    assert talk.client(b"hello", at=0, options=stamps(1250, 7)) == b"HELLO"
    assert list(talk.late.values()) == [b"WORLD", b"AGAIN"]
    assert [packet.options for packet in talk.passed[-3:]] == [
        stamps(1250, 7),
        stamps(1250, 1),
        stamps(1250, 1),
    ]


def test_held_segment_with_a_newer_timestamp_keeps_it() -> None:
    talk = SwapTalk()
    talk.client(flags=SYN, at=-1, options=MSS + stamps(1000, 0)[2:])
    talk.server(flags=SYN | ACK, at=-1, ack=0, options=MSS + stamps(9, 1000)[2:])
    talk.client(flags=ACK, options=stamps(1001))
    assert talk.client(b"world", at=5, options=stamps(1250)) is None
    assert talk.client(b"hello", at=0, options=stamps(1002)) == b"HELLO"
    assert [packet.options for packet in talk.passed[-2:]] == [stamps(1002), stamps(1250)]


# ---- the end -----------------------------------------------------------------------------------


def test_receivers_challenge_ack_to_a_reset_passes_and_so_does_the_answer() -> None:
    """RFC 5961 section 3.2: the reset was at the filter's next number, but the segment before it was
    lost after the filter."""
    talk = Talk().open()
    talk.server(b"220 x\r\n")
    assert talk.client(b"QUIT\r\n") == b"QUIT\r\n"
    assert talk.client(flags=RST) == b""
    assert [event.reason for event in talk.emitted(ConnectionTornDown)] == [
        TeardownReason.TCP_RESET_OUTSIDE
    ]
    assert talk.server(flags=ACK, ack=0) == b""
    assert talk.client(flags=RST, at=0) == b""
    assert not talk.emitted(DeniedNoConnection)
    assert talk.client(b"QUIT\r\n", at=0) == b""
    assert talk.client(b"NOOP\r\n", at=6) is DropReason.NO_CONNECTION
    assert talk.server(b"421 bye\r\n") is DropReason.NO_CONNECTION
    assert talk.client(flags=SYN, at=-3000) == b""  # any number starts a new connection


def test_syn_ack_sent_first_does_not_make_a_new_connection_uninspected() -> None:
    """While older connections may still be picked up, it counts as one of them, until a SYN takes
    its place."""
    talk = Talk(now=10.0)
    assert talk.client(flags=SYN | ACK, at=-1, ack=70) == b""
    assert talk.client(flags=SYN, at=-1) == b""
    assert talk.server(flags=RST, at=70) is DropReason.BAD_RST
    assert talk.server(flags=SYN | ACK, at=-1, ack=0) == b""
    assert talk.client(flags=ACK) == b""
    assert talk.server(b"220 x\r\n") == b"220 *\r\n"
    assert talk.client(b"XEVL\r\n") == b"XXXX\r\n"
