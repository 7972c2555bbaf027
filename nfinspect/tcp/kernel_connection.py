"""Connections that limits count and that nobody inspects: the kernel passes their packets by itself.

Of these only the opening packets come by. Everything else connection tracking tells (`Sighting`): when
the handshake is complete, whether it is alive, and when it is over. The kernel checks sequence numbers
against windows, so a segment that the ends would ignore ends none.
"""

from __future__ import annotations

import enum
from typing import Final

from nfinspect.events import Connection
from nfinspect.policy.model import Plan
from nfinspect.tcp.connection import ESTABLISHED, SYN_RECEIVED, OpenConnection
from nfinspect.tcp.sequence import UNKNOWN

LATER: Final = 1.5
"""Seconds by which a connection's end in connection tracking, which is told in whole seconds, must have
moved to show that a packet came."""


class TrackedState(enum.IntEnum):
    """What connection tracking says of a connection."""

    OPENING = 0
    """The server has not answered."""
    ANSWERED = 1
    ESTABLISHED = 2
    """The handshake is complete; one side or both may have sent a FIN."""
    FINISHED = 3
    """Both FINs are acknowledged."""
    RESET = 4
    GONE = 5
    """It is no longer in its table."""


class Sighting:
    """What connection tracking has told of one connection."""

    __slots__ = (
        "client_closed",
        "due",
        "handle",
        "key",
        "number",
        "packets",
        "server_closed",
        "size",
        "state",
    )

    def __init__(self, key: bytes, number: int, state: TrackedState, handle: bytes) -> None:
        self.key = key
        """The key of packets from the client, as the queue shows them."""
        self.number = number
        """Of its entry there: another connection of the same ends has another one."""
        self.state = state
        self.handle = handle
        """By which the driver finds the entry."""
        self.packets = 0
        """So far, both ways; 0 if they are not counted."""
        self.size = 0
        """Bytes in these, headers included."""
        self.due = 0.0
        """When the entry ends if no packet comes; 0 if that was not told."""
        self.client_closed = False
        self.server_closed = False
        """Who has sent the first FIN."""


class KernelConnection(OpenConnection):
    """One that the kernel passes."""

    __slots__ = (
        "client_closed",
        "due",
        "handle",
        "initial",
        "known_since",
        "last_seen",
        "number",
        "packets",
        "payload_bytes",
        "server_closed",
    )

    def __init__(self, identity: Connection, key: bytes, plan: Plan, now: float) -> None:
        super().__init__(identity, key, plan, now)
        self.initial = UNKNOWN
        """The number of the client's SYN; unknown if that did not come by."""
        self.number = 0
        """Of its entry in connection tracking; 0 while that is not known."""
        self.known_since = now
        """When its entry became known."""
        self.handle = b""
        self.packets = 0
        self.payload_bytes = 0
        """Bytes of its packets, both ways, headers included."""
        self.due = 0.0
        self.last_seen = now
        """When it was last known to be alive."""
        self.client_closed = False
        self.server_closed = False

    def __repr__(self) -> str:
        return f"<KernelConnection {self.identity.number} {self.phase.name.lower()}>"

    @property
    def half_closed(self) -> bool:
        return self.client_closed or self.server_closed

    def opened_with(self, initial: int) -> None:
        """The client's SYN has come by."""
        self.initial = initial

    def count(self, sighting: Sighting) -> None:
        """Take over how much it has carried."""
        if sighting.packets >= self.packets:
            self.packets, self.payload_bytes = sighting.packets, sighting.size

    def sighted(self, sighting: Sighting, now: float) -> bool:
        """Take over what connection tracking says of it, but for its end. Returns whether its
        handshake is complete by that, and was not before."""
        if self.number != sighting.number:
            self.number = sighting.number
            self.known_since = now
        self.handle = sighting.handle
        later = sighting.due > self.due + LATER or not sighting.due
        if sighting.packets > self.packets if sighting.packets else later:
            self.last_seen = now
        self.count(sighting)
        if sighting.due:
            self.due = sighting.due
        self.client_closed = self.client_closed or sighting.client_closed
        self.server_closed = self.server_closed or sighting.server_closed
        if self.phase >= ESTABLISHED or sighting.state is TrackedState.OPENING:
            return False
        if sighting.state is TrackedState.ANSWERED:
            self.phase = SYN_RECEIVED
            return False
        self.phase = ESTABLISHED
        return True
