"""One session: two ends, a hostile network, the filter between, and the judgement.

Everything follows from the seed. Its remainder tells the kind:

====================  ========================================================================
SWAP, MAIL            the network does its worst, an attacker says what must change nothing
                      (``attacker.HARMLESS``): everything arrives, as the oracle has it, and both
                      ends finish
SWAP_CLOSED, ...      the same with a violation: a beginning arrives, and nothing behind it; the
                      client gets all replies
SWAP_HOSTILE, ...     an attacker says what an end might say: the rule for bytes holds, and at the end
                      nothing is left in the filter
====================  ========================================================================

SWAP sessions are inspected by ``SwapCase``, whose approved stream is known without it; MAIL sessions
by the real inspector, whose oracle is ``mail.ideal``. In hostile sessions the approved stream is the
record of the filter's own inspector, and what that has read must have been sent so by somebody.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from random import Random
from typing import cast

from nfinspect.actions import Accept, Action, Drop, DropReason, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.cli.configuration import default_configuration
from nfinspect.engine import Engine, EngineOptions
from nfinspect.esmtp.inspector import Inspector
from nfinspect.events import (
    ConflictingBytes,
    ConnectionTornDown,
    Direction,
    Event,
    InspectionClosed,
    TeardownReason,
    Uninspected,
)
from nfinspect.flow import opening
from nfinspect.tcp.limits import Ledger, Limits
from tests.fuzz import attacker, mail
from tests.fuzz.guard import DifferenceError, Guard, Stream
from tests.fuzz.network import TO_END, TO_FILTER, Link, Marks, Network
from tests.fuzz.packets import ACK, FLAGS, MASK, PSH, RST, Packet, Path
from tests.model.inspector import SwapCase
from tests.model.overlap import POLICIES
from tests.model.stack import OPEN, Habits, Stack, near, read_options

MOST_PACKETS = 20_000
"""More than a session needs that is not going round in circles."""
MOST_SECONDS = 4000.0
SWAP_POLICY = default_configuration().policy
V4 = ((bytes([192, 0, 2, 1]), 40000), (bytes([198, 51, 100, 25]), 25))
V6 = (
    (bytes.fromhex("20010db8") + bytes(11) + b"\1", 40000),
    (bytes.fromhex("20010db8") + bytes(11) + b"\2", 25),
)
OUTSIDE, INSIDE = "outside", "inside"


class Kind(enum.IntEnum):
    SWAP = 0
    MAIL = 1
    SWAP_HOSTILE = 2
    MAIL_HOSTILE = 3
    SWAP_CLOSED = 4
    MAIL_CLOSED = 5

    @property
    def hostile(self) -> bool:
        return self in (Kind.SWAP_HOSTILE, Kind.MAIL_HOSTILE)

    @property
    def closed(self) -> bool:
        return self in (Kind.SWAP_CLOSED, Kind.MAIL_CLOSED)

    @property
    def is_mail(self) -> bool:
        return bool(self & 1)


class Recorder(Inspector):
    """The real inspector, and what it has read and approved."""

    def __init__(self, *arguments: object, **options: bool) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.heard = (bytearray(), bytearray())
        self.approved = (bytearray(), bytearray())

    def request(self, data: bytes, packet_length: int, acknowledged: int) -> bytes:
        if self.uninspected is not None:
            return data
        passed = super().request(data, packet_length, acknowledged)
        if self.closing is None:
            self.approved[0].extend(passed)
            self.heard[0].extend(data[: len(passed)])
        return passed

    def reply(self, data: bytes) -> bytes:
        if self.uninspected is not None:
            return data
        passed = super().reply(data)
        self.approved[1].extend(passed)
        self.heard[1].extend(data[: len(passed)])
        return passed


@dataclass(slots=True)
class Tally:
    """What came about, for the summary of many sessions."""

    sessions: int = 0
    segments: int = 0
    held: int = 0
    forged: int = 0
    injected: int = 0
    conflicts: int = 0
    closed: int = 0
    drops: dict[DropReason, int] = field(default_factory=dict)


class Session:
    def __init__(self, seed: int, say: Callable[[str], None] | None = None) -> None:
        self.seed, self.say = seed, say
        self.kind = Kind(seed % len(Kind))
        self.random = random = Random(seed)
        self.events: list[Event] = []
        self.waiting: dict[int, tuple[int, Packet, bool]] = {}
        self.drops: dict[DropReason, int] = {}
        self.tokens = self.injected = self.forged = self.held = 0
        self.now = 0.0
        self.over = False
        self.inspector: Recorder | SwapCase | None = None
        self.arrived: tuple[list[tuple[int, bytes]], ...] = ([], [])
        self.conflict: object = None
        """The token of the packet that was last said to bring other bytes."""
        self.beyond: object = None
        """The token of the packet that was last dropped as beyond the window."""
        self.draw(random)

    # ---- what it is made of

    def draw(self, random: Random) -> None:
        """Everything about the session that chance decides beforehand."""
        kind = self.kind
        policy = SWAP_POLICY
        self.script: mail.Script | None = None
        verbs_whole = False
        if kind.is_mail:
            self.script = mail.make(random, violation=kind.closed)
            policy = self.script.policy
            verbs_whole = self.script.verbs_whole
        client, server = self._habits(random, verbs_whole), self._habits(random, False)
        self.tight = random.random() < 0.3
        """The filter's bounds are so small that they are met."""
        options = EngineOptions(
            limits=self._limits(random, max(client.largest, server.largest)),
            transcript=random.random() < 0.1,
        )
        self.engine = Engine(policy, options, started=-1000.0)
        self.ready = random.random() > 0.1
        self.plain_large = random.random() < 0.3
        """Packets larger than a segment come without the mark of GSO."""
        self.links = {
            place + direction: self._link(random, verbs_whole and direction == 0)
            for place in (TO_FILTER, TO_END)
            for direction in (0, 1)
        }
        self.network = Network(random, self.links)
        self.client, self.server = Stack(client, random), Stack(server, random)
        self.ends = (self.server, self.client)
        """By the direction in which they receive."""
        self._applications(random)
        ends = V6 if random.random() < 0.25 else V4
        self.paths = (Path(*ends), Path(*ends[::-1]))
        requests = Stream(self.client, self.server, self.paths[0])
        replies = Stream(self.server, self.client, self.paths[1])
        self.guard = Guard(requests, replies)
        self.forgers = attacker.HARMLESS
        self.speaks_for = (0, 1) if random.random() < 0.5 else (0,)
        self.aggression = random.choice((0, 0, 0.1, 0.3))
        self.crosses = random.random() < 0.3
        """Somebody outside speaks in the server's name, too."""
        if kind.hostile:
            self.forgers = attacker.FINAL if random.random() < 0.4 else attacker.HOSTILE
            self.speaks_for = (0, 1) if random.random() < 0.25 else (0,)
            self.aggression = random.choice((0.1, 0.3, 0.7))

    def _limits(self, random: Random, largest: int) -> Limits:
        """The bounds; ``largest``: what has to pass at once, if anything is to move."""
        if not self.tight:
            return Limits()
        return Limits(
            held_packets=random.choice((1, 3, 64)),
            held_bytes=random.choice((1500, 5000, 1 << 18)),
            held_packets_total=random.choice((2, 5, 1024)),
            memory_bytes=random.choice((largest, 2 * largest, 1 << 24)),
            memory_bytes_total=random.choice((2 * largest, 1 << 24)),
        )

    def _link(self, random: Random, verbs_whole: bool) -> Link:
        lossy, splits = random.choice((0, 4)), 0 if verbs_whole else 2
        return Link(
            delay=random.choice((0.001, 0.01, 0.1)),
            jitter=random.choice((0.0, 0.0, 0.001, 0.05)),
            trouble=random.choice((0.0, 0.05, 0.2, 0.4)),
            weights=(lossy, 2, 2, splits, 2, 1 if lossy else 0),
            spike=random.choice((0.05, 0.5, 3.0)),
        )

    def _habits(self, random: Random, verbs_whole: bool) -> Habits:
        largest = 1000 if verbs_whole else random.choice((20, 60, 200, 536, 1448))
        window = random.choice((2 * largest, 700, 5000, 60000, 200000))
        return Habits(
            initial=random.choice((2**32 - random.randint(1, 2000), random.getrandbits(32))),
            largest=largest,
            cut=not verbs_whole and random.random() < 0.5,
            burst=random.choice((1, 1, 1, 4)),
            window=window,
            scale=random.choice((None, 0, 3, 7) if window > 2000 else (None, 0)),
            sack=random.random() < 0.7,
            timestamps=random.random() < 0.6,
            policy=random.choice(tuple(POLICIES)),
            delayed=random.random() < 0.3,
            reading=random.choice((0.0, 0.0, 0.0, 0.01, 0.5)),
            probe_with_data=random.random() < 0.4,
            keep_alives=random.choice((0, 0, 0, 3)),
        )

    def _applications(self, random: Random) -> None:
        client, server = self.client, self.server
        if self.script is None:
            letters = bytearray(
                random.choices(b"abcdefgHIJKLM\r\n.?", k=random.choice((3, 60, 300, 900)))
            )
            for _ in range(random.choice((0, 0, 1, 3))):
                letters.insert(random.randint(0, len(letters)), 33)
            if self.kind.closed:
                letters.insert(random.randint(0, len(letters)), 35)
            client.write(letters)
            client.closing = True
            server.write(b"Hello\r\n")
            server.application = lambda data: b"ok+" * (data.count(b"!") + data.count(b"?"))
            return
        speaker, answerer = mail.Client(self.script), mail.Server(self.script)
        server.write(answerer.greet())

        def speak(data: bytes) -> bytes:
            said = speaker.feed(data)
            client.closing = client.closing or speaker.over
            return said

        def answer(data: bytes) -> bytes:
            answered = answerer.feed(data)
            server.closing = server.closing or answerer.over
            return answered

        client.application, server.application = speak, answer

    def inspect(self, *arguments: object, **options: bool) -> Recorder | SwapCase:
        """Stands in for the class of the inspector. A second connection is not watched: it begins
        where an attacker has ended the first, or the filter no longer waits for its handshake."""
        if self.inspector is not None:
            self.over = True
        if self.script is None:
            inspector: Recorder | SwapCase = SwapCase(*arguments, **options)  # type: ignore[arg-type]
            SwapCase.instances.clear()
            approved = (inspector.requests, inspector.replies)
        else:
            inspector = Recorder(*arguments, **options)
            approved = inspector.approved
        if self.over:
            return inspector
        self.inspector = inspector
        for stream, record in zip(self.guard.streams, approved, strict=True):
            stream.approved = record
        return inspector

    def describe(self) -> str:
        """What is out of the ordinary about it, short."""
        parts = [
            f"seed {self.seed}: {self.kind.name}, attacker {self.aggression} for {self.speaks_for}",
            f"checksums {'ready' if self.ready else 'not ready'}, IPv{self.paths[0].version}",
            f"client {_unusual(self.client.habits)}",
            f"server {_unusual(self.server.habits)}",
            f"limits {_unusual(self.engine._core.options.limits)}",
        ]
        names = ("client to filter", "server to filter", "filter to server", "filter to client")
        parts += [
            f"{name} {_unusual(link)}"
            for name, link in zip(names, self.links.values(), strict=True)
        ]
        return "\n  ".join(parts)

    # ---- running

    def run(self) -> Session:
        """To the end, and judge; DifferenceError where the filter has done what it must not."""
        original = opening.Inspector
        opening.Inspector = self.inspect  # type: ignore[assignment, misc]
        try:
            self._run()
            self._judge()
            self._finish()
        except Exception as error:
            raise DifferenceError(f"{error!r}\n{self.describe()}") from error
        finally:
            opening.Inspector = original  # type: ignore[misc]
        return self

    def _run(self) -> None:
        self.client.connect(0.0)
        self._depart(0, self.client)
        queue = self.network.queue
        engine = self.engine
        ends = (self.client, self.server)
        packets = 0
        while True:
            timer = None
            for end in ends:
                at = end.timer
                if at is not None and (timer is None or at < timer[0]):
                    timer = (at, end)
            if queue and (timer is None or queue[0][0] <= timer[0]):
                now = queue[0][0]
            elif timer is not None:
                now = timer[0]
            else:
                break
            deadline = engine.deadline()
            if deadline is not None and deadline <= now:
                self.now = max(self.now, deadline)
                self._act(engine.tick(self.now))
                continue
            self.now = now
            packets += 1
            if self.over:
                break
            if now > MOST_SECONDS or packets > MOST_PACKETS:
                if not self.kind.hostile:
                    raise DifferenceError("it does not come to an end")
                break
            if queue and queue[0][0] == now:
                _, _, place, packet, marks = self.network.pop()
                if place < TO_END:
                    self._arrive(place, packet, marks)
                else:
                    self._receive(place - TO_END, packet)
            elif timer is not None:
                timer[1].wake(now)
                self._depart(0 if timer[1] is self.client else 1, timer[1])

    def _depart(self, direction: int, end: Stack) -> None:
        packets, end.out = end.out, []
        if not packets:
            return
        self.network.send(self.now, TO_FILTER + direction, packets)
        if not self.aggression or direction not in self.speaks_for:
            return
        if not self.kind.hostile and not (self.client.state == self.server.state == OPEN):
            return
        for packet in packets:
            if self.random.random() < self.aggression:
                when = self.now + self.links[direction].delay * (0.5 + self.random.random())
                marks = Marks(forger=self.random.choice(self.forgers))
                self.network.push(when, TO_FILTER + direction, packet, marks)
                if self.crosses and direction == 1:
                    marks = Marks(forger=self.random.choice(attacker.FINAL), wrong_side=True)
                    self.network.push(when, TO_FILTER + direction, packet, marks)

    def _arrive(self, direction: int, packet: Packet, marks: Marks) -> None:
        forger = cast(attacker.Forger | None, marks.forger)
        if forger is not None:
            if not (self.kind.hostile or self.engine.connections):
                return  # a SYN would begin another connection
            is_mail = self.script is not None
            forged = forger(attacker.Scene(self.random, self.guard, direction, packet, is_mail))
            if forged is None:
                return
            packet = forged
        self.tokens += 1
        token = self.tokens
        sender = self.ends[1 - direction]
        large = len(packet.payload) > sender.habits.largest
        gso = large and not self.plain_large
        damage = marks.damage if self.ready else 0
        datagram = self.paths[direction].build(packet, damage=damage, ready=self.ready)
        if forger is not None:
            self.forged += 1
            if packet.flags & ACK and not marks.wrong_side:
                self._concede(1 - direction, packet)
        if self.kind.hostile and not damage and packet.payload:
            at = near(packet.sequence, sender.base) - sender.base
            self.arrived[direction].append((at, packet.payload))
        if self.say:
            self._tell(direction, packet, marks, gso)
        self.waiting[token] = (direction, packet, bool(damage))
        arrival = Arrival(token, datagram, self.now, None, self.ready, gso)
        outside = direction == 0 or marks.wrong_side
        arrival.ingress, arrival.egress = (OUTSIDE, INSIDE) if outside else (INSIDE, OUTSIDE)
        expected = None if self.kind.hostile else self._conflicts(direction, packet, marks)
        self._act(self.engine.arrive(arrival), arrival)
        told = self.conflict == token
        if expected is not None and expected != told and self.beyond != token:
            raise DifferenceError(
                "a conflict is " + ("not told" if expected else "told of an honest end")
            )
        if marks.wrong_side and self.waiting.get(token):
            raise DifferenceError("a packet from the wrong side is held")
        if token in self.waiting:
            self.held += 1
            if self.say:
                self.say("                held")
        if len(self.waiting) != self.engine.held:
            raise DifferenceError(f"{len(self.waiting)} wait, {self.engine.held} are held")

    def _conflicts(self, direction: int, packet: Packet, marks: Marks) -> bool | None:
        """Whether the filter has to tell that these bytes are not those it knows; None: it may."""
        stream = self.guard.streams[direction]
        if marks.forger is None:
            return False
        connected = self.engine.connections and not self.guard.closed and stream.free is None
        ignored = marks.wrong_side or marks.damage or packet.flags & ~PSH != ACK
        if ignored or not connected:
            return None
        start = near(packet.sequence, stream.sender.base) - stream.sender.base
        if not 0 <= start <= start + len(packet.payload) <= len(stream.approved):
            return None
        known = max(start, stream.had)
        original = stream.sender.stream[known : start + len(packet.payload)]
        return True if packet.payload[known - start :] != original else None

    def _concede(self, direction: int, packet: Packet) -> None:
        stream = self.guard.streams[direction]
        base = stream.sender.base
        acknowledged = near(packet.acknowledgment, base + stream.conceded) - base
        if stream.conceded < acknowledged <= len(stream.approved) + 1:
            stream.conceded = acknowledged

    def _act(self, actions: list[Action], arrival: Arrival | None = None) -> None:
        released: list[int | None] = [None, None]
        """The sequence number of the last held packet that has passed, either way."""
        cut = closes = False
        for action in actions:
            if isinstance(action, Emit):
                self._event(action.event)
                closes = closes or isinstance(action.event, InspectionClosed)
                if isinstance(action.event, ConflictingBytes):
                    self.conflict = action.token
                continue
            if isinstance(action, Inject):
                if self.over:
                    continue
                direction = 0 if action.direction is Direction.REQUEST else 1
                if action.port not in ("", OUTSIDE if direction else INSIDE):
                    raise DifferenceError(f"injected into the wrong side, {action.port}")
                self.injected += 1
                packet = self.guard.made(direction, action.datagram, piece=cut)
                if not cut:
                    self._check_blocks(1 - direction, packet)
                self._pass(direction, packet, "says itself")
                continue
            if action.token not in self.waiting:
                raise DifferenceError(f"a second verdict: {action}")
            direction, packet, damaged = self.waiting.pop(action.token)  # type: ignore[arg-type]
            if self.over:
                continue
            late = arrival is None or action.token != arrival.token
            if isinstance(action, Drop):
                if late and action.reason is DropReason.HOLD_BOUND and not self.tight:
                    raise DifferenceError("a held packet is given up without need")
                cut = action.reason is DropReason.GSO_CUT
                if action.reason is DropReason.OUT_OF_WINDOW:
                    self.beyond = action.token
                self.drops[action.reason] = self.drops.get(action.reason, 0) + 1
                if self.say:
                    self.say(f"                drops {_numbers(packet)}: {action.reason.value}")
                continue
            if late:
                before = released[direction]
                if before is not None and packet.sequence - before & MASK > 1 << 31:
                    raise DifferenceError("held packets pass out of order")
                released[direction] = packet.sequence
            if damaged:
                raise DifferenceError("a packet with a wrong checksum passes")
            if isinstance(action, Accept):
                if arrival is not None and arrival.token == action.token:
                    datagram = arrival.datagram
                else:
                    datagram = self.paths[direction].build(packet, ready=self.ready)
                packet = self.guard.passes(direction, datagram, ready=self.ready)
                self._pass(direction, packet, "passes")
            else:
                assert isinstance(action, Replace)
                if len(action.datagram) > len(self.paths[direction].build(packet)):
                    raise DifferenceError("a packet has grown")
                packet = self.guard.passes(direction, action.datagram)
                self._pass(direction, packet, "passes changed")
        self.guard.closed = self.guard.closed or closes  # what passes at the same time was approved

    def _check_blocks(self, direction: int, packet: Packet) -> None:
        """SACK blocks of the filter's name what has passed or is held, and nothing else."""
        _, blocks = read_options(packet.options)
        if not blocks:
            return
        una = self.ends[1 - direction].una
        held = sorted(
            (near(other.sequence, una), near(other.sequence, una) + len(other.payload))
            for way, other, _ in self.waiting.values()
            if way == direction
        )
        passed = self.ends[1 - direction].base + len(self.guard.streams[direction].approved)
        for low, high in blocks:
            at, end = max(near(low, una), passed), near(high, una)
            for start, stop in held:
                if start <= at < stop:
                    at = stop
            if at < end:
                raise DifferenceError(
                    f"a SACK block {low}..{high}, of which {end - at} are not held"
                )

    def _pass(self, direction: int, packet: Packet, how: str) -> None:
        if self.say:
            self.say(f"                {how}: {_shown(self, direction, packet)}")
        if packet.flags & RST and not self.kind.hostile:
            # At once: on a slow way the receiver might come to expect just this number.
            self.network.push(self.now, TO_END + direction, packet)
            return
        self.network.send(self.now, TO_END + direction, [packet])

    def _event(self, event: Event) -> None:
        self.events.append(event)
        if self.say:
            self.say(f"                event: {event}")
        if isinstance(event, Uninspected):
            for stream in self.guard.streams:
                stream.free = len(stream.approved)

    def _receive(self, direction: int, packet: Packet) -> None:
        end = self.ends[direction]
        end.receive(packet, self.now)
        if self.say:
            name = "server" if direction == 0 else "client"
            self.say(f"{self.now:12.4f}  {name} gets {_shown(self, direction, packet)}")
        self._depart(1 - direction, end)

    def _tell(self, direction: int, packet: Packet, marks: Marks, gso: bool) -> None:
        assert self.say is not None
        who = ("client", "server")[direction]
        extra = (
            " forged" * (marks.forger is not None) + " damaged" * bool(marks.damage) + " gso" * gso
        )
        self.say(f"{self.now:12.4f}  from {who}{extra}: {_shown(self, direction, packet)}")

    # ---- judging

    def _judge(self) -> None:
        kind = self.kind
        ends = [event for event in self.events if isinstance(event, ConnectionTornDown)]
        if kind.hostile or any(event.reason is TeardownReason.SYN_TIMEOUT for event in ends):
            self._judge_hostile()  # a handshake may take longer than the filter waits for it
            return
        requests, replies = bytes(self.server.received), bytes(self.client.received)
        fault = self._compare(requests, replies)
        if fault:
            raise DifferenceError(fault)
        closes = [event for event in self.events if isinstance(event, InspectionClosed)]
        if len(closes) != kind.closed:
            raise DifferenceError(f"closed {len(closes)} times")
        if kind.closed:
            return
        if not (self.client.done and self.server.done):
            raise DifferenceError(f"not done: {_state(self.client)}; {_state(self.server)}")
        if [event.reason for event in ends] != [TeardownReason.TCP_FINS]:
            raise DifferenceError(f"ended by {ends}")
        inspected = self.guard.streams[0].free is None
        if inspected and ends[0].bytes_passed != len(requests) + len(replies):
            raise DifferenceError(f"{ends[0]} counts not {len(requests) + len(replies)} bytes")
        if not self.forged and any(isinstance(event, ConflictingBytes) for event in self.events):
            raise DifferenceError("an honest repetition is taken for a conflict")

    def _compare(self, requests: bytes, replies: bytes) -> str:
        """What differs from the oracle; empty if nothing does."""
        sent, answered = bytes(self.client.stream), bytes(self.server.stream)
        if self.script is None:
            ideal_requests = sent.partition(b"#")[0].swapcase()
            if self.kind.closed:
                if not ideal_requests.startswith(requests):
                    return f"the server got {requests!r}"
                if replies.count(b"+") != answered.count(b"+"):
                    return f"{answered.count(b'+')} replies, {replies.count(b'+')} arrived"
                if not answered.swapcase().startswith(replies):
                    return f"the client got {replies!r}"
                return ""
            if requests != ideal_requests:
                return f"the server got {requests!r} instead of {ideal_requests!r}"
            if replies != answered.swapcase():
                return f"the client got {replies!r} instead of {answered.swapcase()!r}"
            return ""
        whole = mail.ideal(self.script)
        by_byte = mail.ideal(self.script, by_byte=True)
        if self.kind.closed:
            end = whole.said.find(self.script.fatal) + len(self.script.fatal) - 1
            if len(requests) > end:
                return f"the server got {len(requests)} bytes, {end} are lawful"
            tail = bytes(whole.said[len(whole.requests) : end])
            whole.requests += tail
            by_byte.requests += tail
        fault = mail.agrees(requests, whole.requests, by_byte.requests, whole.said)
        if fault:
            return f"the server got {fault}"
        fault = mail.agrees(replies, whole.replies, by_byte.replies, whole.answered)
        if fault:
            return f"the client got {fault}"
        if len(replies) != len(answered):
            return f"{len(answered)} bytes of replies, {len(replies)} arrived"
        if self.kind.closed:
            return ""
        inspected = len(whole.requests)
        if requests[inspected:] != bytes(whole.said[inspected:]):
            return f"behind the inspected part the server got {requests[inspected:]!r}"
        return "" if len(requests) == len(whole.said) else "requests are missing"

    def _judge_hostile(self) -> None:
        for stream, arrived in zip(self.guard.streams, self.arrived, strict=True):
            approved, got = stream.approved, stream.receiver.received
            if stream.free is not None:
                got = got[: stream.free]
            for at, byte in enumerate(got):
                if at >= len(approved) or (
                    byte != approved[at] and (byte != 0x58 or at >= stream.conceded)
                ):
                    raise DifferenceError(
                        f"received {bytes(got[at : at + 30])!r} at {at}, approved is "
                        f"{bytes(approved[at : at + 30])!r}"
                    )
            if self.inspector is None:
                continue
            index = 0 if stream is self.guard.streams[0] else 1
            if isinstance(self.inspector, Recorder):
                read = self.inspector.heard[index]
            else:
                read = approved.swapcase()
            unseen = _unsupported(bytes(read), arrived)
            if unseen is not None:
                raise DifferenceError(f"inspection has read at {unseen} what nobody sent")

    def _finish(self) -> None:
        """Nothing may be left, neither after all timeouts nor where the filter is stopped before."""
        engine = self.engine
        if self.random.random() < 0.5:
            self._act(engine.flush(self.now))
            if self.waiting:
                raise DifferenceError("flushed, and something still waits")
        for _ in range(1000):
            deadline = engine.deadline()
            if deadline is None:
                break
            self.now = max(self.now, deadline)
            self._act(engine.tick(self.now))
        if engine.connections or engine.ledger != Ledger() or self.waiting:
            raise DifferenceError(
                f"left: {engine.connections} connections, {engine.ledger}, {len(self.waiting)} wait"
            )

    def add_to(self, tally: Tally) -> None:
        tally.sessions += 1
        tally.segments += self.tokens
        tally.held += self.held
        tally.forged += self.forged
        tally.injected += self.injected
        for event in self.events:
            tally.conflicts += isinstance(event, ConflictingBytes)
            tally.closed += isinstance(event, InspectionClosed)
        for reason, count in self.drops.items():
            tally.drops[reason] = tally.drops.get(reason, 0) + count


def _unsupported(read: bytes, arrived: list[tuple[int, bytes]]) -> int | None:
    """The first place of what inspection has read that no packet brought so; None if all is."""
    missing = bytearray(b"\1") * len(read)
    for start, payload in arrived:
        begin = max(start, 0)
        end = min(start + len(payload), len(read))
        if begin >= end:
            continue
        part = payload[begin - start : end - start]
        if read[begin:end] == part:
            missing[begin:end] = bytes(end - begin)
        else:
            for at, byte in enumerate(part, begin):
                if read[at] == byte:
                    missing[at] = 0
    at = missing.find(b"\1")
    return None if at < 0 else at


def _unusual(settings: object) -> str:
    """The fields of a dataclass that are not as by default."""
    ordinary = type(settings)()
    return ", ".join(
        f"{field.name} {getattr(settings, field.name)}"
        for field in fields(settings)  # type: ignore[arg-type]
        if getattr(settings, field.name) != getattr(ordinary, field.name)
    )


def _state(end: Stack) -> str:
    return (
        f"state {end.state}, una +{end.una - end.base} of {len(end.stream)}, "
        f"closing {end.closing}, gave up {end.gave_up}, reset {end.reset}, "
        f"unread {len(end.unread)}, peer's FIN {end.peer_fin}"
    )


def _numbers(packet: Packet) -> str:
    flags = " ".join(name for bit, name in enumerate(FLAGS) if packet.flags >> bit & 1)
    return f"{packet.sequence} +{len(packet.payload)} {flags}"


def _shown(session: Session, direction: int, packet: Packet) -> str:
    """With offsets instead of numbers."""
    sender, receiver = session.ends[1 - direction], session.ends[direction]
    start = near(packet.sequence, sender.base) - sender.base
    flags = " ".join(name for bit, name in enumerate(FLAGS) if packet.flags >> bit & 1)
    acknowledgment = near(packet.acknowledgment, receiver.base) - receiver.base
    text = f"{start}..{start + len(packet.payload)} {flags}"
    if packet.flags & ACK:
        text += f" ack {acknowledgment}"
    text += f" win {packet.window}"
    if packet.options:
        text += f" opt {packet.options.hex()}"
    if packet.payload:
        shown = packet.payload if len(packet.payload) <= 60 else packet.payload[:57] + b"..."
        text += f" {shown!r}"
    return text


def run_many(seeds: range, tally: Tally, *, most: int = 10) -> list[str]:
    """The differences among these sessions, each as text that begins with what to call; ``most`` of
    them."""
    differences = []
    for seed in seeds:
        try:
            Session(seed).run().add_to(tally)
        except DifferenceError as error:
            differences.append(f"python -m tests.fuzz --seed {seed}\n{error}")
            if len(differences) == most:
                break
    return differences
