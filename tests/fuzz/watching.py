"""The same hostile sessions in monitor mode: whatever the filter finds, the network is as without it."""

from __future__ import annotations

from random import Random

from nfinspect.actions import Accept, Action, Drop, Emit, Would
from nfinspect.arrival import Arrival
from nfinspect.engine import EngineOptions
from nfinspect.events import ConflictingBytes
from nfinspect.monitor import WATCHED, Monitor
from nfinspect.tcp.limits import Ledger
from tests.fuzz.guard import DifferenceError
from tests.fuzz.network import Marks
from tests.fuzz.packets import Packet
from tests.fuzz.session import MOST_PACKETS, Session


class Watched(Monitor):
    """Says that nothing is held, as every packet has its verdict."""

    @property
    def held(self) -> int:
        return 0


class WatchedSession(Session):
    """A session in which the engine only watches. ``would`` counts decisions not carried out."""

    would = 0
    most_held = 0

    def draw(self, random: Random) -> None:
        super().draw(random)
        core = self.engine._core
        options = EngineOptions(WATCHED, core.options.transcript, core.options.limits)
        self.watched = Watched(core.policy, options, started=core.now, prepare=self.prepare)
        self.engine = self.watched
        self.offset = 0
        """A device that translates is not modelled: here all packets pass as they are."""

    def run(self) -> WatchedSession:
        try:
            self._run()
            self._judge()
            self._finish()
        except Exception as error:
            raise DifferenceError(f"{error!r}\n{self.describe()}") from error
        return self

    def _from_port_25(self, packet: Packet) -> None:
        """It would pass, as all packets do."""

    def _conflicts(self, direction: int, packet: Packet, marks: Marks) -> bool | None:
        return None

    def _act(self, actions: list[Action], arrival: Arrival | None = None) -> None:
        self.most_held = max(self.most_held, self.watched.ledger.held_packets)
        if arrival is not None:
            if actions[:1] != [Accept(arrival.token)]:
                raise DifferenceError(f"not accepted at once: {actions}")
            actions = actions[1:]
        for action in actions:
            if isinstance(action, Emit):
                self._event(action.event)
                if isinstance(action.event, ConflictingBytes):
                    self.conflict = action.token
            elif isinstance(action, Would):
                self.would += 1
                if isinstance(action.decision, Drop):
                    reason = action.decision.reason
                    self.drops[reason] = self.drops.get(reason, 0) + 1
            else:
                raise DifferenceError(f"a monitor does not {action}")
        if arrival is None:
            return
        direction, packet, damaged, datagram = self.waiting.pop(arrival.token)  # type: ignore[arg-type]
        if arrival.datagram != datagram:
            raise DifferenceError("a packet has changed")
        if not (damaged or self.over):  # the receiver drops a damaged one
            self._pass(direction, packet, "passes", datagram)

    def _judge(self) -> None:
        """Without an attacker, what was sent arrives."""
        if self.kind.hostile or self.aggression or self.over:
            return
        for sender, receiver in ((self.client, self.server), (self.server, self.client)):
            if receiver.received != sender.stream:
                raise DifferenceError(
                    f"sent {len(sender.stream)} bytes, received {len(receiver.received)}"
                )

    def _finish(self) -> None:
        self._act(self.watched.flush(self.now))
        for _ in range(MOST_PACKETS):
            deadline = self.watched.deadline()
            if deadline is None:
                break
            self.now = max(self.now, deadline)
            self._act(self.watched.tick(self.now))
        if self.watched.connections or self.watched.ledger != Ledger():
            raise DifferenceError(f"left: {self.watched.connections}, {self.watched.ledger}")
