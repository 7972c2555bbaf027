"""Captures that show a connection twice, captures in any order, and captures judged one by one."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from nfinspect import cli
from nfinspect.packet.edit import readdress
from nfinspect.packet.segment import Segment, parse
from tests.capture.recorded import (
    CLEAN,
    ENVELOPE,
    GREETING,
    HELO,
    LONG,
    MAIL,
    QUIT,
    conversation,
    from_client,
    replayed,
)
from tests.capture.test_replay import only_connection, replay_capture
from tests.property.test_captures import with_checksums
from tests.unit.replay.stand_in import frames, pcap

SAID = "the same connection, seen on two sides; judged is the first copy of each packet"
OUTSIDE, INSIDE = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02", b"\x02\0\0\0\0\x03\x02\0\0\0\0\x04"


def framed(packet: bytes, addresses: bytes) -> bytes:
    kind = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
    ends = addresses if from_client(packet) else addresses[6:] + addresses[:6]
    return ends + kind + packet


def masked(packet: bytes) -> bytes:
    """The packet as a firewall in between passes it: a hop further, its greeting masked."""
    changed = bytearray(packet)
    changed[8 if packet[0] >> 4 == 4 else 7] -= 1
    if b"220 " in packet:
        at = packet.index(b"220 ") + 4
        changed[at:-2] = b"*" * len(changed[at:-2])
    return with_checksums(changed)


def both_sides(packets: list[bytes]) -> list[bytes]:
    """Each packet as it comes in, and as it leaves."""
    found = []
    for packet in packets:
        sides = [(packet, OUTSIDE), (masked(packet), INSIDE)]
        if not from_client(packet):
            sides = [(packet, INSIDE), (masked(packet), OUTSIDE)]
        found += [framed(*side) for side in sides]
    return found


def two_sides(connection: dict) -> list[dict]:
    return [note for note in connection["notes"] if note["event"] in ("two-sides", "translated")]


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("dialogue", [LONG, CLEAN], ids=["closed", "clean"])
def test_both_sides_in_one_capture_are_one_connection_of_first_copies(
    dialogue, six: bool, tmp_path: Path
) -> None:
    packets = conversation(dialogue, six=six)
    twice = both_sides(packets)
    path, out = tmp_path / "any.pcap", tmp_path / "out.pcap"
    path.write_bytes(pcap(twice))
    report = json.loads(replayed(path, "--json", "--out", out))
    connection = only_connection(report)
    alone = only_connection(replay_capture(pcap(packets, 101)))
    assert two_sides(connection) == [{"event": "two-sides", "judged": "first copy", "packet": 6}]
    assert connection["packets"] == alone["packets"] | {"copies": len(packets)}
    assert report["summary"]["packets"]["copies"] == len(packets)
    assert [a["clause"] for a in connection["actions"]] == [a["clause"] for a in alone["actions"]]
    assert [note for note in connection["notes"] if note["event"] == "conflicting-bytes"] == []
    passed = connection["packets"]["accepted"] + connection["packets"]["rewritten"]
    assert len(frames(out)) == passed
    assert replayed(path).count(SAID) == 1


@pytest.mark.parametrize("delay", [-3000, -20, 0, 20, 3000])
@pytest.mark.parametrize("order", [1, -1])
def test_two_captures_are_merged_whatever_their_order_and_clocks(
    delay: int, order: int, tmp_path: Path
) -> None:
    """*delay*: microseconds that the inside's clock is ahead, beside packets a millisecond apart."""
    packets = conversation(LONG)
    sides = both_sides(packets)
    files = []
    for name, addresses, late in (("outside", OUTSIDE, 0), ("inside", INSIDE, delay)):
        mine = [p for p in sides if set(p[:12]) == set(addresses) and p[5] in addresses[5::6]]
        assert len(mine) == len(packets)
        path = tmp_path / f"{name}.pcap"
        data = bytearray(pcap(mine, step=1000))
        at = 24
        for number, packet in enumerate(mine):
            behind = 10 if from_client(packet[14:]) is (name == "inside") else 0
            time = 1_000_000 + number * 1000 + behind + late
            data[at : at + 8] = (1_700_000_000 + time // 10**6).to_bytes(4, "little") + (
                time % 10**6
            ).to_bytes(4, "little")
            at += 16 + len(packet)
        path.write_bytes(bytes(data))
        files.append(path)
    report = json.loads(replayed(*files[::order], "--json"))
    connection = only_connection(report)
    assert [note["judged"] for note in two_sides(connection)] == ["first copy"]
    assert connection["packets"]["copies"] == len(packets)
    assert connection["actions"][-1]["clause"] == "match header line length gt 998"
    assert [c["file"] for c in report["summary"]["captures"]] == [str(f) for f in files[::order]]


def test_sequence_numbers_changed_in_between_are_recognized() -> None:
    packets = conversation(LONG)
    twice = []
    for packet in packets:
        changed = bytearray(packet)
        fields = (24, 12_345, 28, 99_000) if from_client(packet) else (24, 99_000, 28, 12_345)
        # inside: the client's numbers differ; outside: the server's
        for at, added in (fields[:2], fields[2:]):
            if changed[33] & 16 or at == 24:
                number = int.from_bytes(changed[at : at + 4], "big") + added
                changed[at : at + 4] = (number % 2**32).to_bytes(4, "big")
        other = with_checksums(changed)
        pair = [framed(packet, OUTSIDE), framed(other, INSIDE)]
        twice += pair if from_client(packet) else pair[::-1]
    connection = only_connection(replay_capture(pcap(twice)))
    assert [note["judged"] for note in two_sides(connection)] == ["client's side"]
    assert connection["packets"]["copies"] == len(packets)
    assert connection["packets"]["seen"] == len(packets)
    assert connection["actions"][-1]["clause"] == "match header line length gt 998"
    assert [n for n in connection["notes"] if n["event"] == "duplicate-syn"] == []


def translated(packet: bytes) -> bytes:
    segment = parse(packet)
    assert isinstance(segment, Segment)
    key = bytes((203, 0, 113, 9))
    key = key + segment.key[4:] if from_client(packet) else segment.key[:4] + key + segment.key[8:]
    return readdress(segment, key)


def test_address_translation_in_between_is_said(tmp_path: Path) -> None:
    packets = conversation(CLEAN)
    twice = []
    for packet in packets:
        pair = [framed(packet, OUTSIDE), framed(translated(packet), INSIDE)]
        twice += pair if from_client(packet) else pair[::-1]
    path = tmp_path / "nat.pcap"
    path.write_bytes(pcap(twice))
    one, other = json.loads(replayed(path, "--json"))["connections"]
    notes = [two_sides(each) for each in (one, other)]
    assert sorted(len(each) for each in notes) == [0, 1]
    (note,) = notes[0] or notes[1]
    assert note["same_as"] in (1, 2)
    assert "seen on the other side of an address translation" in replayed(path)


def test_alternating_paths_are_no_copies() -> None:
    """Each packet once, by one of two routers; some are sent again by the other."""
    packets = conversation(CLEAN)
    chance = random.Random(2)
    once = [framed(packet, chance.choice((OUTSIDE, INSIDE))) for packet in packets]
    connection = only_connection(replay_capture(pcap(once)))
    assert two_sides(connection) == []
    assert connection["packets"]["seen"] == len(packets)
    assert connection["packets"]["copies"] == 0


def test_retransmissions_at_one_place_are_no_copies() -> None:
    packets = [framed(p, OUTSIDE) for packet in conversation(CLEAN) for p in (packet, packet)]
    connection = only_connection(replay_capture(pcap(packets)))
    assert connection["packets"]["copies"] == 0
    assert two_sides(connection) == []


def test_next_connection_with_the_same_ports_from_another_place_is_no_copy() -> None:
    later = pcap([framed(p, INSIDE) for p in conversation(CLEAN)], start=1_700_000_100)[24:]
    report = replay_capture(pcap([framed(p, OUTSIDE) for p in conversation(CLEAN)]) + later)
    assert [c["packets"]["copies"] for c in report["connections"]] == [0, 0]


def test_captures_in_the_wrong_order_are_sorted_and_packets_keep_their_numbers(
    tmp_path: Path,
) -> None:
    packets = conversation(LONG)
    half = len(packets) // 2
    first, second = tmp_path / "1.pcap", tmp_path / "2.pcap"
    first.write_bytes(pcap(packets[:half], 101))
    second.write_bytes(pcap(packets[half:], 101, start=1_700_000_001))
    right = json.loads(replayed(first, second, "--json"))
    wrong = json.loads(replayed(second, first, "--json"))
    moved = {n: n + len(packets) - half for n in range(1, half + 1)}
    moved |= {n: n - half for n in range(half + 1, len(packets) + 1)}
    expected, found = (only_connection(each)["actions"] for each in (right, wrong))
    assert found == [action | {"packet": moved[action["packet"]]} for action in expected]
    assert right["summary"]["notes"] == []
    assert wrong["summary"]["notes"] == [
        {
            "note": "in captures that overlap or are in the wrong order; sorted",
            "packets": len(packets) - half,
            "first": 1,
        }
    ]
    assert [c["packets"] for c in wrong["summary"]["captures"]] == [len(packets) - half, half]


def test_one_capture_appended_to_another_is_sorted(tmp_path: Path) -> None:
    sides = both_sides(conversation(LONG))
    outside = [n for n, p in enumerate(sides) if p[5] in OUTSIDE[5::6]]
    data = pcap(sides)
    size = [24]
    for packet in sides:
        size.append(size[-1] + 16 + len(packet))
    records = [data[size[n] : size[n + 1]] for n in range(len(sides))]
    inside = [n for n in range(len(sides)) if n not in outside]
    appended = data[:24] + b"".join(records[n] for n in outside + inside)
    connection = only_connection(replay_capture(appended))
    assert [note["judged"] for note in two_sides(connection)] == ["first copy"]
    assert connection["actions"][-1]["clause"] == "match header line length gt 998"


def test_separate_captures_have_a_report_each(tmp_path: Path) -> None:
    paths = []
    for name, dialogue in (("a", LONG), ("b", CLEAN)):
        paths.append(tmp_path / f"{name}.pcap")
        paths[-1].write_bytes(pcap(conversation(dialogue), 101))
    reports = json.loads(replayed(*paths, "--json", "--separate"))
    assert [only_connection(each)["close_reason"] for each in reports] == [
        "Flow closed by inspection", "TCP FINs",
    ]  # fmt: skip
    assert [each["summary"]["captures"][0]["file"] for each in reports] == [str(p) for p in paths]
    assert [only_connection(each)["packets"]["copies"] for each in reports] == [0, 0]
    text = replayed(*paths, "--separate")
    assert text.index(str(paths[0])) < text.index("match header line") < text.index(str(paths[1]))
    assert json.loads(replayed(paths[0], "--json", "--separate"))[0] == reports[0]


def test_separate_with_out_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(conversation(CLEAN), 101))
    words = ["replay", str(path), "--separate", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_damage_of_merged_captures_is_reported_for_each(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.pcap", "b.pcap", "empty.pcap")]
    paths[0].write_bytes(pcap(conversation(CLEAN), 101)[:-5])
    paths[1].write_bytes(pcap(conversation(CLEAN, port=40_002), 101))
    paths[2].write_bytes(pcap([], 101))
    result = CliRunner().invoke(cli.main, ["replay", *map(str, paths), "--json"])
    assert result.exit_code == 1
    captures = json.loads(result.stdout)["summary"]["captures"]
    assert [bool(each["damage"]) for each in captures] == [True, False, False]
    whole = len(conversation(CLEAN))
    assert [each["packets"] for each in captures] == [whole - 1, whole, 0]


def at_times(packets: list[bytes], times: list[int]) -> bytes:
    """A capture of these packets, each at its second."""
    records = [
        pcap([packet], 101, start=1_700_000_000 + time)[24:]
        for packet, time in zip(packets, times, strict=True)
    ]
    return pcap([], 101) + b"".join(records)


@pytest.mark.parametrize("times", ["a clock set back", "a clock for each end", "late ACKs"])
def test_times_that_tcp_contradicts_do_not_reorder_packets(times: str) -> None:
    packets = conversation(LONG)
    expected = only_connection(replay_capture(pcap(packets, 101)))
    if times == "a clock set back":
        seconds = [n if n < 14 else n - 8 for n in range(len(packets))]
    elif times == "late ACKs":  # which TCP does not contradict
        parts = [(">", b"Subject: x\r\n" + b"x" * 900 + b"\r\n")] * 40
        packets = conversation((GREETING, *HELO, *ENVELOPE, *parts, *MAIL, *QUIT))
        expected = only_connection(replay_capture(pcap(packets, 101)))
        seconds = [n if n < 21 else 40 - from_client(p) for n, p in enumerate(packets)]
        seconds[-4:] = 41, 42, 43, 44
    else:
        seconds = [0 if from_client(packet) else 2 for packet in packets]
    report = replay_capture(at_times(packets, seconds))
    connection = only_connection(report)
    assert connection["actions"] == expected["actions"]
    assert connection["packets"] == expected["packets"]
    assert [note["note"] for note in report["summary"]["notes"]] == [
        "earlier than the packet before it; the clock was stopped"
    ]


def test_packets_that_tcp_shows_to_be_shuffled_are_sorted() -> None:
    packets = conversation(LONG)
    expected = only_connection(replay_capture(pcap(packets, 101)))
    order = list(range(len(packets)))
    for at in range(3, len(order) - 4, 4):
        order[at : at + 4] = order[at : at + 4][::-1]
    report = replay_capture(at_times([packets[n] for n in order], order))
    assert only_connection(report)["packets"] == expected["packets"]
    (note,) = report["summary"]["notes"]
    assert note["note"] == "earlier than a packet before it; sorted by time"


@pytest.mark.parametrize("link_type", [113, 276], ids=["Linux cooked v1", "Linux cooked v2"])
def test_capture_of_all_interfaces_of_a_router(link_type: int) -> None:
    """As ``tcpdump -i any`` writes it: each packet as it is received, and as it is sent."""

    def cooked(packet: bytes, kind: int, interface: int) -> bytes:
        address = bytes((2, 0, 0, 0, 0, interface, 0, 0))
        if link_type == 113:
            return bytes((0, kind, 0, 1, 0, 6)) + address + b"\x08\0" + packet
        head = b"\x08\0\0\0" + interface.to_bytes(4, "big") + bytes((0, 1, kind, 6))
        return head + address + packet

    packets = conversation(LONG)
    twice = []
    for packet in packets:
        came, went = (2, 3) if from_client(packet) else (3, 2)
        twice += [cooked(packet, 0, came), cooked(masked(packet), 4, went)]
    connection = only_connection(replay_capture(pcap(twice, link_type)))
    assert [note["judged"] for note in two_sides(connection)] == ["first copy"]
    assert connection["packets"]["copies"] == len(packets)
    assert connection["actions"][-1]["clause"] == "match header line length gt 998"
