"""Packets through the driver: which are inspected, to which connection they belong, their order and
counts."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from nfinspect.actions import Accept, Action, Drop, DropReason, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.events import Direction
from nfinspect.packet.segment import Segment
from nfinspect.replay.capture import Capture
from nfinspect.replay.result import Result
from tests.unit.replay.mail import DIALOGUE, LINKS, datagram, ethernet, session
from tests.unit.replay.stand_in import StandIn, frames, pcap, replayed


def as_json(result: Result) -> dict:
    text = StringIO()
    result.write_json(text)
    return json.loads(text.getvalue())


COMMANDS = [line.split(b"\r\n")[0].decode() for side, line in DIALOGUE if side == ">"]
REPLIES = [line.split(b"\r\n")[0].decode() for side, line in DIALOGUE if side == "<"]


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("link", LINKS)
def test_mail_with_any_link_header_is_replayed_and_copied(
    link: str, six: bool, tmp_path: Path
) -> None:
    link_type, wrap = LINKS[link]
    packets = [wrap(packet) for packet in session(six=six)]
    result, _ = replayed(pcap(packets, link_type), tmp_path / "out.pcap")
    report = as_json(result)
    (connection,) = report["connections"]
    client, server = ("[2001:db8::1]", "[2001:db8::25]") if six else ("192.0.2.1", "198.51.100.25")
    assert (connection["client"], connection["server"]) == (f"{client}:40000", f"{server}:25")
    assert connection["commands"] == COMMANDS
    assert connection["replies"] == REPLIES
    assert connection["close_reason"] == "TCP FINs"
    assert connection["packets"]["seen"] == connection["packets"]["accepted"] == len(packets)
    written = frames(tmp_path / "out.pcap")
    assert [frame.data for frame in written] == packets
    assert {frame.interface.link_type for frame in written} == {link_type}


FOREIGN = {
    "ARP": bytes(Ether() / ARP()),
    "802.3 with LLC": bytes(Ether(type=0x0026)) + b"\x42\x42\x03" + bytes(60),
    "ICMP": bytes(Ether() / IP(dst="192.0.2.1") / ICMP()),
    "UDP to port 25": bytes(Ether() / IP(dst="192.0.2.1") / UDP(dport=25)),
    "TCP to another port": bytes(Ether() / IP(dst="192.0.2.1") / TCP(dport=443) / Raw(b"x" * 99)),
    "wrong checksum, another port": bytes(Ether() / IP(chksum=1) / TCP(dport=80, chksum=1)),
    "ends in the IP header": bytes(Ether() / IP(dst="192.0.2.1") / TCP(dport=25))[:30],
    "ends before the ports": bytes(Ether() / IP(dst="192.0.2.1") / TCP(dport=25))[:35],
    "IP version 9": bytes(Ether()[:12] if False else bytes(12)) + b"\x08\x00" + b"\x99" * 40,
    "nothing": b"",
    "half an Ethernet header": bytes(7),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_packet_that_is_not_inspected_is_copied_byte_for_byte(kind: str, tmp_path: Path) -> None:
    packet = FOREIGN[kind]
    result, engine = replayed(pcap([packet]), tmp_path / "out.pcap")
    assert engine.arrivals == 0
    assert [frame.data for frame in frames(tmp_path / "out.pcap")] == [packet]
    assert result.summary["packets"]["copied"] == 1


def test_copied_packets_keep_their_time_and_position(tmp_path: Path) -> None:
    mail = [ethernet(packet) for packet in session()]
    packets = [mixed for packet in mail for mixed in (packet, FOREIGN["ARP"])]
    capture = pcap(packets)
    replayed(capture, tmp_path / "out.pcap")
    before, after = frames(capture), frames(tmp_path / "out.pcap")
    assert [(f.time, f.data) for f in after] == [(f.time, f.data) for f in before]


def test_rewritten_datagram_keeps_its_link_header_and_padding(tmp_path: Path) -> None:
    def script(arrival: Arrival, segment: Segment) -> list[Action] | None:
        if segment.payload_bytes == b"DATA\r\n":
            return [Replace(arrival.token, arrival.datagram[:-6] + b"XXXX\r\n")]
        return None

    packets = [ethernet(packet) for packet in session()]
    result, _ = replayed(pcap(packets), tmp_path / "out.pcap", StandIn(script))
    written = [frame.data for frame in frames(tmp_path / "out.pcap")]
    assert written == [packet.replace(b"DATA\r\n", b"XXXX\r\n") for packet in packets]
    (connection,) = as_json(result)["connections"]
    assert connection["packets"]["rewritten"] == 1
    assert connection["packets"]["rewritten_headers"] == 0
    assert connection["packets"]["seen"] == len(packets)


def test_rewritten_packets_with_the_data_that_they_came_with_are_counted(tmp_path: Path) -> None:
    def script(arrival: Arrival, segment: Segment) -> list[Action] | None:
        lowered = arrival.datagram[:8] + b"\x20" + arrival.datagram[9:]
        return [Replace(arrival.token, lowered)]

    packets = [ethernet(packet) for packet in session()]
    result, _ = replayed(pcap(packets), tmp_path / "out.pcap", StandIn(script))
    counts = as_json(result)["summary"]["packets"]
    assert counts["rewritten"] == counts["rewritten_headers"] > 0


def test_packet_cut_to_its_bare_ack_is_padded_to_the_smallest_frame(tmp_path: Path) -> None:
    cut = datagram(">", "A", 1, 1)

    def script(arrival: Arrival, segment: Segment) -> list[Action]:
        return [Replace(arrival.token, cut)]

    long = ethernet(datagram(">", "PA", 1, 1, b"x" * 100))
    replayed(pcap([long]), tmp_path / "out.pcap", StandIn(script))
    (frame,) = frames(tmp_path / "out.pcap")
    assert frame.data == ethernet(cut)
    assert frame.length == 60


def test_held_packet_is_written_with_the_time_of_its_verdict(tmp_path: Path) -> None:
    def script(arrival: Arrival, segment: Segment) -> list[Action] | None:
        if segment.payload_bytes == b"two":
            return engine.hold(arrival)
        if segment.payload_bytes == b"three":
            return [Accept(arrival.token), *engine.release()]
        return None

    engine = StandIn(script)
    payloads = [b"one", b"two", b"free", b"three"]
    packets = [ethernet(datagram(">", "S", 0, 0))]
    packets += [ethernet(datagram(">", "PA", 1, 1, payload)) for payload in payloads]
    capture = pcap(packets)
    result, _ = replayed(capture, tmp_path / "out.pcap", engine)
    before, after = frames(capture), frames(tmp_path / "out.pcap")
    assert [f.data for f in after] == [packets[n] for n in (0, 1, 3, 4, 2)]
    assert after[-1].time == before[4].time
    (connection,) = as_json(result)["connections"]
    assert connection["packets"] == {
        "seen": 5, "accepted": 5, "rewritten": 0, "rewritten_headers": 0, "dropped": 0, "held": 1,
        "injected": 0, "copies": 0,
    }  # fmt: skip


def test_packet_still_held_at_the_end_is_dropped_and_not_written(tmp_path: Path) -> None:
    def script(arrival: Arrival, segment: Segment) -> list[Action] | None:
        return engine.hold(arrival) if segment.length else None

    engine = StandIn(script)
    packets = [datagram(">", "S", 0, 0), datagram(">", "PA", 9, 1, b"late")]
    result, _ = replayed(pcap(packets, 101), tmp_path / "out.pcap", engine)
    assert [frame.data for frame in frames(tmp_path / "out.pcap")] == packets[:1]
    report = as_json(result)
    assert report["connections"][0]["packets"]["dropped"] == 1
    assert report["connections"][0]["close_reason"] is None
    assert report["connections"][0]["bytes"] == 11  # the engine's figure for an open connection
    assert report["summary"]["dropped"] == {"flushed": 1}


def test_injected_packet_has_the_link_header_of_its_direction(tmp_path: Path) -> None:
    to_client = datagram("<", "A", 1, 5)
    to_server = datagram(">", "A", 5, 1)

    def script(arrival: Arrival, segment: Segment) -> list[Action] | None:
        if not segment.length:
            return None
        return [
            Inject(to_client, Direction.REPLY, ""),
            Inject(to_server, Direction.REQUEST, ""),
            Accept(arrival.token),
        ]

    forward = bytes.fromhex("0200000000020200000000010800")
    back = bytes.fromhex("0200000000010200000000020800")
    packets = [forward + datagram(">", "S", 0, 0), forward + datagram(">", "PA", 1, 1, b"x")]
    result, _ = replayed(pcap(packets), tmp_path / "out.pcap", StandIn(script))
    written = [frame.data for frame in frames(tmp_path / "out.pcap")]
    assert written == [packets[0], back + to_client, forward + to_server, packets[1]]
    assert as_json(result)["connections"][0]["packets"]["injected"] == 2


def test_segment_of_no_connection_is_counted_in_the_summary_only(tmp_path: Path) -> None:
    def script(arrival: Arrival, segment: Segment) -> list[Action] | None:
        return [Drop(arrival.token, DropReason.NO_CONNECTION)] if segment.window == 1 else None

    stray = TCP(sport=40_000, dport=25, flags="A", seq=1, window=1)
    packets = [*session(), bytes(IP(src="192.0.2.1", dst="198.51.100.25") / stray)]
    result, _ = replayed(pcap(packets, 101), engine=StandIn(script))
    report = as_json(result)
    assert report["connections"][0]["packets"]["seen"] == len(packets) - 1
    assert report["summary"]["packets"]["seen"] == len(packets)
    assert report["summary"]["packets"]["dropped"] == 1


def test_wrong_ip_header_checksum_drops_the_packet_before_the_engine_but_zero_passes() -> None:
    right = datagram(">", "S", 0, 0)
    wrong = right[:10] + b"\x12\x34" + right[12:]
    offloaded = right[:10] + b"\0\0" + right[12:]
    result, engine = replayed(pcap([wrong, offloaded, right], 101))
    assert engine.arrivals == 2
    assert result.summary["dropped"] == {"bad-checksum": 1}


def test_packet_truncated_by_the_snap_length_is_dropped_and_noted() -> None:
    whole = datagram(">", "S", 0, 0) + b""
    capture = pcap([whole], 101)
    short = capture[: -len(whole) - 8] + (30).to_bytes(4, "little") + capture[-len(whole) - 4 : -10]
    result, _ = replayed(short)
    assert result.summary["dropped"] == {"truncated": 1}
    assert result.summary["notes"] == [
        {"note": "cut short by the capture's snap length", "packets": 1, "first": 1}
    ]


def test_packet_too_late_to_be_sorted_stops_the_engines_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = []
    monkeypatch.setattr("nfinspect.replay.order.WINDOW", 2)

    def script(arrival: Arrival, segment: Segment) -> None:
        times.append(arrival.now)

    early, late = pcap(session()[:2], 101, start=1000), pcap(session()[:2], 101, start=500)
    result, _ = replayed(early + late[24:], engine=StandIn(script))
    assert times == [0.0, 0.0, 0.0, 0.001]
    assert [(n["note"], n["packets"], n["first"]) for n in result.summary["notes"]] == [
        ("earlier than a packet before it; sorted by time", 2, 3),
        ("earlier than the packet before it; the clock was stopped", 2, 3),
    ]


def test_engine_is_ticked_at_its_deadlines_before_the_next_packet() -> None:
    engine = StandIn()
    engine.deadlines = [0.5, 1.5, 60.0]
    replayed(pcap(session()[:4], 101, step=1_000_000), engine=engine)
    assert engine.ticks == [0.5, 1.5]


def test_time_that_jumps_by_a_century_ticks_the_engine_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Frequent(StandIn):
        def deadline(self) -> float:
            return (self.ticks[-1] if self.ticks else 0.0) + 1.0

    monkeypatch.setattr("nfinspect.replay.driver.MAX_TICKS", 50)
    engine = Frequent()
    first, second = session()[:2]
    capture = pcap([first], 101) + pcap([second], 101, start=2**32 - 2)[24:]
    replayed(capture, engine=engine)
    assert len(engine.ticks) <= 2 * 51
    assert engine.ticks[-1] == pytest.approx(2**32 - 2 - 1_700_000_000)


def test_deadline_that_never_moves_does_not_hang_the_replay() -> None:
    class Stuck(StandIn):
        def deadline(self) -> float:
            return 0.0

    engine = Stuck()
    replayed(pcap(session()[:4], 101), engine=engine)
    assert len(engine.ticks) < 20


def test_packets_are_numbered_across_captures() -> None:
    import io

    from nfinspect.replay.driver import Replay
    from tests.unit.replay.stand_in import POLICY

    numbers = []

    def script(arrival: Arrival, segment: Segment) -> None:
        numbers.append(arrival.token.number)

    replay = Replay(POLICY, StandIn(script))
    first = Capture(io.BytesIO(pcap(session()[:3], 101)), "first.pcap")
    replay.feed(first)
    replay.feed(Capture(io.BytesIO(pcap(session()[3:5], 101)), "second.pcap", first.packets))
    result = replay.finish()
    assert numbers == [1, 2, 3, 4, 5]
    assert [c["packets"] for c in result.summary["captures"]] == [3, 2]


def test_second_connection_between_the_same_ports_is_separate() -> None:
    packets = session() + session()
    result, _ = replayed(pcap(packets, 101))
    report = as_json(result)["connections"]
    # The last ACK, after the second FIN, still belongs to its connection.
    assert [c["packets"]["seen"] for c in report] == [len(packets) // 2] * 2
    assert [c["number"] for c in report] == [1, 2]
