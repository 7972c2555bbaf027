"""Replays of the packets that are played: what the filter should do with them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nfinspect.actions import Accept, Drop, DropReason, Replace
from nfinspect.arrival import Arrival
from nfinspect.events import Direction
from nfinspect.lab.topology import CABLES, INSIDE, OUTSIDE
from nfinspect.packet.segment import Segment, parse
from nfinspect.policy.model import Policy
from nfinspect.replay.capture import Capture, Frame
from nfinspect.replay.checksums import ChecksumUse
from nfinspect.replay.comparison import Difference, described, different
from nfinspect.replay.output import CaptureWriter
from nfinspect.replay.playable import CLIENT_MAC, WIRE, Playable, one_hop_less
from nfinspect.replay.tape import Sent, Tape, as_json, taped

NOT_PLAYED = (DropReason.TRUNCATED.value,)
"""Decisions on packets that may be missing in what is played."""


class Judge:
    """Judges the packets of a `Playable` by a policy."""

    def __init__(self, policy: Policy, source: Playable, *, bridge: bool) -> None:
        self._policy = policy
        self._source = source
        self._bridge = bridge

    def by_captures(self) -> Expected:
        """What the packets of each capture bring about, by themselves, at the capture's times."""
        found = Expected()
        packets = self._source.packets
        for capture in range(packets[-1].capture + 1):
            positions = [n for n, packet in enumerate(packets) if packet.capture == capture]
            if positions:
                found.add(
                    *self._judged(positions, [packets[position].time for position in positions])
                )
        return found

    def in_order(self) -> Expected:
        """What all packets bring about, one millisecond after another."""
        count = len(self._source.packets)
        start = self._source.packets[0].time
        return self.at(range(count), [start + place * 1_000_000 for place in range(count)])

    def at(self, positions: Sequence[int], times: Sequence[int]) -> Expected:
        """What all packets bring about in the order of *positions*, at these *times*."""
        found = Expected()
        found.add(*self._judged(positions, times))
        return found

    def _judged(
        self, positions: Sequence[int], times: Sequence[int]
    ) -> tuple[Tape, dict[Direction, list[Sent]], list[int]]:
        packets = self._source.packets
        file = io.BytesIO()
        writer = CaptureWriter(Path("played"), file)
        for position, time in zip(positions, times, strict=True):
            packet = packets[position]
            if not self._bridge:  # a router takes the hop before it asks the filter
                packet = replace(packet, datagram=one_hop_less(packet.datagram))
            data = packet.frame()
            writer.write(WIRE, time, data, len(data))
        capture = Capture(io.BytesIO(file.getvalue()), "played")
        tape = taped(self._policy, [capture], checksums=ChecksumUse.VERIFY, place=self._place)
        numbers = [packets[position].number for position in positions]
        return tape, self._sent(tape, numbers), numbers

    def _place(self, arrival: Arrival) -> None:
        frame = arrival.token
        assert isinstance(frame, Frame)
        host, _ = CABLES[not from_client(frame)]
        devices = (OUTSIDE.name, INSIDE.name)
        arrival.ingress, arrival.egress = devices if from_client(frame) else devices[::-1]
        if self._bridge:
            arrival.link_source = bytes.fromhex(host.mac.replace(":", ""))

    def _sent(self, tape: Tape, numbers: Sequence[int]) -> dict[Direction, list[Sent]]:
        """What leaves the filter, with the numbers of the packets in the captures."""
        return {
            direction: [
                Sent(each.datagram, numbers[each.packet - 1] if each.packet else 0, each.own)
                for each in sent
            ]
            for direction, sent in tape.sent(from_client).items()
        }


class Expected:
    """What should happen, and on which packet."""

    def __init__(self) -> None:
        self.sent: dict[Direction, list[Sent]] = {Direction.REQUEST: [], Direction.REPLY: []}
        self.events: list[dict[str, Any]] = []
        self.held: list[int] = []
        """For each datagram, how many wait once it is decided."""
        self.out: list[int] = []
        """For each datagram, how many have left the filter once it is decided."""
        self.decisions: list[tuple[Any, ...]] = []
        """The packet, and what was decided."""
        self._connections = 0

    def add(self, tape: Tape, sent: dict[Direction, list[Sent]], numbers: Sequence[int]) -> None:
        """Append what is on a *tape*; *numbers*: those of its packets in the captures."""
        for direction, more in sent.items():
            self.sent[direction] += more
        before = self._connections
        for event in map(as_json, tape.events()):
            if "connection" in event:
                event["connection"] += before
                self._connections = max(self._connections, event["connection"])
            self.events.append(event)
        waiting = self.held[-1] if self.held else 0
        passed = self.out[-1] if self.out else 0
        self.out += [passed + count for count in tape.out()]
        self.held += [waiting + count for count in tape.held()]
        self.decisions += [(numbers[packet - 1], *rest) for packet, *rest in decisions(tape)]


def unlike(originals: Iterable[Tape], played: Expected) -> list[Difference]:
    """Whether the packets that are played are judged otherwise than those in the captures."""
    wanted = [
        decision
        for tape in originals
        for decision in decisions(tape)
        if decision[1] not in NOT_PLAYED
    ]
    found = [decision for decision in played.decisions if decision[1] not in NOT_PLAYED]
    return [
        Difference(
            "input",
            "",
            tuple(dict.fromkeys(packet for packet, *_ in expected or came)),
            tuple(map(str, expected)),
            tuple(map(str, came)),
            f"as it is played, the capture is judged otherwise: {expected} became {came}",
        )
        for expected, came in different(wanted, found)
    ]


def decisions(tape: Tape) -> Iterator[tuple[Any, ...]]:
    """Each packet and what was decided on it."""
    for step in tape.steps:
        for action in step.actions:
            if not isinstance(action, Accept | Drop | Replace):
                continue
            frame = action.token
            assert isinstance(frame, Frame)
            if isinstance(action, Drop):
                yield frame.number, action.reason.value
            elif isinstance(action, Accept):
                yield frame.number, "passed"
            else:
                segment = parse(action.datagram, len(action.datagram))
                assert isinstance(segment, Segment), described(action.datagram)
                yield frame.number, "replaced", segment.payload_bytes


def from_client(frame: Frame) -> bool:
    """Whether the client sent a frame that was made to be played."""
    return frame.data[6:12] == CLIENT_MAC
