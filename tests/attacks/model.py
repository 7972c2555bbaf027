"""Attacks played with or without the engine to a model server with any overlap policy.

The server follows RFC 9293, 5961 and 7323; packets whose TTL is too small do not reach it. All steps
are instantaneous; only ``Wait`` lets virtual time pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nfinspect.actions import Accept, Drop, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.events import Event
from nfinspect.packet.options import SynOptions
from nfinspect.policy.configuration import parse_policy
from nfinspect.replay.capture import CaptureInterface, Frame
from nfinspect.replay.fragments import Reassembler
from tests.attacks.mail import GREETING, Mail
from tests.attacks.script import (
    ACK,
    FIN,
    PSH,
    RST,
    SYN,
    Client,
    Expect,
    Fate,
    Origin,
    Reconnect,
    Script,
    Segment,
    Send,
    Step,
    Verdict,
    Wait,
    build,
    option,
    parse_options,
    read,
    timestamps,
)
from tests.attacks.script import GREETING as GREETING_STEPS
from tests.fuzz.interception import Intercepting
from tests.fuzz.translation import Translated
from tests.model.overlap import Waiting

FIRST_INITIAL = 0x7FFFFFF0
"""The server's number in the first connection."""
CLIENT = {4: bytes((192, 0, 2, 66)), 6: bytes.fromhex("20010db8000100000000000000000066")}
SERVER = {4: bytes((198, 51, 100, 25)), 6: bytes.fromhex("20010db8000200000000000000000025")}
HOPS = 4
"""A packet with a smaller TTL does not reach the server."""
WINDOW = 65535
CONFIGURATION = """\
policy-map type inspect esmtp attacked
 parameters
  mask-banner
  no allow-tls
  midstream-pickup 0
policy-map global_policy
 class inspection_default
  inspect esmtp attacked
service-policy global_policy global
"""


@dataclass(slots=True)
class Connection:
    """The server's side of a connection."""

    mail: Mail
    waiting: Waiting
    remote: tuple[bytes, int]
    local: tuple[bytes, int]
    receive_next: int
    initial: int
    peer_scale: int | None
    recent: int | None
    sack: bool
    una: int = 0
    next: int = 0
    peer_window: int = 0
    established: bool = False
    fin_seen: bool = False
    fin_sent: bool = False
    unsent: bytearray = field(default_factory=bytearray)
    closes: bool = False


class Server:
    """A server; ``policy`` is one of those in ``tests.model.overlap``."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.connections: dict[tuple[bytes, int], Connection] = {}
        self.mails: list[Mail] = []
        self.ticks = 5000

    def receive(self, datagram: bytes) -> list[bytes]:
        packet = read(datagram)
        if packet is None or packet.hop_limit < HOPS:
            return []
        connection = self.connections.get(packet.source)
        if connection is None:
            return self._listen(packet)
        return self._segment(connection, packet)

    def _listen(self, packet: Segment) -> list[bytes]:
        if packet.flags & RST:
            return []
        if packet.flags & (SYN | ACK | FIN) != SYN:
            length = len(packet.payload) + bool(packet.flags & SYN) + bool(packet.flags & FIN)
            if packet.flags & ACK:
                number, flags, acknowledgment = packet.acknowledgment, RST, 0
            else:
                number, flags, acknowledgment = 0, RST | ACK, packet.sequence + length
            reset = Segment(packet.destination, packet.source, number, acknowledgment, flags, 0)
            return build(reset)
        offered = parse_options(packet.options)
        stamp = int.from_bytes(offered[8][:4], "big") if len(offered.get(8, b"")) == 8 else None
        connection = Connection(
            Mail(),
            Waiting(self.policy),
            packet.source,
            packet.destination,
            packet.sequence + 1,
            FIRST_INITIAL + 1000 * len(self.mails),
            offered[3][0] if 3 in offered else None,
            stamp,
            4 in offered,
            peer_window=packet.window,
        )
        connection.una = connection.next = connection.initial
        self.connections[packet.source] = connection
        return [self._send(connection, SYN | ACK)]

    def _send(self, connection: Connection, flags: int = ACK, payload: bytes = b"") -> bytes:
        options = b""
        number = connection.next
        if flags & SYN:
            number = connection.initial
            options = option(2, b"\5\xb4")
            if connection.peer_scale is not None:
                options += b"\1" + option(3, b"\7")
            connection.next = number + 1
        else:
            connection.next += len(payload) + (1 if flags & FIN else 0)
        if connection.recent is not None:
            self.ticks += 1
            options += timestamps(self.ticks, connection.recent)
        scaled = connection.peer_scale is not None and not flags & SYN
        packet = Segment(
            connection.local,
            connection.remote,
            number,
            connection.receive_next,
            flags,
            WINDOW >> 7 if scaled else WINDOW,
            payload,
            options,
        )
        return build(packet)[0]

    def _segment(self, connection: Connection, packet: Segment) -> list[bytes]:
        start = _near(packet.sequence, connection.receive_next)
        end = start + len(packet.payload)
        if packet.flags & SYN:
            same = not connection.established and start + 1 == connection.receive_next
            return [self._send(connection, SYN | ACK if same else ACK)]
        stamps = packet.stamps()
        if stamps is not None and connection.recent is not None:
            older = ((connection.recent - stamps[0] + 2**31) & 0xFFFFFFFF) - 2**31
            if older > 1 and not (packet.flags & RST and connection.established):
                return [] if packet.flags & RST else [self._send(connection)]
            if older < 0 and start <= connection.receive_next:
                connection.recent = stamps[0]
        late = connection.fin_seen and start + 1 == connection.receive_next
        if packet.flags & RST and late:  # the client's socket has been closed
            del self.connections[connection.remote]
            return []
        if end < connection.receive_next or start > connection.receive_next + WINDOW:
            return [] if packet.flags & RST else [self._send(connection)]
        if packet.flags & RST:
            edges = [high for _, high in connection.waiting.ranges()] if connection.sack else []
            if start == connection.receive_next or start in edges[-1:]:
                del self.connections[connection.remote]
                return []
            return [self._send(connection)]
        if not packet.flags & ACK:
            return []
        acknowledgment = _near(packet.acknowledgment, connection.next)
        if acknowledgment > connection.next or acknowledgment < connection.una - WINDOW:
            return [self._send(connection)]
        if not connection.established:
            if acknowledgment != connection.initial + 1:
                return []
            connection.established = True
            self.mails.append(connection.mail)
            connection.unsent += GREETING
        connection.una = max(connection.una, acknowledgment)
        connection.peer_window = packet.window << (connection.peer_scale or 0)
        answers = self._data(connection, start, packet) + self._pump(connection)
        if connection.fin_seen and connection.fin_sent and connection.una == connection.next:
            del self.connections[connection.remote]
        return answers

    def _data(self, connection: Connection, start: int, packet: Segment) -> list[bytes]:
        payload = packet.payload
        end = start + len(payload)
        if not payload and not packet.flags & FIN:
            return []
        if connection.fin_seen:
            return [self._send(connection)]
        if payload and end > connection.receive_next:
            taken = max(0, connection.receive_next - start)
            connection.waiting.add(start + taken, payload[taken:])
            fresh = connection.waiting.take(connection.receive_next)
            connection.receive_next += len(fresh)
            connection.unsent += connection.mail.feed(fresh)
        if packet.flags & FIN and end == connection.receive_next:
            connection.fin_seen = True
            connection.receive_next += 1
            connection.closes = True
        connection.closes = connection.closes or connection.mail.over
        return [self._send(connection)]

    def _pump(self, connection: Connection) -> list[bytes]:
        room = connection.una + connection.peer_window - connection.next
        payload = bytes(connection.unsent[: max(0, room)])
        del connection.unsent[: len(payload)]
        answers = [self._send(connection, ACK | PSH, payload)] if payload else []
        ready = connection.closes and not connection.unsent and room > 0
        if ready and not connection.fin_sent:
            connection.fin_sent = True
            answers.append(self._send(connection, FIN | ACK))
        return answers


def _near(number: int, reference: int) -> int:
    step = (number - reference) & 0xFFFFFFFF
    return reference + (step if step < 1 << 31 else step - (1 << 32))


@dataclass(slots=True)
class Outcome:
    """The outcome of a script."""

    received: tuple[bytes, ...]
    verdicts: list[tuple[Send, Verdict, tuple[Verdict, ...], Segment | None]]
    """Of each packet: its verdict, the verdicts of held packets that it released, and the packet as it
    left."""
    events: list[Event]
    held: int


class Play:
    """Plays one script, with or without the engine in the path."""

    def __init__(
        self,
        script: Script,
        policy: str,
        family: int,
        *,
        filtered: bool = True,
        offset: int = 0,
        intercepted: bool = False,
    ) -> None:
        """A device in front of the client adds *offset* to the server's sequence numbers, as TCP
        intercept does; or the filter itself, which has *intercepted* the connection on a bridge."""
        self.script = script
        policy_ = parse_policy(CONFIGURATION, "attacks.cfg").policy
        self.engine: Engine | Translated | Intercepting | None = None
        if filtered:
            self.engine = Engine(policy_, started=0.0)
            if intercepted:
                self.engine = Intercepting(
                    self.engine,
                    lambda: FIRST_INITIAL,
                    offset,
                    SynOptions(1460, 7, False, True),
                    "outside",
                )
            elif offset:
                self.engine = Translated(self.engine, offset)
        self.server = Server(policy)
        self.late: list[Verdict] = []
        self.answers: list[bytes] | None = None
        """The server's answers while they are delayed."""
        self.client = client_of(script, family)
        self.now = 1000.0
        self.tokens = 0
        self.waiting: dict[object, tuple[bytes, str]] = {}
        self.events: list[Event] = []
        self.verdicts: list[tuple[Send, Verdict, tuple[Verdict, ...], Segment | None]] = []

    def run(self) -> Outcome:
        """Play the script."""
        steps = steps_of(self.script)
        for step, following in zip(steps, (*steps[1:], None), strict=True):
            if isinstance(following, Send) and following.before_answer:
                self.answers = []
            self._step(step)
            if isinstance(step, Send) and step.before_answer:
                answers, self.answers = self.answers or [], None
                for answer in answers:
                    self._answer(answer)
        received = tuple(bytes(mail.read) for mail in self.server.mails)
        held = self.engine.held if self.engine else 0
        return Outcome(received, self.verdicts, self.events, held)

    def _step(self, step: Step) -> None:
        match step:
            case Send():
                self._send(step)
            case Expect():
                if self.engine is not None:  # without it the server may reply differently
                    replies = self.client.replies
                    assert self.client.has_received(step), f"{step} not received: {replies!r}"
            case Wait(seconds):
                self.now += seconds
                if self.engine is not None:
                    self._act(self.engine.tick(self.now), None)
            case Origin():
                self.client.base = self.client.next
            case Reconnect(higher):
                renew(self.client, self.script, higher)

    def _send(self, send: Send) -> None:
        datagrams = self.client.build(send)
        if send.pieces or 44 in send.chain:
            datagrams = reassembled(datagrams)
        target = "client" if send.forged or send.by_server else "server"
        verdict: Verdict = Fate.UNSEEN
        left: Segment | None = None
        self.late = []
        for datagram in datagrams:
            if self.engine is None:
                self._deliver(datagram, target)
            else:
                verdict, left = self._through(datagram, target, forged=send.forged)
        self.verdicts.append((send, verdict, tuple(self.late), left))

    def _through(
        self, datagram: bytes, target: str, *, forged: bool = False
    ) -> tuple[Verdict, Segment | None]:
        assert self.engine is not None
        self.tokens += 1
        token = self.tokens
        self.waiting[token] = (datagram, target)
        from_outside = target == "server" or forged
        ingress, egress = ("outside", "inside") if from_outside else ("inside", "outside")
        if forged:
            egress = "outside"
        arrival = Arrival(token, datagram, self.now, ingress=ingress, egress=egress)
        return self._act(self.engine.arrive(arrival), token)

    def _act(self, actions: list[object], token: object) -> tuple[Verdict, Segment | None]:
        verdict: Verdict = Fate.HELD
        left: Segment | None = None
        leaving: list[tuple[bytes, str]] = []
        for action in actions:
            match action:
                case Emit(event):
                    self.events.append(event)
                    continue
                case Inject(datagram, direction):
                    leaving.append(
                        (datagram, "server" if direction.name == "REQUEST" else "client")
                    )
                    continue
                case Accept(subject):
                    datagram, target = self.waiting.pop(subject)
                    became: Verdict = _payload(datagram)
                    leaving.append((datagram, target))
                case Replace(subject, datagram):
                    _, target = self.waiting.pop(subject)
                    became = _payload(datagram)
                    leaving.append((datagram, target))
                case Drop(subject, reason):
                    self.waiting.pop(subject)
                    became, datagram = reason, b""
            if subject == token:
                verdict, left = became, read(datagram) if datagram else None
            else:
                self.late.append(became)
        for datagram, target in leaving:
            self._deliver(datagram, target)
        return verdict, left

    def _deliver(self, datagram: bytes, target: str) -> None:
        if target == "client":
            packet = read(datagram)
            if packet is not None:
                self.client.receive(packet)
            return
        for answer in self.server.receive(datagram) if self.script.server else []:
            if self.answers is None:
                self._answer(answer)
            else:
                self.answers.append(answer)

    def _answer(self, datagram: bytes) -> None:
        if self.engine is None:
            self._deliver(datagram, "client")
        else:
            self._through(datagram, "client")


def reassembled(fragments: list[bytes]) -> list[bytes]:
    """The datagrams that the kernel passes to the filter."""
    reassembler = Reassembler()
    found = []
    for fragment in fragments:
        frame = Frame(1, 0, CaptureInterface(101, False), fragment, len(fragment))
        frame.end = len(fragment)
        decided = reassembler.add(frame, 0.0)
        if decided is not None and decided.datagram is not None:
            found.append(decided.datagram)
    return found


def _payload(datagram: bytes) -> bytes:
    packet = read(datagram)
    assert packet is not None, "what passes must have correct lengths and checksums"
    return packet.payload


def steps_of(script: Script) -> tuple[Step, ...]:
    """All steps, including the greeting."""
    return (*GREETING_STEPS, *script.steps) if script.greeting else script.steps


def client_of(script: Script, family: int, port: int = 40000) -> Client:
    client = Client(CLIENT[family], script.port or port, SERVER[family])
    if script.timestamps:
        client.stamps = 1_000_000
    return client


def renew(client: Client, script: Script, higher: int) -> None:
    """Turn *client* into that of another connection between the same ports."""
    fresh = Client(client.address, client.port, client.server)
    fresh.initial = (client.initial + higher) % 2**32
    fresh.stamps, fresh.echo = client.stamps, client.echo
    for name in Client.__slots__:
        setattr(client, name, getattr(fresh, name))
