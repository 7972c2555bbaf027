"""Captures on their way through a live filter: what is sent, what is expected, and what came of it.

Three replays by the live rules take part. That of the captures themselves tells what to play. That of the
played packets, at the captures' times, must decide the same. And that of the played packets at the
times at which they came to the filter must be what the filter did: bytes and events. Where the last two
differ, the time alone makes the difference, as pauses of the capture were not waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nfinspect.events import Direction
from nfinspect.lab.player import Played
from nfinspect.lab.sender import Turn
from nfinspect.lab.topology import INSIDE, OUTSIDE
from nfinspect.policy.model import Policy
from nfinspect.replay import comparison
from nfinspect.replay.addresses import PlayedAddresses
from nfinspect.replay.capture import Capture
from nfinspect.replay.comparison import Difference
from nfinspect.replay.judge import Judge, unlike
from nfinspect.replay.output import CaptureWriter
from nfinspect.replay.pace import Pace, PaceKind, turns
from nfinspect.replay.playable import LinkAddresses, Playable, playable, repeated
from nfinspect.replay.tape import Tape, taped
from nfinspect.replay.tapped import arrived, datagrams


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
    events: int | None = None
    """None: they are not known, and not compared."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Packets that were not played, by reason."""
    incomplete: list[str] = field(default_factory=list)
    """What of the captures could not be used, in sentences."""
    damaged: bool = False
    """Whether a capture could not be read to its end."""
    replaced: dict[str, str] = field(default_factory=dict)
    """Addresses of the captures, and those that took their places."""
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


class Playing:
    """Captures that are being played."""

    def __init__(self, captures: Sequence[Path], setting: Setting) -> None:
        """Raises CannotPlayError, NotACaptureError and OSError."""
        self.setting = setting
        self.source, originals = read(captures, setting)
        self._judge = Judge(setting.policy, self.source, bridge=setting.bridge)
        unlike_captures = unlike(originals, self._judge.by_captures())
        if setting.times > 1:
            repeated(self.source, setting.times)
        self._by_captures = self._judge.by_captures()
        outcome = self.outcome = PlayOutcome([str(path) for path in captures], setting.bridge)
        outcome.incomplete = [line for tape in originals for line in tape.summary["incomplete"]]
        outcome.damaged = any(
            capture["damage"] for tape in originals for capture in tape.summary["captures"]
        )
        outcome.left_out = self.source.left_out
        outcome.replaced = self.source.addresses.replaced
        outcome.differences += unlike_captures

    def write(self, file: Path, link: LinkAddresses) -> None:
        """Write the frames to be sent."""
        with CaptureWriter(file) as writer:
            self.source.write(writer, link)

    def turns(self) -> list[Turn]:
        """When each is sent."""
        expected = self._judge.in_order()
        return turns(self.source, self.setting.pace, expected)

    def compare(self, played: Played, live: list[dict[str, Any]] | None) -> PlayOutcome:
        """Say what came of it; *live*: the filter's events, comparable, if they are known."""
        outcome, source = self.outcome, self.source
        times = [frame.time for side in played.arrived for frame in side]
        outcome.packets = len(times)
        outcome.seconds = (max(times) - min(times)) / 1e9 if times else 0.0
        outcome.full, outcome.unread = played.full, played.unread
        outcome.undecided = [source.packets[position].number for position in played.undecided]
        outcome.events = None if live is None else len(live)
        to_client, to_server = (list(datagrams(side)) for side in played.came_out)
        outcome.to_server, outcome.to_client = len(to_server), len(to_client)
        order, at, otherwise = arrived(source, played)
        if otherwise:
            outcome.differences += otherwise
            return outcome
        by_arrival = self._judge.at(order, at)
        # Between connections, a filter that has several packets to decide may choose.
        apart = self.setting.pace.kind is not PaceKind.DECIDED
        for direction, found in (
            (Direction.REQUEST, to_server),
            (Direction.REPLY, to_client),
        ):
            expected = by_arrival.sent[direction]
            outcome.differences += comparison.packets(
                direction, expected, found, by_connection=apart
            )
            outcome.made_by_time += comparison.packets(
                direction,
                self._by_captures.sent[direction],
                [each.datagram for each in expected],
                by_connection=True,
            )
        if live is not None:
            outcome.differences += comparison.events(
                without_waits(by_arrival.events), without_waits(live), numbered=not apart
            )
        outcome.made_by_time += comparison.events(
            self._by_captures.events, by_arrival.events, numbered=False
        )
        return outcome


WAITS = frozenset({"reply-awaited", "line-unended"})
"""Events that say for how long something has waited. A live filter looks for them ten times a second."""


def without_waits(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The *events* that no clock makes."""
    return [event for event in events if event["event"] not in WAITS]


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
