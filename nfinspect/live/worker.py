"""The loop of a running filter: arrivals to the engine, its actions to the queue.

Invariants
- Whatever happens, a packet gets one verdict. If the engine fails on it (a bug), the packet is
  dropped and counted, the error is reported on stderr, and the filter continues: nothing passes
  because of an error.
- Nobody who reads the filter's output can block the filter.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from nfinspect.actions import Accept, Action, Drop, DropReason, Emit, Inject, Replace, Would
from nfinspect.arrival import Arrival
from nfinspect.audit.suppression import LinesSuppressed, Suppression
from nfinspect.events import Event

PERIOD = 0.1
"""Seconds, at most, between two rounds of housekeeping: timeouts, lines, requests, signals."""

STOP_TIMEOUT = 1.0
"""Seconds in which a stopping filter still decides packets that are already queued."""

FORGET_PERIOD = 1.0
"""Seconds for which interface names are cached."""

REPORT_PERIOD = 60.0
"""Seconds, at least, between two reports of internal errors."""


class PacketDecider(Protocol):
    """What a worker drives: the engine, or something simpler in a benchmark."""

    def arrive(self, arrival: Arrival) -> Sequence[Action]:
        """Decide one datagram."""

    def tick(self, now: float) -> Sequence[Action]:
        """Handle timeouts."""

    def deadline(self) -> float | None:
        """When the next tick is due."""

    def flush(self, now: float) -> Sequence[Action]:
        """Give every held packet its verdict."""


class PacketQueue(Protocol):
    """Where packets come from and verdicts go: `queue.Queue`, or a stand-in in a test."""

    def receive(self, handle: Callable[[Arrival], None], until: float) -> None:
        """Hand packets over until a time, or until none came for a while, and send verdicts."""

    def drain(self, handle: Callable[[Arrival], None], until: float) -> None:
        """The same, without waiting for packets."""

    def accept(self, token: Any) -> None:
        """Let a packet pass unchanged."""

    def replace(self, token: Any, datagram: bytes) -> None:
        """Let a packet pass with other bytes, from the IP header on."""

    def drop(self, token: Any) -> None:
        """Discard a packet."""

    def send_verdicts(self) -> None:
        """Send the verdicts given since the last packet was received."""

    def forget_interface_names(self) -> None:
        """Look interface names up again from now on."""


class DecisionAudit(Protocol):
    """What counts events: `audit.counters.Counters`."""

    def observe(self, event: Event) -> None:
        """Count an event."""

    def dropped(self, reason: DropReason) -> None:
        """Count a dropped packet."""


class Lines(Protocol):
    """Where lines go: `lines.LineWriter`."""

    def write(self, line: str) -> None:
        """Accept one line, without its newline."""

    def flush(self) -> None:
        """Pass on the accepted lines."""


@dataclass(slots=True)
class Packets:
    """Packet counts. A GSO packet counts as one."""

    seen: int = 0
    accepted: int = 0
    rewritten: int = 0
    dropped: int = 0
    injected: int = 0
    would_rewrite: int = 0
    would_drop: int = 0
    """Monitor mode: decisions that were not carried out."""
    not_injected: int = 0
    """Packets that the engine wanted to inject but that could not be sent."""
    gso: int = 0
    """GSO packets among those seen."""
    failures: int = 0
    """Internal errors; the packet being processed was dropped."""


class Worker:
    """Drives the engine with the packets that `handle` gets."""

    def __init__(
        self,
        engine: PacketDecider,
        queue: PacketQueue,
        *,
        audit: DecisionAudit,
        render: Callable[[Event], str | None],
        suppression: Suppression,
        summary: Callable[[LinesSuppressed], str],
        lines: Lines,
        inject: Callable[[Inject], bool],
        report: Callable[[str], None],
        services: Sequence[Callable[[], None]] = (),
        only_watches: bool = False,
    ) -> None:
        """Every event goes to *audit*, and, rendered by *render*, to *lines*, unless there are too
        many of it: *suppression* decides that, and *summary* renders what it has counted.

        *inject* sends a packet and returns whether that succeeded; *report* prints a message for
        the operator; *services* are called in every round and must not block.

        *only_watches*: a packet on which the engine fails passes.
        """
        self.packets = Packets()
        self.stopping = False
        """Set this, for example in a signal handler, to end `run`."""
        self._engine = engine
        self._queue = queue
        self._accept, self._replace, self._drop = queue.accept, queue.replace, queue.drop
        self._arrive = engine.arrive
        self._observe = audit.observe
        self._dropped = audit.dropped
        self._render = render
        self._suppression = suppression
        self._admits = suppression.admits
        self._summary = summary
        self._lines = lines
        self._inject = inject
        self._report = report
        self._services = services
        self._only_watches = only_watches
        self._report_after = float("-inf")

    def run(self) -> None:
        """Run until `stopping` is set; then decide what is queued, drop what is held, and return.

        Raises QueueError if the queue fails.
        """
        queue = self._queue
        forget_at = monotonic()
        while not self.stopping:
            queue.receive(self.handle, monotonic() + PERIOD)
            now = monotonic()
            self._do_housekeeping(now)
            if now >= forget_at:
                queue.forget_interface_names()
                forget_at = now + FORGET_PERIOD
        queue.drain(self.handle, monotonic() + STOP_TIMEOUT)
        now = monotonic()
        self._try(lambda: self._engine.flush(now), now)
        self._sum_up(now, last=True)
        self._lines.flush()

    def handle(self, arrival: Arrival) -> None:
        """Decide one packet; its verdict waits in the queue until the end of the run."""
        packets = self.packets
        packets.seen += 1
        if arrival.gso:
            packets.gso += 1
        try:
            actions = self._arrive(arrival)
        except Exception:
            self._failed()
            would = Drop(arrival.token, DropReason.FILTER_ERROR)
            actions = [Accept(arrival.token), Would(would)] if self._only_watches else [would]
        self._execute(actions, arrival.now)

    def act(self, decide: Callable[[float], Sequence[Action]]) -> None:
        """Do what *decide*, given the time, says besides packets and ticks."""
        now = monotonic()
        self._try(lambda: decide(now), now)

    def _do_housekeeping(self, now: float) -> None:
        deadline = self._engine.deadline()
        if deadline is not None and now >= deadline:
            self._try(lambda: self._engine.tick(now), now)
        for serve in self._services:
            try:
                serve()
            except Exception:  # whatever else goes wrong, packets are decided
                self._failed()
        self._sum_up(now)
        self._lines.flush()

    def _sum_up(self, now: float, *, last: bool = False) -> None:
        for suppressed in self._suppression.summaries(now, last=last):
            self._lines.write(self._summary(suppressed))

    def _try(self, decide: Callable[[], Sequence[Action]], now: float) -> None:
        try:
            actions = decide()
        except Exception:
            self._failed()
        else:
            self._execute(actions, now)
            self._queue.send_verdicts()

    def _execute(self, actions: Sequence[Action], now: float) -> None:
        packets = self.packets
        # An iterator, so that after a failed action the loop continues with the next one.
        remaining = iter(actions)
        while True:
            try:
                for action in remaining:
                    if type(action) is Accept:
                        self._accept(action.token)
                        packets.accepted += 1
                    elif type(action) is Emit:
                        event = action.event
                        self._observe(event)
                        if self._admits(event, now):
                            line = self._render(event)
                            if line is not None:
                                self._lines.write(line)
                    elif type(action) is Replace:
                        self._replace(action.token, action.datagram)
                        packets.rewritten += 1
                    elif type(action) is Drop:
                        self._drop(action.token)
                        packets.dropped += 1
                        self._dropped(action.reason)
                    elif type(action) is Inject:
                        # It must not overtake what was decided before it in the same run.
                        self._queue.send_verdicts()
                        if self._inject(action):
                            packets.injected += 1
                        else:
                            packets.not_injected += 1
                    elif type(action) is Would:
                        if isinstance(action.decision, Drop):
                            packets.would_drop += 1
                            self._dropped(action.decision.reason)
                        else:
                            packets.would_rewrite += 1
                return
            except Exception:
                self._failed()

    def _failed(self) -> None:
        """Count the exception being handled, and report it unless one was reported recently."""
        self.packets.failures += 1
        now = monotonic()
        if now >= self._report_after:
            self._report_after = now + REPORT_PERIOD
            self._report(
                f"internal error {self.packets.failures}: the packet being processed, if any, is"
                f" {'passed' if self._only_watches else 'dropped'}, and the filter continues. Please report this bug:\n"
                f"{traceback.format_exc()}"
            )
