"""An engine that intercepts the first connection on a bridge (`nfinspect.flow.intercept`), and so translates the
server's numbers for its life.

For whoever drives it here, client and server have the same numbers, and one handshake: both handshakes
that are really made stay in here. The number of the SYN-ACK to the client is chosen to be the server's,
and the server's own numbers, as the engine sees them, are others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nfinspect.actions import Accept, Action, Drop, DropReason, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.flow.intercept import answer
from nfinspect.packet.checksum import tcp_checksum_valid
from nfinspect.packet.craft import craft_acknowledgment
from nfinspect.packet.options import SynOptions, syn_options
from nfinspect.packet.renumber import renumbered, with_sack_shifted
from nfinspect.packet.segment import ACK, FIN, RST, SYN, Segment, parse
from nfinspect.tcp.proxy import Proxied
from tests.fuzz.translation import SERVER_PORT, shifted

LINKS = {False: b"\2\0\0\0\0\1", True: b"\2\0\0\0\0\2"}
"""Of the client and of the server."""
MASK = 0xFFFF_FFFF


class Intercepting:
    """Drives the engine as `Engine` would be driven.

    *initial* tells the server's initial number at any time, *offset* is what its own, as the engine sees it,
    has more; *server* is what its SYN-ACK offers. *outside* is the clients' device.
    """

    def __init__(
        self,
        engine: Engine,
        initial: Callable[[], int],
        offset: int,
        server: SynOptions,
        outside: str,
    ) -> None:
        self._engine = engine
        self._initial, self._offset = initial, offset
        self._server, self._outside = server, outside
        self._begun = False
        self.translated = 0
        """Packets that have been translated."""
        engine.interceptions.random = lambda size: self._initial().to_bytes(4, "big")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def _found(self, segment: Segment) -> Proxied | None:
        found: Proxied | None = self._engine._core.proxy.translated.get(segment.key)
        return found

    def arrive(self, arrival: Arrival) -> list[Action]:
        segment = parse(arrival.datagram, arrival.captured_length)
        inside = arrival.ingress != self._outside
        arrival.link_source = LINKS[inside]
        if not isinstance(segment, Segment):
            return self._engine.arrive(arrival)
        if self._is_first(arrival, segment):
            self._begun = True
            return self._intercept(arrival, segment)
        found = self._found(segment)
        from_server = segment.source_port == SERVER_PORT
        if found is None:
            return self._engine.arrive(arrival)
        ready = found.ready
        if from_server:
            original = arrival.datagram
            arrival.datagram = shifted(segment, self._offset, with_checksum=arrival.checksum_ready)
            actions = self._engine.arrive(arrival)
            if segment.flags & SYN:
                return self._answered(arrival, original, actions)
        else:
            actions = self._engine.arrive(arrival)
        if not ready:
            return [action for action in actions if not isinstance(action, Inject)]
        if self._found(segment) is not found:
            return actions
        return self._translated(actions, arrival)

    def _is_first(self, arrival: Arrival, segment: Segment) -> bool:
        """Whether this SYN, which opens a connection, is to be intercepted."""
        return (
            not self._begun
            and segment.flags & (SYN | ACK | RST | FIN) == SYN
            and segment.destination_port == SERVER_PORT != segment.source_port
            and arrival.ingress == self._outside
            and segment.key not in self._engine._core.table.streams
            and (not arrival.checksum_ready or tcp_checksum_valid(segment))
        )

    def _intercept(self, arrival: Arrival, segment: Segment) -> list[Action]:
        """Complete the handshake with the client; its acknowledgement becomes the SYN."""
        core = self._engine._core
        self._engine.interceptions.answers(
            segment.destination, SERVER_PORT, self._server, LINKS[True]
        )
        actions = core.begin(arrival.now, arrival.token)
        assert answer(core, arrival, segment)
        (syn_ack,) = (parse(action.datagram) for action in actions if isinstance(action, Inject))
        assert isinstance(syn_ack, Segment)
        assert syn_ack.sequence == self._initial()
        told = syn_options(syn_ack).window_scale is not None
        scale = syn_options(segment).window_scale or 0 if told else 0
        acknowledgment = craft_acknowledgment(
            segment.key,
            sequence=segment.sequence + 1 & MASK,
            acknowledgment=syn_ack.sequence + 1 & MASK,
            window=segment.window >> scale,
            hop_limit=segment.hop_limit,
        )
        again = Arrival(
            arrival.token,
            acknowledgment,
            arrival.now,
            ingress=arrival.ingress,
            egress=arrival.egress,
            link_source=arrival.link_source,
        )
        return [each for each in self._engine.arrive(again) if not isinstance(each, Inject)]

    def _answered(self, arrival: Arrival, original: bytes, actions: list[Action]) -> list[Action]:
        """The server's SYN-ACK stands for what the filter makes of it, for the client waits for it."""
        found: list[Action] = []
        for action in actions:
            if isinstance(action, Inject):
                continue
            intercepted = isinstance(action, Drop) and action.reason is DropReason.INTERCEPTED
            if isinstance(action, Replace | Accept) or intercepted:
                arrival.datagram = original
                found.append(Accept(arrival.token))
            else:
                found.append(action)
        return found

    def tick(self, now: float) -> list[Action]:
        return self._translated(self._engine.tick(now))

    def flush(self, now: float) -> list[Action]:
        """Without the RSTs to both ends, which end them."""
        return [each for each in self._engine.flush(now) if not isinstance(each, Inject)]

    def _translated(self, actions: list[Action], arrival: Arrival | None = None) -> list[Action]:
        """What goes to the server, in numbers that it knows."""
        kept: list[Action] = []
        for action in actions:
            if isinstance(action, Replace | Inject):
                segment = parse(action.datagram)
                assert isinstance(segment, Segment)
                if segment.destination_port == SERVER_PORT:
                    action.datagram = self._back(segment)
                    self.translated += 1
                elif isinstance(action, Inject) and self._asks(segment):
                    continue
            else:
                assert isinstance(action, Emit | Drop), "a packet passes that is not translated"
            kept.append(action)
        return kept

    def _asks(self, segment: Segment) -> bool:
        """Whether it asks the client for another acknowledgement, as the server has not answered."""
        found = self._found(segment)
        return found is None or not found.ready

    def _back(self, segment: Segment) -> bytes:
        if not segment.flags & ACK:
            return segment.datagram
        return renumbered(
            segment,
            sequence=segment.sequence,
            acknowledgment=segment.acknowledgment - self._offset & MASK,
            window=segment.window,
            options=with_sack_shifted(segment.options, -self._offset),
            verified=True,
        ).datagram
