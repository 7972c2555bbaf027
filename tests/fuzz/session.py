"""One session: two ends, a hostile network, the filter between, and the judgement.

Everything follows from the seed. Its remainder tells the kind:

====================  ========================================================================
SWAP, MAIL            the network does its worst, an attacker says what must change nothing
                      (``attacker.HARMLESS``): everything arrives, as the oracle has it, and both
                      ends finish
SWAP_CLOSED, ...      the same with a violation: a beginning arrives, and nothing behind it; the
                      client gets all replies
SWAP_HOSTILE, ...     an attacker says what an end might say: the rule for bytes holds, and at the end
                      nothing is left in the filter. In some of them he is the client, and there is
                      a sequel: once the filter has forgotten the connection, which the server may
                      still have, he tries to get another one on the same addresses and ports
====================  ========================================================================

SWAP sessions are inspected by ``SwapCase``, whose approved stream is known without it; MAIL sessions
by the real inspector, whose oracle is ``mail.ideal``. In hostile sessions the approved stream is the
record of the filter's own inspector, and what that has read must have been sent so by somebody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import cast

from nfinspect.actions import Accept, Action, Drop, DropReason, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.cli.configuration import default_configuration
from nfinspect.engine import Engine, EngineOptions
from nfinspect.esmtp.clauses import Rules
from nfinspect.esmtp.inspector import Inspector
from nfinspect.esmtp.prepared import EsmtpInspection
from nfinspect.events import (
    ConflictingBytes,
    Connection,
    ConnectionBuilt,
    ConnectionTornDown,
    Direction,
    Event,
    InspectionClosed,
    Uninspected,
)
from nfinspect.packet.options import SynOptions
from nfinspect.policy.model import Inspection, InspectionMap
from nfinspect.tcp.inspection import StreamInspector
from nfinspect.tcp.limits import Ledger, Limits
from tests.fuzz import attacker, drawing, mail, showing
from tests.fuzz.drawing import Kind
from tests.fuzz.guard import DifferenceError, Guard, Stream
from tests.fuzz.interception import Intercepting
from tests.fuzz.judge import judge
from tests.fuzz.network import HOPS, NOWHERE, TO_END, TO_FILTER, Marks, Network
from tests.fuzz.packets import ACK, MASK, PSH, RST, SYN, Packet, Path
from tests.fuzz.translation import Translated
from tests.model.inspector import SwapCase
from tests.model.stack import OPEN, OVER, Stack, near, read_options

MOST_PACKETS = 20_000
"""More than a session needs that is not going round in circles."""
MOST_SECONDS = 4000.0
SWAP_POLICY = default_configuration().policy
V4 = ((bytes([192, 0, 2, 1]), 40000), (bytes([198, 51, 100, 25]), 25))
V6 = (
    (bytes.fromhex("20010db8") + bytes(11) + b"\1", 40000),
    (bytes.fromhex("20010db8") + bytes(11) + b"\2", 25),
)
NOTHING = Packet(0, 0, 0, 0)
OUTSIDE, INSIDE = "outside", "inside"
WANT_OF_ROOM = (DropReason.HOLD_BOUND, DropReason.AWAITS_REPLY, DropReason.MEMORY_BOUND)
"""Reasons that only bounds can be."""


class Recorder(Inspector):
    """The real inspector, and what it has read and approved."""

    def __init__(self, connection: Connection, rules: Rules, *, transcript: bool) -> None:
        super().__init__(connection, rules, transcript=transcript)
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


class Recording(EsmtpInspection):
    """Has a session make its inspectors."""

    def __init__(self, session: Session, inspection_map: InspectionMap, **options: bool) -> None:
        super().__init__(inspection_map, **options)
        self.session = session

    def begin(self, connection: Connection) -> StreamInspector:
        return self.session.inspect(connection, self.rules, self.transcript)


@dataclass(slots=True)
class Tally:
    """What came about, for the summary of many sessions."""

    sessions: int = 0
    segments: int = 0
    held: int = 0
    forged: int = 0
    injected: int = 0
    expired: int = 0
    """Packets that passed the filter and expired behind it."""
    sequels: int = 0
    """Sessions in which the filter has built a second connection on the same addresses."""
    reopened: int = 0
    """Server sockets opened in place of a closed one."""
    conflicts: int = 0
    closed: int = 0
    drops: dict[DropReason, int] = field(default_factory=dict)


class Session:
    def __init__(
        self,
        seed: int,
        say: Callable[[str], None] | None = None,
        *,
        intercepted: bool = False,
    ) -> None:
        """*intercepted*: the filter has made the connection as TCP intercept on a bridge does."""
        self.seed, self.say, self.intercepted = seed, say, intercepted
        self.kind = Kind(seed % len(Kind))
        self.random = random = Random(seed)
        self.events: list[Event] = []
        self.waiting: dict[int, tuple[int, Packet, bool, bytes]] = {}
        self.drops: dict[DropReason, int] = {}
        self.tokens = self.injected = self.forged = self.held = self.expired = 0
        self.now = 0.0
        self.over = False
        """What is watched is over: an attacker has answered the SYN, or a second connection has begun,
        since he has ended the first, or the filter has waited for its handshake for too long."""
        self.ended = self.second = False
        """In a session with a sequel: the filter has forgotten a connection; it has built another one.
        From then on ``judge`` compares what each server socket has delivered; ``guard`` no longer
        compares packets with the first connection."""
        self.inspectors: list[Recorder | SwapCase] = []
        self.servers: list[Stack] = []
        """Closed sockets of the server, in whose place there is a new one."""
        self.arrived: tuple[list[tuple[int, bytes]], ...] = ([], [])
        self.conflict: object = None
        """The token of the packet that was last said to bring other bytes."""
        self.beyond: object = None
        """The token of the packet that was last dropped for its numbers."""
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
        client = drawing.habits(random, verbs_whole=verbs_whole)
        server = drawing.habits(random, verbs_whole=False)
        if not kind.hostile:
            client.attempts = server.attempts = 15  # so that no endpoint gives up for lost packets
        self.tight = random.random() < 0.3
        """The filter's bounds are so small that they are met."""
        self.limits = Limits()
        if self.tight:
            self.limits = drawing.limits(random, max(client.largest, server.largest))
        options = EngineOptions(limits=self.limits, transcript=random.random() < 0.1)
        self.sequel = kind.hostile and random.random() < 0.4
        """The attacker is the client, and carries on once the filter has forgotten the connection."""
        self.picks_up = self.sequel and random.random() < 0.5
        started = 0.0 if self.picks_up else -1000.0
        self.engine: Engine | Translated | Intercepting = Engine(
            policy, options, started=started, prepare=self.prepare
        )
        own = Random(f"offset {self.seed}")
        self.offset = 0 if self.picks_up or own.random() < 0.5 else own.getrandbits(32)
        """What a device in front of the client adds to the server's sequence numbers. Drawn by
        itself, so that it changes nothing else of the session."""
        if self.intercepted:
            offered = SynOptions(server.largest, server.scale, server.sack, server.timestamps)
            self.offset = own.getrandbits(32)
            self.engine = Intercepting(
                self.engine, lambda: self.server.habits.initial, self.offset, offered, OUTSIDE
            )
        elif self.offset:
            self.engine = Translated(self.engine, self.offset)
        self.ready = random.random() > 0.1
        self.plain_large = random.random() < 0.3
        """Packets larger than a segment come without the mark of GSO."""
        self.links = {
            place + direction: drawing.link(random, verbs_whole=verbs_whole and direction == 0)
            for place in (TO_FILTER, TO_END)
            for direction in (0, 1)
        }
        self.network = Network(random, self.links)
        self.client, self.server = Stack(client, random), Stack(server, random)
        self.ends = (self.server, self.client)
        """By the direction in which they receive."""
        self._applications(self.client, self.server)
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
        if self.sequel:
            self.forgers, self.speaks_for = attacker.FINAL, (0,)

    def _applications(self, client: Stack, server: Stack) -> None:
        """Give both endpoints something to send."""
        random = self.random
        if self.script is None:
            letters = bytearray(
                random.choices(b"abcdefgHIJKLM\r\n.?", k=random.choice((3, 60, 200, 600)))
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

    def prepare(self, inspection: Inspection, transcript: bool, unfiltered: bool) -> Recording:
        return Recording(self, inspection.map, transcript=transcript, unfiltered=unfiltered)

    def inspect(self, connection: Connection, rules: Rules, transcript: bool) -> StreamInspector:
        """The inspector of a new connection."""
        if self.script is None:
            inspector: Recorder | SwapCase = SwapCase()
            approved = (inspector.requests, inspector.replies)
        else:
            inspector = Recorder(connection, rules, transcript=transcript)
            approved = inspector.approved
        self.inspectors.append(inspector)
        if len(self.inspectors) > 1:
            return inspector
        for stream, record in zip(self.guard.streams, approved, strict=True):
            stream.approved = record
        return inspector

    @property
    def approved(self) -> list[tuple[Recorder | SwapCase, bytes]]:
        """Each inspector so far, and the requests that it has approved."""
        return [
            (each, bytes(each.approved[0] if isinstance(each, Recorder) else each.requests))
            for each in self.inspectors
        ]

    @property
    def heard(self) -> tuple[bytes, bytes]:
        """What inspection has read, either way."""
        first = self.inspectors[0] if self.inspectors else None
        if isinstance(first, Recorder):
            requests, replies = first.heard
            return bytes(requests), bytes(replies)
        requests, replies = (stream.approved for stream in self.guard.streams)
        return bytes(requests.swapcase()), bytes(replies.swapcase())

    def describe(self) -> str:
        """What is out of the ordinary about it, short."""
        parts = [
            f"seed {self.seed}: {self.kind.name}, attacker {self.aggression} for {self.speaks_for}",
            f"sequel {self.sequel}, picks up {self.picks_up}",
            f"checksums {'ready' if self.ready else 'not ready'}, IPv{self.paths[0].version}",
            f"client {showing.unusual(self.client.habits)}",
            f"server {showing.unusual(self.server.habits)}",
            f"limits {showing.unusual(self.limits)}",
        ]
        names = ("client to filter", "server to filter", "filter to server", "filter to client")
        parts += [
            f"{name} {showing.unusual(link)}"
            for name, link in zip(names, self.links.values(), strict=True)
        ]
        return "\n  ".join(parts)

    # ---- running

    def run(self) -> Session:
        """To the end, and judge; DifferenceError where the filter has done what it must not."""
        try:
            self._run()
            judge(self)
            self._finish()
        except Exception as error:
            raise DifferenceError(f"{error!r}\n{self.describe()}") from error
        return self

    def _run(self) -> None:
        self.client.connect(0.0)
        self._depart(0, self.client)
        queue = self.network.queue
        engine = self.engine
        packets = 0
        while True:
            timer = None
            for end in self.ends:
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
                if place == NOWHERE:
                    self._connect_again()
                elif place < TO_END:
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
            if self.sequel and not self.ended and packet.payload and self.random.random() < 0.1:
                self._burst(packet)
            if self.random.random() < self.aggression:
                when = self.now + self.links[direction].delay * (0.5 + self.random.random())
                marks = Marks(forger=self.random.choice(self.forgers))
                if self.ended:
                    self._sequel(when, packet)
                self.network.push(when, TO_FILTER + direction, packet, marks)
                if self.crosses and direction == 1:
                    marks = Marks(forger=self.random.choice(attacker.FINAL), wrong_side=True)
                    self.network.push(when, TO_FILTER + direction, packet, marks)

    def _burst(self, packet: Packet) -> None:
        """SYN, data, RST and another opening in a row, decided before the server can answer them."""
        behind = self.now + self.links[TO_FILTER].delay + self.links[TO_FILTER].jitter
        steps = (
            (self.now, attacker.syn_again),
            (behind, attacker.exact_reset),
            (behind, self.random.choice((attacker.syn_again, *attacker.SEQUEL))),
        )
        for when, forger in steps:
            self.network.push(when, TO_FILTER, packet, Marks(forger=forger))

    def _sequel(self, when: float, packet: Packet) -> None:
        """The filter has forgotten the connection: the attacker tries to get another one."""
        random = self.random
        for _ in range(random.randint(1, 3)):
            when += random.choice((0.0, 0.0, 0.01, 0.3))
            marks = Marks(forger=random.choice(attacker.SEQUEL))
            self.network.push(when, TO_FILTER, packet, marks)
        if random.random() < 0.3:
            forger = random.choice(attacker.ASIDE)
            if forger is attacker.from_port_25:
                self._from_port_25(packet)
            else:
                side = forger is not attacker.syn_in_the_servers_name or random.random() < 0.5
                marks = Marks(forger=forger, wrong_side=side)
                self.network.push(when, TO_FILTER + 1, packet, marks)

    def _from_port_25(self, packet: Packet) -> None:
        """Where the filter cannot tell which host is the server: nothing opens a connection, and
        nothing passes if no connections are picked up."""
        scene = attacker.Scene(self.random, self.guard, 0, packet, self.script is not None)
        forged = attacker.from_port_25(scene)
        ends = V4 if self.paths[0].version == 4 else V6
        path = Path((ends[0][0], 25), ends[1])
        if self.random.random() < 0.5:
            path = Path(ends[1], (ends[0][0], 25))
        self.tokens += 1
        self.forged += 1
        arrival = Arrival(self.tokens, path.build(forged), self.now, None, True, False)
        arrival.ingress, arrival.egress = OUTSIDE, INSIDE
        passes = [a for a in self.engine.arrive(arrival) if isinstance(a, Accept | Replace)]
        opens = forged.flags & (SYN | ACK) == SYN
        if passes and (opens or not self.picks_up):
            raise DifferenceError(f"from port 25 passes {showing.numbers(forged)}")

    def _connect_again(self) -> None:
        """The client opens a new socket on the same port; the server may still have the old one."""
        random = self.random
        old = self.client
        habits = replace(
            old.habits,
            initial=random.choice(
                (
                    old.habits.initial,
                    old.nxt + random.randint(0, 1 << 20) & MASK,
                    self.server.rcv - 1 & MASK,
                    random.getrandbits(32),
                )
            ),
        )
        self._replace(Stack(habits, random), self.server)
        self.client.connect(self.now)
        self._depart(0, self.client)

    def _replace(self, client: Stack, server: Stack) -> None:
        """Put a new socket in the place of the client's or the server's."""
        spare = Stack(server.habits, self.random)
        if client is not self.client:
            self._applications(client, spare)
        else:
            self._applications(Stack(client.habits, self.random), server)
        self.client, self.server = client, server
        self.ends = (server, client)
        for stream, ends in zip(self.guard.streams, (self.ends[::-1], self.ends), strict=True):
            stream.sender, stream.receiver = ends

    def _arrive(self, direction: int, packet: Packet, marks: Marks) -> None:
        forger = cast(attacker.Forger | None, marks.forger)
        hop_limit = 64
        if forger is not None:
            if not (self.kind.hostile or self.engine.connections):
                return  # a SYN would begin another connection
            is_mail = self.script is not None
            scene = attacker.Scene(self.random, self.guard, direction, packet, is_mail)
            forged = forger(scene)
            if forged is None:
                return
            packet = forged
            if self.kind.hostile or attacker.blind(forger):
                if self.random.random() < 0.3:
                    hop_limit = self.random.choice(attacker.SHORT_LIVES)
                # Without inspection, wrong acknowledgements reach the receiver.
                heeded = not self.kind.hostile and scene.stream.free is not None
                if not (packet.flags & SYN or heeded) and self.random.random() < 0.3:
                    furthest = attacker.ORDERLY if self.kind.hostile else attacker.FURTHEST
                    packet = packet._replace(options=scene.strange_options(furthest))
        self.tokens += 1
        token = self.tokens
        sender = self.ends[1 - direction]
        large = len(packet.payload) > sender.habits.largest
        gso = large and not self.plain_large
        damage = marks.damage if self.ready else 0
        datagram = self.paths[direction].build(
            packet, damage=damage, ready=self.ready, hop_limit=hop_limit
        )
        if forger is not None:
            self.forged += 1
            if self.kind.hostile and packet.flags & ACK and not marks.wrong_side:
                self._concede(1 - direction, packet)
        if self.kind.hostile and not damage and packet.payload:
            at = near(packet.sequence, sender.base) - sender.base
            self.arrived[direction].append((at, packet.payload))
        if self.say:
            self._tell(direction, packet, marks, gso)
        self.waiting[token] = (direction, packet, bool(damage), datagram)
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
            edge = self.ends[direction].edge
            if not self.kind.hostile and near(packet.sequence, edge) > edge:
                raise DifferenceError("a packet is held that lies beyond the window")
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
        released: list[Packet | None] = [None, None]
        """The last packet that has passed, either way, if a held one may follow."""
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
                if action.device not in ("", OUTSIDE if direction else INSIDE):
                    raise DifferenceError(f"injected into the wrong side, {action.device}")
                self.injected += 1
                packet = self.guard.made(direction, action.datagram, piece=cut)
                if not (cut or self.guard.off):
                    self._check_blocks(1 - direction, packet)
                    self._check_window(self.ends[1 - direction], packet)
                self._pass(direction, packet, "says itself", action.datagram)
                continue
            if action.token not in self.waiting:
                raise DifferenceError(f"a second verdict: {action}")
            direction, packet, damaged, datagram = self.waiting.pop(action.token)  # type: ignore[arg-type]
            if self.over:
                continue
            late = arrival is None or action.token != arrival.token
            if isinstance(action, Drop):
                if action.reason in WANT_OF_ROOM and not self.tight:
                    raise DifferenceError(f"dropped with room enough: {action.reason}")
                cut = action.reason is DropReason.GSO_CUT
                if action.reason in (DropReason.OUT_OF_WINDOW, DropReason.INVALID_ACK):
                    self.beyond = action.token
                self.drops[action.reason] = self.drops.get(action.reason, 0) + 1
                if self.say:
                    self.say(
                        f"                drops {showing.numbers(packet)}: {action.reason.value}"
                    )
                continue
            if damaged:
                raise DifferenceError("a packet with a wrong checksum passes")
            if isinstance(action, Accept):
                packet = self.guard.passes(direction, datagram, ready=self.ready)
                self._pass(direction, packet, "passes", datagram)
            else:
                assert isinstance(action, Replace)
                grown = len(action.datagram) > len(datagram)
                packet = self.guard.passes(direction, action.datagram)
                if grown and not (self.intercepted and packet.flags == SYN):
                    raise DifferenceError("a packet has grown")
                self._pass(direction, packet, "passes changed", action.datagram)
            before = released[direction]
            if late and before is not None:
                _check_release(before, packet)
            if packet.payload:
                released[direction] = packet
        if not (self.over or self.guard.off):
            self.guard.settle()
        self.guard.closed = self.guard.closed or closes  # what passes at the same time was approved

    def _check_blocks(self, direction: int, packet: Packet) -> None:
        """SACK blocks of the filter's name what has passed or is held, and nothing else."""
        _, blocks = read_options(packet.options)
        if not blocks:
            return
        una = self.ends[1 - direction].una
        held = sorted(
            (near(other.sequence, una), near(other.sequence, una) + len(other.payload))
            for way, other, *_ in self.waiting.values()
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

    def _check_window(self, speaker: Stack, packet: Packet) -> None:
        """The filter opens no window wider than the end has in whose name it speaks."""
        number = near(packet.acknowledgment, speaker.rcv)
        wider = number + (packet.window << speaker.window_scale) - speaker.edge
        if wider > 0 and not self.kind.hostile:
            raise DifferenceError(f"a window announced is {wider} bytes too wide")

    def _pass(self, direction: int, packet: Packet, how: str, datagram: bytes) -> None:
        expires = self.paths[direction].hop_limit_of(datagram) <= HOPS
        if self.say:
            extra = " and expires" * expires
            self.say(f"                {how}{extra}: {self._shown(direction, packet)}")
        if expires:
            self.expired += 1
            return
        other = packet.sequence != self.ends[1 - direction].habits.initial
        if packet.flags & SYN and other and not self.sequel:
            self.over = True
        if packet.flags & RST and not self.kind.hostile:
            # At once: on a slow way the receiver might come to expect just this number.
            self.network.push(self.now, TO_END + direction, packet)
            return
        self.network.send(self.now, TO_END + direction, [packet])

    def _event(self, event: Event) -> None:
        self.events.append(event)
        if self.say:
            self.say(f"                event: {event}")
        if self.sequel and isinstance(event, ConnectionTornDown):
            self._forgotten()
        elif isinstance(event, ConnectionBuilt) and event.connection.number > 1:
            if self.sequel:
                self.second = self.guard.off = True
            else:
                self.over = True
        elif isinstance(event, Uninspected):
            for stream in self.guard.streams:
                stream.free = len(stream.approved)

    def _forgotten(self) -> None:
        """The filter has forgotten a connection; the client may open another one."""
        self.ended = self.guard.off = True
        if self.random.random() < 0.5:
            when = self.now + self.random.choice((0.0, 0.01, 1.0, 20.0, 100.0, 400.0))
            self.network.push(when, NOWHERE, NOTHING)

    def _receive(self, direction: int, packet: Packet) -> None:
        end = self.ends[direction]
        if self.sequel and direction == 0 and packet.flags & (SYN | ACK | RST) == SYN:
            if end.state == OVER or end.done or end.gave_up:
                self.servers.append(end)
                habits = replace(end.habits, initial=self.random.getrandbits(32))
                self._replace(self.client, Stack(habits, self.random))
                end = self.server
        end.receive(packet, self.now)
        if self.say:
            name = "server" if direction == 0 else "client"
            self.say(f"{self.now:12.4f}  {name} gets {self._shown(direction, packet)}")
        self._depart(1 - direction, end)

    def _shown(self, direction: int, packet: Packet) -> str:
        return showing.offsets(packet, self.ends[1 - direction], self.ends[direction])

    def _tell(self, direction: int, packet: Packet, marks: Marks, gso: bool) -> None:
        assert self.say is not None
        who = ("client", "server")[direction]
        extra = (
            " forged" * (marks.forger is not None) + " damaged" * bool(marks.damage) + " gso" * gso
        )
        self.say(f"{self.now:12.4f}  from {who}{extra}: {self._shown(direction, packet)}")

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
        tally.expired += self.expired
        tally.sequels += self.second
        tally.reopened += len(self.servers)
        for event in self.events:
            tally.conflicts += isinstance(event, ConflictingBytes)
            tally.closed += isinstance(event, InspectionClosed)
        for reason, count in self.drops.items():
            tally.drops[reason] = tally.drops.get(reason, 0) + count


def _check_release(before: Packet, packet: Packet) -> None:
    """A held packet passes behind what comes before it, and not as older than that (PAWS)."""
    if packet.sequence - before.sequence & MASK > 1 << 31:
        raise DifferenceError("held packets pass out of order")
    stamps, earlier = (read_options(each.options)[0] for each in (packet, before))
    if stamps is not None and earlier is not None and 0 < earlier[0] - stamps[0] & MASK < 1 << 31:
        raise DifferenceError("a held packet passes with a timestamp that is too old by now")


def run_many(seeds: range, tally: Tally, *, most: int = 10, intercepted: bool = False) -> list[str]:
    """The differences among these sessions, each as text that begins with what to call; ``most`` of
    them."""
    differences = []
    for seed in seeds:
        try:
            Session(seed, intercepted=intercepted).run().add_to(tally)
        except DifferenceError as error:
            how = " --intercepted" * intercepted
            differences.append(f"python -m tests.fuzz{how} --seed {seed}\n{error}")
            if len(differences) == most:
                break
    return differences
