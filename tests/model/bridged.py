"""A filter on a bridge between two ends, with a server that is attacked: each SYN is intercepted."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

from nfinspect.actions import Accept, Drop, DropReason, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine, EngineOptions
from nfinspect.events import Direction, Event
from nfinspect.policy import parse_policy
from nfinspect.tcp.limits import Limits
from tests.fuzz.packets import ACK, RST, SYN, Packet, Path
from tests.model.stack import OVER, Habits, Stack

CONFIGURATION = """
policy-map global_policy
 class class-default
  set connection embryonic-conn-max {} {}
"""
CLIENT, SERVER = (bytes([192, 0, 2, 1]), 40000), (bytes([198, 51, 100, 25]), 25)
OUTSIDE, INSIDE = "outside", "inside"
CLIENT_LINK, SERVER_LINK = b"\2\0\0\0\1\x10", b"\2\0\0\0\2\x25"
LINKS = (CLIENT_LINK, SERVER_LINK)
DELAY = 0.01
GREETING = b"220 mail.example\r\n"
LINE, HELPED = b"x" * 70 + b" \r\n", b"214-help \r\n"
SAID = (
    b"EXPN root\r\n",
    b"MAIL FROM:<a@client.example>\r\n",
    b"RCPT TO:<b@mail.example>\r\n",
    b"DATA\r\n",
    LINE * 1000 + b".\r\n",
    b"HELP\r\n",
    b"QUIT\r\n",
)
ANSWERED = (
    b"502 no\r\n",
    b"250 ok\r\n",
    b"250 ok\r\n",
    b"354 go on\r\n",
    b"250 ok\r\n",
    HELPED * 3000 + b"214 end\r\n",
    b"221 bye\r\n",
)
START = 1000.0

TO_SERVER, TO_CLIENT = 0, 1
Loses = Callable[[int, int], bool]
"""Asked of each packet behind the filter: its direction, and the how manieth in it is it."""


def attacked(*, half_open: int = 10, limit: int = 1, more: str = "") -> Engine:
    """An engine whose server has answered a SYN, with a scale of 7, SACK and timestamps, and has one embryonic
    connection."""
    engine = Engine(
        parse_policy(CONFIGURATION.format(limit, more), "a.cfg").policy,
        EngineOptions(limits=Limits(half_open=half_open)),
        started=0.0,
    )
    engine.interceptions.random = Random(1).randbytes
    syn = Packet(1, 0, SYN, 1000)
    other = (bytes([192, 0, 2, 99]), 1)
    answer = Packet(1, 2, SYN | ACK, 1000, b"\2\4\5\xb4\4\2\x08\x0a" + bytes(8) + b"\1\3\3\7")
    for path, packet, side in (
        (Path(other, SERVER), syn, 0),
        (Path(SERVER, other), answer, 1),
    ):
        actions = engine.arrive(arrival(0, path.build(packet), START, side))
        assert any(isinstance(action, Accept | Replace) for action in actions)
    return engine


def arrival(token: object, datagram: bytes, now: float, side: int, **known: bool) -> Arrival:
    devices = (OUTSIDE, INSIDE) if side == 0 else (INSIDE, OUTSIDE)
    return Arrival(
        token,
        datagram,
        now,
        ingress=devices[0],
        egress=devices[1],
        link_source=LINKS[side],
        **known,
    )


class Bridged:
    """Two ends that talk through the filter. The client sends 73 kB and gets 36 kB, and both end."""

    def __init__(
        self,
        engine: Engine,
        client: Habits | None = None,
        server: Habits | None = None,
        *,
        loses: Loses = lambda direction, number: False,
        ready: bool = True,
    ) -> None:
        self.engine, self.loses, self.ready = engine, loses, ready
        random = Random(7)
        ends = client or Habits(initial=1 << 31, scale=5), server or Habits(initial=77, scale=7)
        self.client, self.server = Stack(ends[0], random), Stack(ends[1], random)
        self.ends = (self.client, self.server)
        self.paths = (Path(CLIENT, SERVER), Path(SERVER, CLIENT))
        self.now = START
        self.tokens = 0
        self.loses_early: set[tuple[int, int]] = set()
        """Packets that are lost before the filter: who sends them, and the how manieth of his it is."""
        self.refuses = False
        """Nobody listens at the server's port."""
        self.challenges = 0
        """So many SYNs the server answers as if it knew an older connection."""
        self.stops_at = float("inf")
        """When the filter ends."""
        self.sent = [0, 0]
        self.events: list[Event] = []
        self.dropped: list[DropReason] = []
        self.left: tuple[list[Packet], list[Packet]] = ([], [])
        """What has left the filter, either way."""
        self._queue: list[tuple[float, int, int, Packet]] = []
        """When, the how manieth, the end that gets it; 2 and 3: the filter, from client and server."""
        self._number = 0
        self._origin: dict[object, tuple[int, bytes]] = {}

        said, answered = iter(SAID), iter(ANSWERED)

        def speak(data: bytes) -> bytes:
            whole = data.endswith(b"\r\n") and self.client.received[-4:] != HELPED[-4:]
            words = next(said, b"") if whole else b""
            self.client.closing = self.client.closing or words == SAID[-1]
            return words

        def reply(data: bytes) -> bytes:
            whole = data.endswith(b"\r\n") and self.server.received[-4:] != LINE[-4:]
            words = next(answered, b"") if whole else b""
            self.server.closing = self.server.closing or words == ANSWERED[-1]
            return words

        self.client.application, self.server.application = speak, reply
        self.server.write(GREETING)

    def run(self, seconds: float = 200.0) -> Bridged:
        """Until nothing happens any more."""
        self.client.connect(self.now)
        self._depart()
        until = self.now + seconds
        while True:
            timers = [end.timer for end in self.ends if end.timer is not None]
            deadline = self.engine.deadline()
            times = [*timers, *([deadline] if deadline is not None else [])]
            if self._queue:
                times.append(self._queue[0][0])
            over = self.client.state == self.server.state == OVER or (
                self.client.done and self.server.done
            )
            if not times or min(times) > until or (over and not self._queue):
                return self
            self.now = max(self.now, min(times))
            if self.now >= self.stops_at:
                self.stops_at = float("inf")
                self._act(self.engine.flush(self.now))
            if self._queue and self._queue[0][0] <= self.now:
                _, _, place, packet = heapq.heappop(self._queue)
                if place >= 2:
                    self._arrive(place - 2, packet)
                elif not (place == 1 and self._is_strange(packet)):
                    self.ends[place].receive(packet, self.now)
            elif deadline is not None and deadline <= self.now:
                self._act(self.engine.tick(self.now))
            else:
                for end in self.ends:
                    if end.timer is not None and end.timer <= self.now:
                        end.wake(self.now)
            self._depart()

    def _depart(self) -> None:
        for side, end in enumerate(self.ends):
            packets, end.out = end.out, []
            for packet in packets:
                self.sent[side] += 1
                if (side, self.sent[side]) not in self.loses_early:
                    self._push(2 + side, packet)

    def _is_strange(self, packet: Packet) -> bool:
        """Whether the server answers as one of another state."""
        if packet.flags != SYN or not (self.refuses or self.challenges):
            return False
        answer = Packet(0, packet.sequence + 1 & 0xFFFF_FFFF, RST | ACK, 0)
        if self.challenges:
            self.challenges -= 1
            answer = Packet(4711, 815, ACK, 9)
        self._push(3, answer)
        return True

    def _push(self, place: int, packet: Packet) -> None:
        self._number += 1
        heapq.heappush(self._queue, (self.now + DELAY, self._number, place, packet))

    def _arrive(self, side: int, packet: Packet) -> None:
        self.tokens += 1
        datagram = self.paths[side].build(packet, ready=self.ready)
        self._origin[self.tokens] = side, datagram
        self._act(
            self.engine.arrive(
                arrival(self.tokens, datagram, self.now, side, checksum_ready=self.ready)
            )
        )

    def _act(self, actions: list[object]) -> None:
        for action in actions:
            match action:
                case Emit(event):
                    self.events.append(event)
                case Drop(token, reason):
                    del self._origin[token]
                    self.dropped.append(reason)
                case Accept(token):
                    side, datagram = self._origin.pop(token)
                    self._pass(side, self.paths[side].read(datagram, ready=self.ready))
                case Replace(token, datagram):
                    side, _ = self._origin.pop(token)
                    self._pass(side, self.paths[side].read(datagram))
                case Inject(datagram, direction):
                    side = 0 if direction is Direction.REQUEST else 1
                    assert action.device == (INSIDE, OUTSIDE)[side]
                    assert action.link_destination == LINKS[1 - side]
                    assert action.link_source == LINKS[side]
                    self._pass(side, self.paths[side].read(datagram))

    def _pass(self, side: int, packet: Packet) -> None:
        left = self.left[side]
        left.append(packet)
        if not self.loses(side, len(left)):
            self._push(1 - side, packet)

    @property
    def complete(self) -> bool:
        """Whether everything has arrived, and both have ended."""
        requests, replies = bytes(self.server.received), bytes(self.client.received)
        return (
            requests == b"".join((b"XXXXXXXXX\r\n", *SAID[1:]))
            and replies == b"".join((b"220 ************\r\n", *ANSWERED))
            and self.client.done
            and self.server.done
        )
