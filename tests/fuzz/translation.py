"""An engine in front of whose clients a device adds to the server's sequence numbers, as SYNPROXY does.

The filter stands between the two: it sees the server's own numbers, and acknowledgements and SACK blocks
of the sum. For whoever drives it here, all numbers are the client's.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from nfinspect.actions import Action, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.events import Direction
from nfinspect.packet.segment import Segment, parse
from nfinspect.tcp.sequence import UNKNOWN

SERVER_PORT = 25
_LONG, _WORD = Struct("!L"), Struct("!H")


class Translated:
    """Drives the engine as `Engine` would be driven."""

    def __init__(self, engine: Engine, offset: int) -> None:
        self._engine = engine
        self._offset = offset
        self._arrived: dict[object, bool] = {}
        """Whether a packet that has no verdict yet came from the server."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def arrive(self, arrival: Arrival) -> list[Action]:
        segment = parse(arrival.datagram, arrival.captured_length)
        if not isinstance(segment, Segment):
            return self._engine.arrive(arrival)
        from_server = segment.source_port == SERVER_PORT
        if from_server:
            ready = arrival.checksum_ready
            arrival.datagram = shifted(segment, -self._offset, with_checksum=ready)
        self._arrived[arrival.token] = from_server
        actions = self._engine.arrive(arrival)
        key = segment.key if from_server else segment.reverse_key
        stream = self._engine._core.table.streams.get(key)
        if stream is not None and stream.direction is Direction.REPLY and stream.initial == UNKNOWN:
            stream.translate(self._offset)
        return self._translated(actions)

    def tick(self, now: float) -> list[Action]:
        return self._translated(self._engine.tick(now))

    def flush(self, now: float) -> list[Action]:
        return self._translated(self._engine.flush(now))

    def _translated(self, actions: list[Action]) -> list[Action]:
        for action in actions:
            if isinstance(action, Inject):
                from_server = action.direction is Direction.REPLY
            elif isinstance(action, Replace):
                from_server = self._arrived[action.token]
            else:
                continue
            if from_server:
                segment = parse(action.datagram)
                assert isinstance(segment, Segment)
                action.datagram = shifted(segment, self._offset, with_checksum=True)
        return actions


def shifted(segment: Segment, offset: int, *, with_checksum: bool) -> bytes:
    """The datagram with ``offset`` added to its sequence number. A wrong checksum stays wrong (RFC
    1624)."""
    datagram, at = bytearray(segment.datagram), segment.transport
    sequence = segment.sequence + offset & 0xFFFF_FFFF
    _LONG.pack_into(datagram, at + 4, sequence)
    if with_checksum:
        change = _folded(sequence) - _folded(segment.sequence)
        _WORD.pack_into(datagram, at + 16, (segment.checksum - change) % 0xFFFF)
    return bytes(datagram)


def _folded(number: int) -> int:
    return (number >> 16) + (number & 0xFFFF)
