"""The state that all steps share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from nfinspect.events import Endpoint
from nfinspect.flow.waiting import Waiting
from nfinspect.packet.segment import Segment
from nfinspect.policy.model import Inspection, Policy
from nfinspect.tcp.connection import InspectionTotals
from nfinspect.tcp.hold import Holding
from nfinspect.tcp.limits import Ledger, Limits
from nfinspect.tcp.table import Table

INSIDE, OUTSIDE = "inside", "outside"
"""The servers' side and the clients' side, until interfaces are configured."""
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
        "connection_number",
        "holding",
        "ledger",
        "options",
        "pickup_until",
        "policy",
        "table",
        "totals",
        "waiting",
    )

    def __init__(self, policy: Policy, options: EngineOptions, started: float) -> None:
        self.totals: dict[Inspection, InspectionTotals] = {}
        self.adopt(policy)
        self.options = options
        self.table = Table(options.limits)
        self.ledger = Ledger()
        self.holding = Holding(options.limits, self.ledger)
        self.pickup_until = started + policy.midstream_pickup
        self.waiting = Waiting()
        self.connection_number = 0

    def adopt(self, policy: Policy) -> None:
        """See `Engine.adopt`. What is inspected as before counts on."""
        self.policy = policy
        self.totals = {
            inspection: self.totals.get(inspection) or InspectionTotals()
            for inspection in policy.inspections
        }

    def endpoints(self, segment: Segment) -> tuple[Endpoint, Endpoint]:
        """Source and destination: servers are inside, all other hosts outside."""
        to_server = self.policy.plan(segment.destination_port) is not None
        near, far = (OUTSIDE, INSIDE) if to_server else (INSIDE, OUTSIDE)
        source = near, segment.source, segment.source_port
        destination = far, segment.destination, segment.destination_port
        if to_server:
            return Endpoint(*source), _server(*destination)
        return _server(*source), Endpoint(*destination)


@lru_cache(CACHED_SERVERS)
def _server(interface: str, address: bytes, port: int) -> Endpoint:
    """One object shared by all connections of this server."""
    return Endpoint(interface, address, port)
