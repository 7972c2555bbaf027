"""The state that all steps share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from nfinspect.arrival import Arrival
from nfinspect.events import Endpoint
from nfinspect.flow.waiting import Waiting
from nfinspect.packet.segment import Segment
from nfinspect.policy import classify
from nfinspect.policy.model import Inspection, Plan, Policy
from nfinspect.tcp.connection import InspectionTotals
from nfinspect.tcp.hold import Holding
from nfinspect.tcp.limits import Ledger, Limits
from nfinspect.tcp.table import Table

INSIDE, OUTSIDE = "inside", "outside"
"""The servers' side and the clients' side, where no interfaces are configured or known."""
CACHED_SERVERS = 256
"""Server endpoints kept in the cache."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    recorded: bool = False
    """The packets come from a capture, whose endpoints cannot react to the filter."""
    transcript: bool = False
    """Emit every command and reply line (``CommandSeen``, ``ReplySeen``), and every
    end of a message (``MessageSeen``)."""
    limits: Limits = field(default_factory=Limits)


class Core:
    """The engine's state."""

    __slots__ = (
        "classifier",
        "connection_number",
        "holding",
        "interfaces",
        "ledger",
        "levels",
        "options",
        "pickup_until",
        "policy",
        "table",
        "totals",
        "waiting",
    )

    def __init__(self, policy: Policy, options: EngineOptions, started: float) -> None:
        self.policy = policy
        self.options = options
        self.classifier = classify.Classifier(policy)
        self.interfaces = {i.device: i.name for i in policy.interfaces}
        """Names by Linux interface."""
        self.levels = {i.name: i.level for i in policy.interfaces}
        """Security levels by name."""
        self.totals: dict[Inspection, InspectionTotals] = {
            inspection: InspectionTotals() for inspection in policy.inspections
        }
        self.table = Table(options.limits)
        self.ledger = Ledger()
        self.holding = Holding(options.limits, self.ledger)
        self.pickup_until = started + policy.midstream_pickup
        self.waiting = Waiting()
        self.connection_number = 0

    def plan(self, client: Endpoint, server: Endpoint) -> Plan:
        """What applies to a connection; asked once for each."""
        return self.classifier.plan(
            classify.Connection(
                4 if len(client.address) == 4 else 6,
                int.from_bytes(client.address),
                client.port,
                int.from_bytes(server.address),
                server.port,
                client.interface,
                server.interface,
            )
        )

    def is_outbound(self, client: Endpoint, server: Endpoint) -> bool:
        """Whether a connection is begun from the side of higher security."""
        levels = self.levels
        return levels.get(client.interface, 0) > levels.get(server.interface, 0)

    def endpoints(self, arrival: Arrival, segment: Segment) -> tuple[Endpoint, Endpoint]:
        """Source and destination, with the names of the interfaces between which the segment goes.
        If none are configured, or known, servers are inside, and all other hosts outside."""
        to_server = self.policy.plan(segment.destination_port) is not None
        near, far = (OUTSIDE, INSIDE) if to_server else (INSIDE, OUTSIDE)
        if self.interfaces:
            near = self.interfaces.get(arrival.ingress, arrival.ingress) or near
            far = self.interfaces.get(arrival.egress, arrival.egress) or far
        source = near, segment.source, segment.source_port
        destination = far, segment.destination, segment.destination_port
        if to_server:
            return Endpoint(*source), _server(*destination)
        return _server(*source), Endpoint(*destination)


@lru_cache(CACHED_SERVERS)
def _server(interface: str, address: bytes, port: int) -> Endpoint:
    """One object shared by all connections of this server."""
    return Endpoint(interface, address, port)
