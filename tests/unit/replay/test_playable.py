"""What of a capture is sent: completed, re-addressed, from the right side, in its turn."""

from __future__ import annotations

import io

import pytest

from nfinspect.events import Direction
from nfinspect.packet.checksum import ip_header_valid, tcp_checksum_valid
from nfinspect.packet.segment import Segment, parse
from nfinspect.replay import comparison
from nfinspect.replay.addresses import PlayedAddresses
from nfinspect.replay.capture import Capture
from nfinspect.replay.judge import Judge
from nfinspect.replay.pace import Pace, PaceKind, turns
from nfinspect.replay.playable import CannotPlayError, Playable, playable, repeated
from nfinspect.replay.tape import Sent, taped
from tests.capture.recorded import CLEAN, conversation, from_client, length_0, with_field
from tests.capture.test_replay import unsummed
from tests.property.test_captures import fragmented, with_checksums
from tests.unit.replay.stand_in import POLICY, pcap


def prepared(*captures: list[bytes], routed: bool = True) -> Playable:
    tapes = [taped(POLICY, [Capture(io.BytesIO(pcap(each, 101)), "test")]) for each in captures]
    return playable(tapes, POLICY, PlayedAddresses(routed=routed), routed=routed)


def segment(datagram: bytes) -> Segment:
    found = parse(datagram, len(datagram))
    assert isinstance(found, Segment)
    return found


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("change", [unsummed, length_0])
def test_what_was_left_to_the_card_is_filled_in(change, six: bool) -> None:
    packets = conversation(CLEAN, six=six)
    played = prepared([change(packet) for packet in packets])
    assert [each.datagram for each in played.packets] == packets
    assert [each.from_client for each in played.packets] == [from_client(each) for each in packets]


def test_side_is_that_which_opened_the_connection() -> None:
    played = prepared(conversation(CLEAN, port=25_000))
    assert [each.from_client for each in played.packets[:3]] == [True, False, True]


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_wrong_checksum_stays_wrong_under_another_address(six: bool) -> None:
    packets = conversation(CLEAN, six=six)
    at = next(n for n, packet in enumerate(packets) if b"MAIL" in packet)
    field = (40 if six else 20) + 16
    packets[at] = with_field(packets[at], field, 0x1234)
    played = prepared(conversation(CLEAN, six=six), packets).packets[len(packets) :]
    wrong = [n for n, each in enumerate(played) if not tcp_checksum_valid(segment(each.datagram))]
    assert wrong == [at]
    assert all(ip_header_valid(each.datagram) for each in played)
    assert played[0].datagram[-20:-4] == packets[0][-20:-4]
    assert segment(played[0].datagram).addresses != segment(packets[0]).addresses


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_fragments_stay_fragments(six: bool) -> None:
    packets = fragmented(conversation(CLEAN, six=six))
    played = prepared(packets)
    assert sorted(each.datagram for each in played.packets) == sorted(packets)
    assert sum(each.completes for each in played.packets) == len(conversation(CLEAN))


def test_host_that_is_client_and_server_has_two_addresses() -> None:
    packets = [
        with_checksums(packet[:12] + packet[12:16] * 2 + packet[20:])
        for packet in conversation(CLEAN)
    ]
    ends = prepared(packets).ends
    assert len(ends[0] & ends[1]) == 0
    assert prepared(packets, routed=False).ends[0] == prepared(packets, routed=False).ends[1]


def test_copies_are_side_by_side_between_hosts_of_their_own() -> None:
    packets = conversation(CLEAN)
    played = repeated(prepared(packets), 3)
    assert len(played.packets) == 3 * len(packets)
    first = [segment(each.datagram) for each in played.packets[:3]]
    assert len({each.addresses for each in first}) == 3
    assert {each.sequence for each in first} == {segment(packets[0]).sequence}


def test_packets_wait_for_the_syn_of_their_connection_at_any_speed() -> None:
    played = repeated(prepared(conversation(CLEAN)), 2)
    expected = Judge(POLICY, played, bridge=True).in_order()
    found = turns(played, Pace(PaceKind.NOTHING), expected)
    assert [turn.waits for turn in found[:4]] == [False, False, True, False]
    assert not any(turn.waits for turn in found[4:])
    assert all(turn.waits for turn in turns(played, Pace(), expected))
    rate = turns(played, Pace(PaceKind.RATE, 100.0), expected)
    assert [turn.due for turn in rate[:3]] == pytest.approx([0.0, 0.01, 0.02])


def test_reason_that_nothing_can_be_played_names_the_port_with_mail() -> None:
    packets = [
        with_checksums(with_field(packet, 22 if from_client(packet) else 20, 2525))
        for packet in conversation(CLEAN)
    ]
    with pytest.raises(CannotPlayError, match=r"port \(25\).*port 2525 \(packet \d+\)"):
        prepared(packets)


def test_difference_names_packets_and_bytes() -> None:
    packets = conversation(CLEAN)[:6]
    expected = [Sent(packet, number, own=False) for number, packet in enumerate(packets, 1)]
    changed = [*packets[:3], packets[3].replace(b"220", b"2X0"), packets[4]]
    first, second = comparison.packets(Direction.REPLY, expected, changed, by_connection=False)
    assert (first.packets, first.side) == ((4,), "to the client")
    assert "from byte 41: expected 32 30 20" in first.text
    assert second.packets == (6,)
    assert second.text.startswith("did not come: ")
    assert comparison.packets(Direction.REPLY, expected, packets, by_connection=True) == []
