"""What the engine decided in a replay, packet by packet: what a comparison with a live filter needs.

A tape has a step for each datagram that reached the engine, in their order, and steps without one for
what time alone brought about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from nfinspect.actions import Accept, Action, Drop, DropReason, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.audit import json_lines
from nfinspect.engine import AS_LIVE, Engine, EngineOptions
from nfinspect.events import Direction, Event
from nfinspect.policy.model import Policy
from nfinspect.replay.capture import Capture, Frame
from nfinspect.replay.checksums import ChecksumUse
from nfinspect.replay.driver import Replay

Place = Callable[[Arrival], None]
"""Completes an arrival with the devices by which it comes in and leaves."""


@dataclass(slots=True)
class Step:
    """One call of the engine."""

    arrival: Arrival | None
    """None: time passed."""
    actions: list[Action]


@dataclass(frozen=True, slots=True)
class Sent:
    """A datagram that leaves the filter."""

    datagram: bytes
    packet: int
    """The number of the packet that it was; for a packet of the filter's own, of the one before it,
    or 0."""
    own: bool
    """Made by the filter."""


@dataclass(slots=True)
class Tape:
    """What happened in a replay."""

    steps: list[Step] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    """As in ``replay --json``."""

    def events(self) -> list[Event]:
        """All events, in order."""
        return [
            action.event
            for step in self.steps
            for action in step.actions
            if isinstance(action, Emit)
        ]

    def held(self) -> list[int]:
        """For each step with a datagram: how many have no verdict after it."""
        waiting: set[int] = set()
        counts = []
        for step in self.steps:
            if step.arrival is not None:
                waiting.add(id(step.arrival.token))
            waiting -= {
                id(action.token)
                for action in step.actions
                if isinstance(action, Accept | Replace | Drop)
            }
            if step.arrival is not None:
                counts.append(len(waiting))
        return counts

    def out(self) -> list[int]:
        """For each step with a datagram: how many have left the filter after it."""
        total = 0
        counts = []
        for step in self.steps:
            total += sum(isinstance(each, Accept | Replace | Inject) for each in step.actions)
            if step.arrival is not None:
                counts.append(total)
        return counts

    def sent(self, from_client: Callable[[Frame], bool]) -> dict[Direction, list[Sent]]:
        """What leaves the filter in each direction; *from_client* tells which side sent a frame."""
        found: dict[Direction, list[Sent]] = {Direction.REQUEST: [], Direction.REPLY: []}
        datagrams: dict[int, bytes] = {}
        now = 0
        for step in self.steps:
            if step.arrival is not None:
                datagrams[id(step.arrival.token)] = step.arrival.datagram
                now = number(step.arrival)
            for action in step.actions:
                if isinstance(action, Inject):
                    found[action.direction].append(Sent(action.datagram, now, own=True))
                elif isinstance(action, Accept | Replace):
                    frame = action.token
                    assert isinstance(frame, Frame)
                    passes = (
                        action.datagram if isinstance(action, Replace) else datagrams[id(frame)]
                    )
                    direction = Direction.REQUEST if from_client(frame) else Direction.REPLY
                    found[direction].append(Sent(passes, frame.number, own=False))
        return found


class TapedEngine(Engine):
    """An engine that keeps what it was asked and what it answered."""

    def __init__(self, policy: Policy, place: Place | None = None) -> None:
        super().__init__(policy, EngineOptions(AS_LIVE), started=0.0)
        self.steps: list[Step] = []
        self._place = place

    def arrive(self, arrival: Arrival) -> list[Action]:
        """As `Engine.arrive`."""
        if self._place is not None:
            self._place(arrival)
        actions = super().arrive(arrival)
        last = self.steps[-1] if self.steps else None
        if last is not None and last.arrival is not None and last.arrival.token is arrival.token:
            self.steps.pop()  # its checksum was wrong, and does not matter
        self.steps.append(Step(arrival, actions))
        return actions

    def tick(self, now: float) -> list[Action]:
        """As `Engine.tick`."""
        return self._kept(super().tick(now))

    def flush(self, now: float, reason: DropReason = DropReason.FLUSHED) -> list[Action]:
        """As `Engine.flush`."""
        return self._kept(super().flush(now, reason))

    def _kept(self, actions: list[Action]) -> list[Action]:
        if actions:
            self.steps.append(Step(None, actions))
        return actions


def taped(
    policy: Policy,
    captures: Iterable[Capture],
    *,
    checksums: ChecksumUse = ChecksumUse.AUTO,
    place: Place | None = None,
) -> Tape:
    """Replay captures, one after another, as ``replay --as-live`` does, and return the tape."""
    engine = TapedEngine(policy, place)
    run = Replay(policy, engine, checksums=checksums, as_live=True)
    try:
        for capture in captures:
            run.feed(capture)
        summary = run.finish().summary
    finally:
        run.result.close()
    return Tape(engine.steps, summary)


def number(arrival: Arrival) -> int:
    """The number of a packet in its capture."""
    frame = arrival.token
    assert isinstance(frame, Frame)
    return frame.number


def truncated(step: Step) -> bool:
    """Whether the step's datagram is not whole in the capture."""
    arrival = step.arrival
    return (
        arrival is not None
        and arrival.captured_length is not None
        and arrival.captured_length > len(arrival.datagram)
        and any(
            isinstance(action, Drop) and action.reason is DropReason.TRUNCATED
            for action in step.actions
        )
    )


MADE_BY_TIME = frozenset({"time", "schema", "duration"})
"""Fields of an event that differ between two runs."""


def comparable(event: dict[str, Any]) -> dict[str, Any]:
    """An event, as in ``run --json``, without what differs between two runs."""
    return {name: value for name, value in event.items() if name not in MADE_BY_TIME}


def as_json(event: Event) -> dict[str, Any]:
    """An event of a tape, comparable."""
    return comparable(json_lines.to_json(event))
