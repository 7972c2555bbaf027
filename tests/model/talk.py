"""A connection played packet by packet through the engine: who sends what, and the verdicts.

Numbers are offsets: 0 is the first payload byte of a side, -1 its SYN. Both sides start just before
the 32-bit wrap, so every test crosses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from nfinspect.actions import Accept, Drop, DropReason, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.cli.configuration import default_configuration
from nfinspect.engine import Engine, EngineOptions
from nfinspect.esmtp.prepared import prepare_esmtp
from nfinspect.events import Event
from nfinspect.flow.core import Prepare
from nfinspect.policy.model import Policy
from nfinspect.tcp.inspection import StreamInspector
from tests.model.inspector import Inspections, SwapCase
from tests.model.wire import ACK, CLIENT, FIN, PSH, RST, SERVER, SYN, Packet, read

START = 2**32 - 20
LATE = 1000.0
"""A time at which connections older than the filter are no longer picked up."""


class Talk:
    make: ClassVar[Callable[[], StreamInspector] | None] = None
    """Inspects in place of the real inspector."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        now: float = LATE,
        started: float = 0.0,
        engine: Engine | None = None,
        client: tuple[bytes, int] = CLIENT,
        options: EngineOptions | None = None,
        devices: tuple[str, str] = ("", ""),
    ) -> None:
        """*devices* are the filter's interfaces to the client and to the server."""
        self.devices = devices
        policy = policy or default_configuration().policy
        prepare: Prepare = prepare_esmtp if self.make is None else Inspections(self.make)
        self.engine = engine or Engine(policy, options, started=started, prepare=prepare)
        self.now = now
        self.client_end = client
        self.next = {"client": 0, "server": 0}
        self.events: list[Event] = []
        self.actions: list[object] = []
        self.injected: list[bytes] = []
        self.passed: list[Packet] = []
        """Every packet that has passed, as it left."""
        self.tokens = 0
        self.late: dict[object, bytes | DropReason] = {}
        """Verdicts of packets that were held, by token: the payload that passed, or why none did."""
        self._sent: dict[object, bytes] = {}

    # ---- the two sides

    def client(self, payload: bytes = b"", **fields: object) -> bytes | DropReason | None:
        """Send from the client. Return the payload that passes, why none does, or None if held."""
        return self.send("client", payload, **fields)

    def server(self, payload: bytes = b"", **fields: object) -> bytes | DropReason | None:
        return self.send("server", payload, **fields)

    def send(
        self,
        side: str,
        payload: bytes = b"",
        *,
        at: int | None = None,
        ack: int | None = None,
        flags: int = ACK | PSH,
        window: int = 60000,
        options: bytes = b"",
        hop_limit: int = 64,
        bad_checksum: bool = False,
        gso: bool = False,
        checksum_ready: bool = True,
    ) -> bytes | DropReason | None:
        other = "server" if side == "client" else "client"
        if at is None:
            at = self.next[side]
            self.next[side] += len(payload) + (1 if flags & FIN else 0)
        if ack is None:
            ack = self.next[other]
        ends = (self.client_end, SERVER) if side == "client" else (SERVER, self.client_end)
        packet = Packet(
            *ends,
            START + 1 + at,
            START + 1 + ack if flags & ACK else 0,
            flags,
            window,
            payload,
            options,
            hop_limit,
        )
        ingress, egress = self.devices if side == "client" else self.devices[::-1]
        return self.arrive(
            packet.build(bad_checksum=bad_checksum),
            gso=gso,
            checksum_ready=checksum_ready,
            ingress=ingress,
            egress=egress,
        )

    def arrive(self, datagram: bytes, **known: bool | str) -> bytes | DropReason | None:
        self.tokens += 1
        self._sent[self.tokens] = datagram
        arrival = Arrival(self.tokens, datagram, self.now, **known)
        return self._verdict(self.engine.arrive(arrival), self.tokens)

    def open(self) -> Talk:
        """Perform the handshake."""
        assert self.client(flags=SYN, at=-1, options=b"\2\4\5\xb4") == b""
        assert self.server(flags=SYN | ACK, at=-1, ack=0, options=b"\2\4\5\xb4") == b""
        assert self.client(flags=ACK) == b""
        return self

    def close(self) -> Talk:
        """Send both FINs and the last ACK."""
        assert self.client(flags=FIN | ACK) == b""
        assert self.server(flags=FIN | ACK) == b""
        assert self.client(flags=ACK) == b""
        return self

    def wait(self, seconds: float) -> Talk:
        """Let time pass, with a tick at each of the engine's deadlines."""
        until = self.now + seconds
        while (deadline := self.engine.deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self._verdict(self.engine.tick(self.now), None)
        self.now = until
        self._verdict(self.engine.tick(self.now), None)
        return self

    # ---- what happened

    def emitted(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def _verdict(self, actions: list[object], token: object) -> bytes | DropReason | None:
        self.actions = actions
        result: bytes | DropReason | None = None
        for action in actions:
            verdict: bytes | DropReason
            match action:
                case Emit(event):
                    self.events.append(event)
                    continue
                case Accept(subject):
                    verdict = self._payload(self._sent.pop(subject))
                case Replace(subject, datagram):
                    del self._sent[subject]
                    verdict = self._payload(datagram)
                case Drop(subject, reason):
                    del self._sent[subject]
                    verdict = reason
                case Inject(datagram):
                    self.injected.append(datagram)
                    continue
            if subject == token:
                result = verdict
            else:
                self.late[subject] = verdict
        return result

    def _payload(self, datagram: bytes) -> bytes:
        packet = read(datagram)
        if packet is None:  # it passed unchanged, without its checksum filled in
            return datagram[20 + (datagram[32] >> 4 << 2) :]
        self.last = packet
        self.passed.append(packet)
        return packet.payload


__all__ = ["ACK", "FIN", "LATE", "PSH", "RST", "START", "SYN", "Talk"]


class SwapTalk(Talk):
    """Inspected by ``SwapCase``."""

    make = SwapCase
