"""The engine's state, which all steps share, and what the call in progress has decided so far."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from nfinspect.actions import Action, Drop, DropReason, Emit, Inject
from nfinspect.arrival import Arrival, Token
from nfinspect.events import Endpoint, Event, Mapped
from nfinspect.flow.holding import Holding
from nfinspect.flow.permissions import EngineOptions
from nfinspect.flow.waiting import Waiting
from nfinspect.packet.segment import ACK, SYN, Segment
from nfinspect.policy import classify
from nfinspect.policy.model import Inspection, Plan, Policy
from nfinspect.tcp.inspection import PreparedInspection
from nfinspect.tcp.limits import Ledger
from nfinspect.tcp.proxy import Proxy
from nfinspect.tcp.stream import Stream
from nfinspect.tcp.table import Table

INSIDE: Final = "inside"
OUTSIDE: Final = "outside"
"""The servers' side and the clients' side, where no interfaces are configured or known."""
CACHED_SERVERS: Final = 256
"""Server endpoints kept in the cache."""

Prepare = Callable[[Inspection, bool, bool], PreparedInspection]
"""Prepares an inspection of the policy for its connections; the other arguments say whether a
transcript is wanted, and whether the traffic was made without a filter in its path."""


class Core:
    __slots__ = (
        "_classifier",
        "_interfaces",
        "_levels",
        "_prepare",
        "actions",
        "connection_number",
        "forgotten",
        "holding",
        "inspections",
        "ledger",
        "now",
        "options",
        "permissions",
        "pickup_until",
        "policy",
        "proxy",
        "table",
        "token",
        "waiting",
    )

    def __init__(
        self, policy: Policy, options: EngineOptions, prepare: Prepare, started: float
    ) -> None:
        self.options = options
        self.permissions = options.permissions
        self._prepare = prepare
        self.inspections: list[tuple[Inspection, PreparedInspection]] = []
        """In the order of the policy."""
        self.adopt(policy)
        self.table = Table(options.limits)
        self.ledger = Ledger()
        self.holding = Holding(options.limits, self.ledger)
        self.waiting = Waiting()
        self.proxy = Proxy(options.limits.half_open)
        self.pickup_until = started + policy.midstream_pickup
        """Until then, connections older than the filter are picked up."""
        self.connection_number = 0
        self.forgotten: list[bytes] = []
        """Connections that the kernel passed and that have timed out, by their handles: connection
        tracking must forget them."""
        self.actions: list[Action] = []
        """What the call in progress has decided so far, in order."""
        self.now = started
        """The time of that call."""
        self.token: Token = None
        """The packet that it brought; None at a tick or a flush."""

    def begin(self, now: float, token: Token = None) -> list[Action]:
        """A call to the engine begins; returns the list that it fills."""
        self.now = now
        self.token = token
        self.actions = []
        return self.actions

    def drop(self, arrival: Arrival, reason: DropReason) -> None:
        """Drop a packet that has no passage."""
        self.actions.append(Drop(arrival.token, reason))

    def inject(self, stream: Stream, datagram: bytes) -> None:
        """Send a packet in the name of the stream's sender to its receiver."""
        receiver = stream.peer
        self.actions.append(
            Inject(
                datagram,
                stream.direction,
                receiver.device,
                receiver.link_source,
                stream.link_source,
            )
        )

    def emit(self, event: Event) -> None:
        """Report what happens to a connection by this call."""
        self.actions.append(Emit(event, self.token))

    def report_waits(self, *, all_of_them: bool) -> None:
        """Report what has waited for too long, or ``all_of_them``, at the packet at which it began
        to wait."""
        for event, token in self.waiting.due(self.now, all_of_them=all_of_them):
            self.actions.append(Emit(event, token))

    def prepared(self, inspection: Inspection) -> PreparedInspection:
        """An inspection of the policy, as prepared."""
        return next(ready for known, ready in self.inspections if known == inspection)

    def adopt(self, policy: Policy) -> None:
        """See `Engine.adopt`. What is inspected as before counts on."""
        known = self.inspections
        transcript, unfiltered = self.options.transcript, self.permissions.unfiltered
        self.inspections = [
            (
                each,
                next((ready for inspection, ready in known if inspection == each), None)
                or self._prepare(each, transcript, unfiltered),
            )
            for each in policy.inspections
        ]
        self.policy = policy
        self._classifier = classify.Classifier(policy)
        self._interfaces = {each.device: each.name for each in policy.interfaces}
        """Names by Linux interface."""
        self._levels = {each.name: each.level for each in policy.interfaces}
        """Security levels by name."""

    def plan(self, client: Endpoint, server: Endpoint) -> Plan:
        """What applies to a connection; asked once for each."""
        return self._classifier.plan(
            classify.OpeningConnection(
                4 if len(client.address) == 4 else 6,
                int.from_bytes(client.address),
                client.port,
                int.from_bytes(server.address),
                server.port,
                client.interface,
                server.interface,
            )
        )

    def mapped(self, end: Endpoint, other: Endpoint) -> Mapped | None:
        """What *end* is beyond a static translation, on the side of *other*; None if none applies."""
        if not self.policy.translations:
            return None
        size = len(end.address)
        found = self._classifier.mapped(
            4 if size == 4 else 6, int.from_bytes(end.address), end.port, other.interface
        )
        return None if found is None else Mapped(found[0].to_bytes(size), found[1])

    def is_outbound(self, client: Endpoint, server: Endpoint) -> bool:
        """Whether a connection is begun from the side of higher security."""
        levels = self._levels
        return levels.get(client.interface, 0) > levels.get(server.interface, 0)

    def endpoints(self, arrival: Arrival, segment: Segment) -> tuple[Endpoint, Endpoint]:
        """Source and destination, with the names of the interfaces between which the segment goes.
        If none are configured, or known, servers are inside, and all other hosts outside."""
        opens = segment.flags & (SYN | ACK) == SYN
        to_server = opens or self.policy.plan(segment.destination_port) is not None
        near, far = (OUTSIDE, INSIDE) if to_server else (INSIDE, OUTSIDE)
        if self._interfaces:
            near = self._interfaces.get(arrival.ingress, arrival.ingress) or near
            far = self._interfaces.get(arrival.egress, arrival.egress) or far
        source = near, segment.source, segment.source_port
        destination = far, segment.destination, segment.destination_port
        if to_server:
            return Endpoint(*source), _server(*destination)
        return _server(*source), Endpoint(*destination)


@lru_cache(CACHED_SERVERS)
def _server(interface: str, address: bytes, port: int) -> Endpoint:
    """One object shared by all connections of this server."""
    return Endpoint(interface, address, port)
