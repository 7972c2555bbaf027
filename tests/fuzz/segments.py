"""A list of segments against the rule for bytes, small enough to shrink and to be mutated.

Unlike a session there are no ends that react: both sides say what the list tells, in its order.
``read`` makes such a list of any bytes, for fuzzers that know nothing but bytes and coverage.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from nfinspect.actions import Accept, Action, Drop, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.cli.configuration import default_configuration
from nfinspect.engine import Engine
from nfinspect.events import Direction, InspectionClosed
from nfinspect.tcp.limits import Ledger
from tests.fuzz.guard import DifferenceError, Guard, Stream
from tests.fuzz.packets import ACK, FIN, MASK, PSH, RST, SYN, URG, Packet, Path
from tests.model.inspector import Inspections, SwapCase
from tests.model.overlap import POLICIES, Waiting
from tests.model.stack import Habits, Stack, near

ENDS = ((bytes([192, 0, 2, 1]), 40000), (bytes([198, 51, 100, 25]), 25))
INITIAL = 2**32 - 40
"""Of both sides, so that offsets of a few dozen run across the wrap."""
LONGEST, FARTHEST = 16, 64
"""Bytes of a segment, and of a window."""
TEXT = b"abcdefghijkl?mnopqrst!uvwxyz\r\n.ABCDE?FGHIJKLMNOPQRSTUVWXYZ!0123456789abcdefghijk"
"""What the client says if it is honest; a server's ``+`` opens what ``!`` shuts."""
REPLIES = b"+one+two+three+four+five+six+seven+eight+nine+ten+eleven+twelve+thirteen+fourteen+++"
VARIANTS = (b"", b"EVIL", b"!#?", b"++++")
"""Honest text, or one of these over and over."""
FLAGS = (*[ACK] * 7, ACK | PSH, ACK | PSH, ACK | FIN, ACK | FIN, ACK | URG, RST, RST | ACK, SYN, 0)


@dataclass(frozen=True, slots=True)
class Piece:
    """One segment. All zero is the next bytes of the client, acknowledging all that has passed."""

    direction: int
    ahead: int
    """Where it begins, seen from the next byte that inspection expects."""
    length: int
    variant: int = 0
    flags: int = 0
    withheld: int = 0
    """So many of the other side's bytes that have passed it does not acknowledge; below 0: so many
    that have not passed it does."""
    gso: bool = False
    seconds: int = 0
    """Of silence before it."""

    def packet(self, own: int, other_side: int) -> Packet:
        """``own``, ``other_side``: how many bytes of each have been decided."""
        at = own + self.ahead
        honest = (TEXT, REPLIES)[self.direction]
        other = VARIANTS[self.variant]
        end = max(at, 0) + self.length
        text = (other * (end // len(other) + 1)) if other else honest
        payload = text[max(at, 0) : end]
        return Packet(
            INITIAL + 1 + at & MASK,
            INITIAL + 1 + max(0, other_side - self.withheld) & MASK
            if FLAGS[self.flags] & ACK
            else 0,
            FLAGS[self.flags],
            FARTHEST,
            b"",
            payload,
        )


def read(data: bytes) -> list[Piece]:
    """Four bytes a piece; what does not fill one is left."""
    pieces = []
    for first, second, third, fourth in zip(*[iter(data)] * 4, strict=False):
        pieces.append(
            Piece(
                direction=first & 1,
                ahead=0 if second & 0x80 else (second & 0x3F) - 24,
                length=(first >> 1 & 0x1F) % (LONGEST + 1),
                variant=third & 3,
                flags=third >> 2 & 15,
                withheld=0 if fourth < 0x90 else fourth & 31 if fourth < 0xF8 else 0xF7 - fourth,
                gso=bool(first >> 6 & 1),
                seconds=40 * (third >> 6),
            )
        )
    return pieces


class Course:
    """The segments one after the other through a filter, behind which the guard stands and
    receivers of every policy listen."""

    def __init__(self) -> None:
        self.engine = Engine(
            default_configuration().policy, started=-1000.0, prepare=Inspections(self.inspect)
        )
        random = Random(0)
        self.ends = tuple(Stack(Habits(initial=INITIAL), random) for _ in ENDS)
        client, server = self.ends
        self.paths = (Path(*ENDS), Path(*ENDS[::-1]))
        self.guard = Guard(
            Stream(client, server, self.paths[0]), Stream(server, client, self.paths[1])
        )
        self.listeners = tuple({name: Waiting(name) for name in POLICIES} for _ in ENDS)
        self.delivered = tuple(dict.fromkeys(POLICIES, b"") for _ in ENDS)
        self.waiting: dict[int, tuple[int, bytes]] = {}
        self.tokens = 0
        self.now = 0.0

    def inspect(self) -> SwapCase:
        inspector = SwapCase()
        for stream, record in zip(
            self.guard.streams, (inspector.requests, inspector.replies), strict=True
        ):
            stream.approved = record
        return inspector

    def run(self, pieces: Iterable[Piece]) -> Course:
        self._arrive(0, Packet(INITIAL, 0, SYN, FARTHEST))
        self._arrive(1, Packet(INITIAL, INITIAL + 1, SYN | ACK, FARTHEST))
        self._arrive(0, Packet(INITIAL + 1, INITIAL + 1, ACK, FARTHEST))
        for piece in pieces:
            self._wait(piece.seconds)
            if self.engine.connections == 0 and FLAGS[piece.flags] & SYN:
                break  # over; this would begin another connection
            own, other = (self.guard.streams[piece.direction ^ side].approved for side in (0, 1))
            self._arrive(piece.direction, piece.packet(len(own), len(other)), gso=piece.gso)
        self._finish()
        return self

    def _wait(self, seconds: int) -> None:
        self.now += 0.01 + seconds
        deadline = self.engine.deadline()
        while deadline is not None and deadline <= self.now:
            self._act(self.engine.tick(deadline))
            deadline = self.engine.deadline()

    def _arrive(self, direction: int, packet: Packet, *, gso: bool = False) -> None:
        self.tokens += 1
        datagram = self.paths[direction].build(packet)
        self.waiting[self.tokens] = (direction, datagram)
        if packet.flags & ACK:
            other = self.guard.streams[1 - direction]
            base = other.sender.base
            acknowledged = near(packet.acknowledgment, base) - base
            if acknowledged <= len(other.approved) + 1:
                other.conceded = max(other.conceded, acknowledged)
        arrival = Arrival(self.tokens, datagram, self.now, gso=gso)
        self._act(self.engine.arrive(arrival))
        self.guard.settle()
        if len(self.waiting) != self.engine.held:
            raise DifferenceError(f"{len(self.waiting)} wait, {self.engine.held} are held")

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Emit):
                if isinstance(action.event, InspectionClosed):
                    self.guard.closed = True
            elif isinstance(action, Inject):
                direction = 0 if action.direction is Direction.REQUEST else 1
                self._deliver(direction, self.guard.passes(direction, action.datagram))
            else:
                direction, datagram = self.waiting.pop(action.token)  # type: ignore[arg-type]
                if isinstance(action, Accept | Replace):
                    passed = action.datagram if isinstance(action, Replace) else datagram
                    self._deliver(direction, self.guard.passes(direction, passed))
                else:
                    assert isinstance(action, Drop)

    def _deliver(self, direction: int, packet: Packet) -> None:
        stream = self.guard.streams[direction]
        start = stream.offset(packet.sequence)
        if not packet.payload:
            return
        for name, waiting in self.listeners[direction].items():
            delivered = self.delivered[direction]
            have = len(delivered[name])
            fresh = packet.payload[max(0, have - start) :]
            if fresh:
                waiting.add(max(start, have), fresh)
                delivered[name] += waiting.take(have)

    def _finish(self) -> None:
        self._act(self.engine.flush(self.now))
        if self.waiting:
            raise DifferenceError("flushed, and something still waits")
        for stream, delivered in zip(self.guard.streams, self.delivered, strict=True):
            for name, got in delivered.items():
                different = [
                    at
                    for at, byte in enumerate(got)
                    if at >= len(stream.approved)
                    or (byte != stream.approved[at] and (byte != 0x58 or at >= stream.conceded))
                ]
                if different:
                    raise DifferenceError(
                        f"a {name} receiver has {got!r}, approved is {bytes(stream.approved)!r}"
                    )
        for _ in range(1000):
            deadline = self.engine.deadline()
            if deadline is None:
                break
            self._act(self.engine.tick(deadline))
        if self.engine.connections or self.engine.ledger != Ledger():
            raise DifferenceError(
                f"left: {self.engine.connections} connections, {self.engine.ledger}"
            )


def check(pieces: Iterable[Piece]) -> Course:
    """DifferenceError if the filter lets these segments break the rule."""
    return Course().run(pieces)
