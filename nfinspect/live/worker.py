"""The loop of a running filter: arrivals to the engine, its actions to the queue.

Laws
- Whatever happens, a packet gets one verdict. Where the engine fails on it (a bug), it is dropped,
  counted and told on stderr, and the filter goes on: nothing passes because of an error.
- No person and no program that reads what the filter writes can hold it up.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from nfinspect.actions import Accept, Action, Drop, DropReason, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.events import Event

PERIOD = 0.1
"""Seconds, at most, between two rounds of the other business: time-outs, lines, requests, signals.
An idle queue waits as long for a packet."""

STOP_TIMEOUT = 1.0
"""Seconds for which a stopping filter still works on packets that had reached it before."""

FORGET_PERIOD = 1.0
"""Seconds after which a renamed interface is known by its new name."""

REPORT_PERIOD = 60.0
"""Seconds between two reports of errors of the filter's own."""


class Filter(Protocol):
    """What a worker drives: the engine, or in a measurement something that decides less."""

    def arrive(self, arrival: Arrival) -> Sequence[Action]:
        """Decide one datagram."""

    def tick(self, now: float) -> Sequence[Action]:
        """Do what time brings."""

    def deadline(self) -> float | None:
        """When the next tick is wanted."""

    def flush(self, now: float) -> Sequence[Action]:
        """Give every held packet its verdict."""


class PacketQueue(Protocol):
    """What a worker reads: `queue.Queue`, or in a test something that plays packets."""

    def receive(self, until: float) -> None:
        """Hand packets to the worker's `handle` until a time, or until none came for a while."""

    def drain(self, until: float) -> None:
        """The same, without waiting for any."""

    def forget_interface_names(self) -> None:
        """Look them up again."""


class Audit(Protocol):
    """What is told of everything that happens: `audit.counters.Counters`."""

    def observe(self, event: Event) -> None:
        """Take an event."""

    def dropped(self, reason: DropReason) -> None:
        """Take a dropped packet."""


class Lines(Protocol):
    """Where lines go: `lines.LineWriter`."""

    def write(self, line: str) -> None:
        """Take one line, without its newline."""

    def flush(self) -> None:
        """Pass on what has been taken."""


@dataclass(slots=True)
class Packets:
    """What became of the queued packets. A GSO packet is one."""

    seen: int = 0
    accepted: int = 0
    rewritten: int = 0
    dropped: int = 0
    injected: int = 0
    not_injected: int = 0
    """Packets of the engine's making that could not be sent."""
    gso: int = 0
    """Of those seen: packets that stand for many segments."""
    failures: int = 0
    """Errors of the filter's own; the packet at which one happened was dropped."""


class Worker:
    """Drives *engine* with what `handle` is given."""

    def __init__(
        self,
        engine: Filter,
        *,
        audit: Audit,
        render: Callable[[Event], str | None],
        lines: Lines,
        inject: Callable[[Inject], bool],
        report: Callable[[str], None],
        services: Sequence[Callable[[], None]] = (),
    ) -> None:
        """Every event is given to *audit*, and as *render* has it to *lines*.

        *inject* sends a packet of the engine's making and returns whether it could; *report* tells
        the person who runs the filter; *services* are called in every round and must not block.
        """
        self.packets = Packets()
        self.stopping = False
        """Set, by a signal's handler too, to end `run`."""
        self._engine = engine
        self._arrive = engine.arrive
        self._observe = audit.observe
        self._dropped = audit.dropped
        self._render = render
        self._lines = lines
        self._inject = inject
        self._report = report
        self._services = services
        self._report_after = float("-inf")

    def run(self, queue: PacketQueue) -> None:
        """Work until `stopping` is set; then decide what is ready, drop what is held, and return.

        Raises QueueError if the queue is lost.
        """
        forget_at = monotonic()
        while not self.stopping:
            queue.receive(monotonic() + PERIOD)
            now = monotonic()
            self._do_other_business(now)
            if now >= forget_at:
                queue.forget_interface_names()
                forget_at = now + FORGET_PERIOD
        queue.drain(monotonic() + STOP_TIMEOUT)
        self._try(lambda: self._engine.flush(monotonic()))
        self._lines.flush()

    def handle(self, arrival: Arrival) -> None:
        """Decide one packet, whose token is a `queue.QueuedPacket`."""
        packets = self.packets
        packets.seen += 1
        if arrival.gso:
            packets.gso += 1
        try:
            actions = self._arrive(arrival)
        except Exception:
            self._failed()
            actions = [Drop(arrival.token, DropReason.FILTER_ERROR)]
        self._execute(actions)

    def _do_other_business(self, now: float) -> None:
        deadline = self._engine.deadline()
        if deadline is not None and now >= deadline:
            self._try(lambda: self._engine.tick(now))
        for serve in self._services:
            serve()
        self._lines.flush()

    def _try(self, decide: Callable[[], Sequence[Action]]) -> None:
        try:
            actions = decide()
        except Exception:
            self._failed()
        else:
            self._execute(actions)

    def _execute(self, actions: Sequence[Action]) -> None:
        packets = self.packets
        # An iterator, so that after a failed action the loop goes on with the next.
        remaining = iter(actions)
        while True:
            try:
                for action in remaining:
                    token: Any
                    if type(action) is Accept:
                        token = action.token
                        token.accept()
                        packets.accepted += 1
                    elif type(action) is Emit:
                        self._observe(action.event)
                        line = self._render(action.event)
                        if line is not None:
                            self._lines.write(line)
                    elif type(action) is Replace:
                        token = action.token
                        token.set_payload(action.datagram)
                        token.accept()
                        packets.rewritten += 1
                    elif type(action) is Drop:
                        token = action.token
                        token.drop()
                        packets.dropped += 1
                        self._dropped(action.reason)
                    elif type(action) is Inject:
                        if self._inject(action):
                            packets.injected += 1
                        else:
                            packets.not_injected += 1
                return
            except Exception:
                self._failed()

    def _failed(self) -> None:
        """Count the error that is being handled, and report it, unless one was reported lately."""
        self.packets.failures += 1
        now = monotonic()
        if now >= self._report_after:
            self._report_after = now + REPORT_PERIOD
            self._report(
                f"an error of nfinspect's own, number {self.packets.failures}; the packet, if it was"
                f" at one, is dropped, and the filter goes on. Please report it:\n"
                f"{traceback.format_exc()}"
            )
