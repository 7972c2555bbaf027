"""``nfinspect lab replay``: captures played through a live filter, and compared with their replay."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from nfinspect import cli
from nfinspect.cli.configuration import read_configuration
from nfinspect.policy import default_policy
from nfinspect.replay.pace import Pace, PaceKind
from nfinspect.replay.playing import PlayOutcome, Setting
from nfinspect.replay.through_lab import through_lab
from tests.capture.recorded import (
    CLEAN,
    EHLO,
    ENVELOPE,
    GREETING,
    LONG,
    MAIL,
    QUIT,
    conversation,
    from_client,
    length_0,
    with_field,
)
from tests.capture.test_replay import unsummed
from tests.property.test_captures import fragmented, with_checksums
from tests.unit.replay.mail import LINKS
from tests.unit.replay.stand_in import pcap

PCAPS = Path(__file__).parents[2] / "pcaps"
RECORDED = sorted(PCAPS.glob("*.pcap"))
BODY = b"Subject: big\r\n\r\n" + b"0123456789abcde\r\n" * 400 + b"end\r\n.\r\n"
BIG = (GREETING, *EHLO, *ENVELOPE, (">", BODY), ("<", b"250 2.0.0 Ok\r\n"), *QUIT)
MASKED = (GREETING, *EHLO, (">", b"XFOO bar\r\n"), ("<", b"500 no\r\n"), *ENVELOPE, *MAIL, *QUIT)

ways = pytest.mark.parametrize("bridge", [False, True], ids=["routed", "bridged"])


def config_of(path: Path) -> Path | None:
    config = path.parent / f"{path.name.split('.')[0]}.cfg"
    return config if config.exists() else None


def play(captures: list[Path], *, bridge: bool = False, **settings: object) -> PlayOutcome:
    return through_lab(captures, Setting(default_policy(), bridge=bridge, **settings))  # type: ignore[arg-type]


def written(directory: Path, packets: list[bytes], link: str = "raw IP") -> list[Path]:
    kind, wrap = LINKS[link]
    path = directory / "capture.pcap"
    path.write_bytes(pcap([wrap(packet) for packet in packets], kind))
    return [path]


def same(outcome: PlayOutcome) -> PlayOutcome:
    assert [each.text for each in outcome.differences] == []
    assert [each.text for each in outcome.made_by_time] == []
    assert not outcome.lost
    assert outcome.undecided == []
    return outcome


@ways
@pytest.mark.parametrize(
    "pace", [PaceKind.DECIDED, PaceKind.NOTHING], ids=["one by one", "top speed"]
)
def test_every_recorded_capture_is_treated_live_as_in_replay(bridge: bool, pace: PaceKind) -> None:
    by_config: dict[Path | None, list[Path]] = {}
    for path in RECORDED:
        by_config.setdefault(config_of(path), []).append(path)
    for config, captures in by_config.items():
        policy = read_configuration(config).policy if config else default_policy()
        outcome = same(
            through_lab(captures, Setting(policy, config, bridge=bridge, pace=Pace(pace)))
        )
        assert outcome.packets > 10 * len(captures)
        assert outcome.to_server
        assert outcome.to_client
        assert outcome.events > len(captures)


def in_disorder(packets: list[bytes]) -> list[bytes]:
    """With retransmissions, some of them with other bytes, and segments that come late."""
    chance = random.Random(7)
    result = list(packets)
    for packet in packets[5:-3]:
        if chance.random() < 0.4:
            result.insert(min(result.index(packet) + chance.randrange(1, 4), len(result)), packet)
    for at in range(6, len(result) - 4):
        if chance.random() < 0.2:
            result[at], result[at + 1] = result[at + 1], result[at]
    at = next(n for n, packet in enumerate(result) if b"RCPT" in packet)
    result.insert(at + 2, with_checksums(result[at].replace(b"RCPT", b"VRFY")))
    return result


def many(count: int) -> list[bytes]:
    """Connections side by side, packet by packet in random order."""
    chance = random.Random(11)
    dialogues = (CLEAN, LONG, MASKED, BIG)
    rest = [conversation(dialogues[n % 4], port=20_000 + n) for n in range(count)]
    found = []
    while rest:
        one = chance.choice(rest)
        found.append(one.pop(0))
        rest = [each for each in rest if each]
    return found


def damaged(packets: list[bytes]) -> list[bytes]:
    """Between its packets, such with wrong checksums, and what no kernel forwards."""
    at = next(n for n, packet in enumerate(packets) if b"MAIL" in packet)
    transport = 20 if packets[at][0] >> 4 == 4 else 40
    checksum = int.from_bytes(packets[at][transport + 16 : transport + 18], "big")
    wrong = with_field(packets[at], transport + 16, checksum ^ 0x1234)
    right = [wrong] * 2
    if transport == 20:
        right.append(with_field(packets[at], 10, 0x1234))
    return packets[:at] + right + packets[at:]


def to_itself(packets: list[bytes]) -> list[bytes]:
    """Both ends on 127.0.0.1."""
    return [with_checksums(packet[:12] + b"\x7f\0\0\1" * 2 + packet[20:]) for packet in packets]


def from_mail_port(packets: list[bytes]) -> list[bytes]:
    """A middle without its beginning: it is only known by its port who is the client."""
    return packets[6:]


Change = Callable[[list[bytes]], list[bytes]]
NASTY: dict[str, Change] = {
    "as it is": list,
    "fragments": fragmented,
    "disorder": in_disorder,
    "damaged": damaged,
    "no checksums yet": lambda packets: [unsummed(packet) for packet in packets],
    "lengths 0": lambda packets: [length_0(packet) for packet in packets],
    "no beginning": from_mail_port,
    "only the client": lambda packets: [packet for packet in packets if from_client(packet)],
    "only the server": lambda packets: [packet for packet in packets if not from_client(packet)],
}


@ways
@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_unusual_packets_are_treated_live_as_in_replay(
    bridge: bool, six: bool, tmp_path: Path
) -> None:
    captures = []
    for number, (name, change) in enumerate(NASTY.items()):
        for dialogue in (MASKED, BIG):
            packets = change(conversation(dialogue, six=six, port=30_000 + number))
            path = tmp_path / f"{name} {len(dialogue)}.pcap"
            path.write_bytes(pcap(packets, 101))
            captures.append(path)
    outcome = same(play(captures, bridge=bridge))
    assert outcome.left_out.keys() <= {"with a wrong IP header checksum, which no kernel forwards"}


@ways
def test_captures_of_every_link_layer_are_played(bridge: bool, tmp_path: Path) -> None:
    captures = []
    for number, (name, (kind, wrap)) in enumerate(LINKS.items()):
        for six in (False, True):
            packets = conversation(MASKED, port=31_000 + number, six=six)
            path = tmp_path / f"{number}-{six}.pcap"
            path.write_bytes(pcap([wrap(packet) for packet in packets], kind))
            captures.append(path)
            assert name
    outcome = same(play(captures, bridge=bridge))
    assert outcome.packets == len(captures) * len(packets)


@pytest.mark.parametrize(
    ("bridge", "pace"),
    [(False, PaceKind.DECIDED), (True, PaceKind.NOTHING)],
    ids=["routed, one by one", "bridged, top speed"],
)
def test_two_hundred_connections_side_by_side(bridge: bool, pace: PaceKind, tmp_path: Path) -> None:
    packets = many(200)
    outcome = same(play(written(tmp_path, packets), bridge=bridge, pace=Pace(pace)))
    assert outcome.packets > len(packets)  # the large ones were cut
    assert outcome.events > 400


def test_addresses_that_no_router_forwards_are_replaced(tmp_path: Path) -> None:
    packets = to_itself(conversation(MASKED))
    outcome = same(play(written(tmp_path, packets)))
    assert outcome.packets == len(packets)
    assert list(outcome.replaced) == ["127.0.0.1"]


def test_what_is_not_whole_in_the_capture_is_left_out_and_told(tmp_path: Path) -> None:
    packets = conversation(BIG)
    capture = bytearray(pcap([], 101))
    for number, packet in enumerate(packets):
        kept = packet[:80]
        record = pcap([kept], 101, start=1_700_000_000 + number)[24:]
        capture += record[:12] + len(packet).to_bytes(4, "little") + record[16:]
    path = tmp_path / "short.pcap"
    path.write_bytes(capture)
    outcome = play([path])
    assert outcome.differences == []
    assert outcome.left_out == {"cut short when they were captured (record with tcpdump -s 0)": 2}
    assert len(outcome.incomplete) == 1


def test_times_decide_only_what_they_may(tmp_path: Path) -> None:
    """A pause after which the connection is idle for too long is not waited for."""
    packets = conversation(CLEAN)
    capture = bytearray(pcap(packets[:8], 101))
    capture += pcap(packets[8:], 101, start=1_700_000_000 + 2 * 3600)[24:]
    path = tmp_path / "pause.pcap"
    path.write_bytes(capture)
    outcome = play([path])
    assert outcome.differences == []
    assert outcome.made_by_time != []


STRICT = """\
policy-map type inspect esmtp strict
 match cmd verb MAIL
  drop-connection log
policy-map global_policy
 class inspection_default
  inspect esmtp strict
service-policy global_policy global
"""


@ways
def test_filter_that_decides_otherwise_is_found_out(bridge: bool, tmp_path: Path) -> None:
    config = tmp_path / "strict.cfg"
    config.write_text(f"class-map inspection_default\n match default-inspection-traffic\n{STRICT}")
    packets = conversation(CLEAN)
    mail = next(n for n, packet in enumerate(packets, 1) if b"MAIL" in packet)
    outcome = play(written(tmp_path, packets), bridge=bridge, filter_config=config)
    to_server = [each for each in outcome.differences if each.side == "to the server"]
    assert to_server[0].packets[0] == mail
    assert packets[mail - 1][40:].hex() in to_server[0].expected[0]
    events = [each for each in outcome.differences if each.what == "event"]
    assert any("inspection-closed" in text for each in events for text in each.found)


def run(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.main, ["lab", "replay", *map(str, words)], prog_name="nfinspect")
    return done.exit_code, done.stdout, done.stderr


def test_command_says_that_there_is_no_difference() -> None:
    status, out, _ = run(PCAPS / "unknown-verb.outside.pcap", "--speed", 10, "--bridge")
    assert status == 0
    assert out.splitlines()[-1] == "no difference to replay --as-live"
    assert "played    20 packets (bridged)" in out


def test_command_keeps_what_it_saw_and_tells_machines(tmp_path: Path) -> None:
    capture = PCAPS / "unknown-verb.outside.pcap"
    status, out, _ = run(capture, "--json", "--captures", tmp_path / "seen", "--top-speed")
    report = json.loads(out)
    assert status == 0
    assert report["packets"] == 20
    assert report["came_out"] == {"to_server": 10, "to_client": 10}
    assert (report["differences"], report["made_by_time"]) == ([], [])
    assert {path.name for path in (tmp_path / "seen").iterdir()} == {
        "outside.pcap",
        "inside.pcap",
        "events.json",
    }


def test_damaged_capture_is_played_up_to_its_damage(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pcap"
    path.write_bytes((PCAPS / "unknown-verb.outside.pcap").read_bytes()[:-20])
    status, out, _ = run(path)
    assert status == 1
    assert "no difference" in out
    assert "byte" in out


def test_highest_rate_without_loss_is_found() -> None:
    status, out, _ = run(PCAPS / "ordinary.outside.pcap", "--find-speed", "--times", 20)
    assert status == 0
    assert "packets/s: no packet lost" in out.splitlines()[0]


def other_port() -> list[bytes]:
    return [
        with_checksums(with_field(packet, 22 if from_client(packet) else 20, 2525))
        for packet in conversation(CLEAN)
    ]


def one_hop() -> list[bytes]:
    return [with_checksums(with_field(p, 8, 0x0106)) for p in conversation(CLEAN)]


@pytest.mark.parametrize(
    ("packets", "words"),
    [
        (other_port(), "no packet to or from an inspected port (25)"),
        (one_hop(), "packet 1: its TTL of 1 ends at a router; play the capture with --bridge"),
    ],
)
def test_capture_that_cannot_be_played(packets: list[bytes], words: str, tmp_path: Path) -> None:
    (path,) = written(tmp_path, packets)
    status, _, err = run(path)
    assert status == 2
    assert words in err
    assert str(path) in err


def test_file_that_is_no_capture() -> None:
    status, _, err = run(PCAPS / "README.md")
    assert status == 2
    assert "neither pcap nor pcapng" in err


def test_two_paces_exclude_each_other() -> None:
    status, _, err = run(PCAPS / "ordinary.outside.pcap", "--speed", 1, "--top-speed")
    assert status == 2
    assert "--speed and --top-speed exclude each other" in err
