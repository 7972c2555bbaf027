"""Captures played through the live filter of a lab, and compared with their replay.

Three replays by the live rules take part. That of the captures themselves tells what to play. That of the
played packets, at the captures' times, must decide the same. And that of the played packets at the
times at which they came to the filter must be what the filter did: bytes and events. Where the last two
differ, the time alone makes the difference, as pauses of the capture were not waited for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nfinspect.events import Direction
from nfinspect.lab.lab import Lab
from nfinspect.lab.player import Played, Player
from nfinspect.lab.tap import TappedFrame
from nfinspect.lab.topology import CABLES, INSIDE, OUTSIDE
from nfinspect.policy.model import Policy
from nfinspect.replay import comparison
from nfinspect.replay.addresses import PlayedAddresses
from nfinspect.replay.capture import Capture, Frame
from nfinspect.replay.comparison import Difference, described
from nfinspect.replay.fragments import Reassembler, is_fragment
from nfinspect.replay.judge import Expected, Judge, unlike
from nfinspect.replay.output import CaptureWriter
from nfinspect.replay.pace import Pace, PaceKind, turns
from nfinspect.replay.playable import WIRE, LinkAddresses, Playable, playable, repeated
from nfinspect.replay.tape import Tape, comparable, taped

ETHERNET_HEADER = 14
_IGMP, _ICMP_6 = 2, 58
_DISCOVERY = frozenset({130, 131, 132, 133, 134, 135, 136, 143})
"""Types of ICMPv6: multicast listeners, routers, neighbours."""


@dataclass(slots=True)
class PlayOutcome:
    """What playing captures has shown."""

    captures: list[str]
    bridge: bool
    packets: int = 0
    seconds: float = 0.0
    """From the first packet to the last."""
    to_server: int = 0
    """Packets that left the filter."""
    to_client: int = 0
    events: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    """Packets that were not played, by reason."""
    incomplete: list[str] = field(default_factory=list)
    """What of the captures could not be used, in sentences."""
    damaged: bool = False
    """Whether a capture could not be read to its end."""
    replaced: dict[str, str] = field(default_factory=dict)
    """PlayedAddresses of the captures, and those that took their places."""
    undecided: list[int] = field(default_factory=list)
    """Packets that the filter had not decided when the next one was sent."""
    full: int = 0
    """Packets lost as the queue was full."""
    unread: int = 0
    """Packets lost as the filter did not read them fast enough."""
    differences: list[Difference] = field(default_factory=list)
    made_by_time: list[Difference] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Packets that came to the filter and got no verdict."""
        return self.full + self.unread

    @property
    def packets_per_second(self) -> float:
        """As they came to the filter."""
        return (self.packets - 1) / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "captures": self.captures,
            "bridge": self.bridge,
            "packets": self.packets,
            "seconds": round(self.seconds, 6),
            "packets_per_second": round(self.packets_per_second),
            "lost": {"queue_full": self.full, "unread": self.unread},
            "undecided": self.undecided,
            "came_out": {"to_server": self.to_server, "to_client": self.to_client},
            "events": self.events,
            "left_out": self.left_out,
            "incomplete": self.incomplete,
            "replaced_addresses": self.replaced,
            "differences": [each.to_json() for each in self.differences],
            "made_by_time": [each.to_json() for each in self.made_by_time],
        }


@dataclass(frozen=True, slots=True)
class Setting:
    """How captures are played."""

    policy: Policy
    config: Path | None = None
    """The file that the policy is from; None: the default policy."""
    bridge: bool = False
    pace: Pace = field(default_factory=Pace)
    times: int = 1
    """How many times the captures are played, side by side."""
    keep: Path | None = None
    """A directory for what was played, what came out, and the events."""
    filter_config: Path | None = None
    """Another configuration for the live filter, to see that a difference is found."""


def through_lab(captures: Sequence[Path], setting: Setting) -> PlayOutcome:
    """Play *captures*, one after another, through a live filter.

    Raises CannotPlayError, NotACaptureError, OSError and LabError.
    """
    source, originals = read(captures, setting)
    judge = Judge(setting.policy, source, bridge=setting.bridge)
    unlike_captures = unlike(originals, judge.by_captures())
    if setting.times > 1:
        repeated(source, setting.times)
    by_captures = judge.by_captures()
    outcome = PlayOutcome([str(path) for path in captures], setting.bridge)
    outcome.incomplete = [line for tape in originals for line in tape.summary["incomplete"]]
    outcome.damaged = any(
        capture["damage"] for tape in originals for capture in tape.summary["captures"]
    )
    outcome.left_out, outcome.replaced = source.left_out, source.addresses.replaced
    outcome.differences += unlike_captures
    played, live = _play(source, judge.in_order(), setting)
    outcome.packets, outcome.seconds = played.packets, played.seconds
    outcome.full, outcome.unread = played.full, played.unread
    outcome.undecided = [source.packets[position].number for position in played.undecided]
    outcome.events = len(live)
    _compare(outcome, judge, source, setting, by_captures, played, live)
    return outcome


def read(captures: Sequence[Path], setting: Setting) -> tuple[Playable, list[Tape]]:
    """What is to be played of captures, and their replays.

    Raises CannotPlayError, NotACaptureError and OSError.
    """
    tapes = []
    before = 0
    for path in captures:
        with path.open("rb", buffering=0) as file:
            capture = Capture(file, str(path), before)
            tapes.append(taped(setting.policy, [capture]))
            before = capture.packets
    own = [address for end in (OUTSIDE, INSIDE) for address in end.addresses]
    addresses = PlayedAddresses(own, routed=not setting.bridge)
    return playable(tapes, setting.policy, addresses, routed=not setting.bridge), tapes


def _play(
    source: Playable, expected: Expected, setting: Setting
) -> tuple[Played, list[dict[str, Any]]]:
    """What came out of the filter, and its events."""
    with Lab(offloads=False, bridge=setting.bridge) as lab:
        clients, servers = source.ends
        player = Player(lab, clients=clients, servers=servers)
        file = lab.directory / "played.pcap"
        with CaptureWriter(file) as writer:
            source.write(writer, _link(bridge=setting.bridge))
        event_file = lab.directory / "events.json"
        config = setting.filter_config or setting.config
        running = lab.filter(config, arguments=["--log-rate", "0", "--json-file", str(event_file)])
        played = player.play(file, turns(source, setting.pace, expected.held), running)
        running.stop(held=len(source.packets))
        live = [comparable(json.loads(line)) for line in event_file.read_text().splitlines()]
        if setting.keep is not None:
            _keep(setting.keep, played, event_file)
    return played, live


def _link(*, bridge: bool) -> LinkAddresses:
    """A bridge is not addressed: the hosts are each other's neighbours."""
    (client, outside), (server, inside) = CABLES
    ends = (client, server, server, client) if bridge else (client, outside, server, inside)
    return LinkAddresses(*(bytes.fromhex(end.mac.replace(":", "")) for end in ends))


def _compare(
    outcome: PlayOutcome,
    judge: Judge,
    source: Playable,
    setting: Setting,
    by_captures: Expected,
    played: Played,
    live: list[dict[str, Any]],
) -> None:
    came = {
        Direction.REQUEST: list(_datagrams(played.inside.left)),
        Direction.REPLY: list(_datagrams(played.outside.left)),
    }
    outcome.to_server, outcome.to_client = (len(found) for found in came.values())
    order, times, otherwise = _arrived(source, played)
    if otherwise:
        outcome.differences += otherwise
        return
    by_arrival = judge.at(order, times)
    # Between connections, a filter that has several packets to decide may choose.
    apart = setting.pace.kind is not PaceKind.DECIDED
    for direction, found in came.items():
        expected = by_arrival.sent[direction]
        outcome.differences += comparison.packets(direction, expected, found, by_connection=apart)
        outcome.made_by_time += comparison.packets(
            direction,
            by_captures.sent[direction],
            [each.datagram for each in expected],
            by_connection=True,
        )
    outcome.differences += comparison.events(by_arrival.events, live, by_connection=apart)
    outcome.made_by_time += comparison.events(
        by_captures.events, by_arrival.events, by_connection=True
    )


def _arrived(source: Playable, played: Played) -> tuple[list[int], list[int], list[Difference]]:
    """The order of the packets as they came to the filter, by position, and the times; and what came
    otherwise than it was sent."""
    differences = []
    merged: list[tuple[int, int]] = []
    for from_client, tapped in ((True, played.outside), (False, played.inside)):
        positions = [n for n, each in enumerate(source.packets) if each.from_client is from_client]
        frames = [frame for frame in tapped.came if _is_ip(frame)]
        for position, frame in zip(positions, frames, strict=False):
            packet = source.packets[position]
            merged.append((frame.time, position))
            came = frame.data[ETHERNET_HEADER:]
            if came != packet.datagram:
                text = (
                    f"sent {described(packet.datagram)}\nbut to the filter came {described(came)}"
                )
                sent = (packet.datagram.hex(),)
                differences.append(
                    Difference("input", "", (packet.number,), sent, (came.hex(),), text)
                )
                break
        if len(positions) != len(frames):
            where = OUTSIDE.name if from_client else INSIDE.name
            text = f"{len(frames)} packets came to the filter's {where}, of {len(positions)} sent"
            differences.append(Difference("input", "", (), (), (), text))
    merged.sort()
    start = merged[0][0] if merged else 0
    first = source.packets[0].time  # the year does not matter
    times = [first + time - start for time, _ in merged]
    return [position for _, position in merged], times, differences


def _is_ip(frame: TappedFrame) -> bool:
    return frame.data[12:14] in (b"\x08\x00", b"\x86\xdd")


def _datagrams(frames: Iterable[TappedFrame]) -> Iterator[bytes]:
    """The datagrams that left, with fragments joined again, without what the kernel tells its
    neighbours of itself."""
    joining = Reassembler()
    for number, tapped in enumerate(frames, 1):
        if not _is_ip(tapped):
            continue
        data = tapped.data
        datagram = _trimmed(data[ETHERNET_HEADER:])
        if is_fragment(datagram):
            frame = Frame(number, tapped.time, WIRE, data, len(data))
            frame.offset, frame.end = ETHERNET_HEADER, ETHERNET_HEADER + len(datagram)
            decided = joining.add(frame, tapped.time / 1e9)
            if decided is not None and decided.datagram is not None:
                yield decided.datagram
        elif not _is_neighbourly(datagram):
            yield datagram


def _trimmed(datagram: bytes) -> bytes:
    if datagram[0] >> 4 == 4:
        return datagram[: int.from_bytes(datagram[2:4], "big")]
    return datagram[: 40 + int.from_bytes(datagram[4:6], "big")]


def _is_neighbourly(datagram: bytes) -> bool:
    """Multicast groups, and IPv6 neighbour discovery."""
    if datagram[0] >> 4 == 4:
        return datagram[9] == _IGMP
    if datagram[6] == 0:  # hop-by-hop options, before a listener report
        return datagram[40] == _ICMP_6
    return datagram[6] == _ICMP_6 and datagram[40] in _DISCOVERY


def _keep(directory: Path, played: Played, event_file: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "events.json").write_bytes(event_file.read_bytes())
    for name, tapped in (("outside", played.outside), ("inside", played.inside)):
        with CaptureWriter(directory / f"{name}.pcap") as writer:
            for frame in sorted(tapped.came + tapped.left, key=lambda each: each.time):
                writer.write(WIRE, frame.time, frame.data, len(frame.data))
