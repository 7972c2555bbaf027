"""One TCP connection: its phase, its two streams, and who inspects them."""

from __future__ import annotations

import enum
from typing import Final

from nfinspect.events import REPLY, REQUEST, Connection
from nfinspect.policy.model import Plan
from nfinspect.tcp.inspection import PreparedInspection, StreamInspector, StreamWatcher
from nfinspect.tcp.limits import Ledger
from nfinspect.tcp.stream import Stream


class Phase(enum.IntEnum):
    """A connection's state (RFC 9293 section 3.3.2), as far as an observer can tell."""

    SYN_SENT = 0
    SYN_RECEIVED = 1
    ESTABLISHED = 2
    """The handshake is complete; one side or both may have sent a FIN."""
    CLOSED = 3
    """Inspection has closed it; outstanding replies may still pass to the client."""


# For the hot path: in CPython 3.11 ``Phase.X`` takes four times as long as a plain name.
SYN_SENT: Final = Phase.SYN_SENT
SYN_RECEIVED: Final = Phase.SYN_RECEIVED
ESTABLISHED: Final = Phase.ESTABLISHED
CLOSED: Final = Phase.CLOSED


class Farewell:
    """What the client of a closed connection was told (see `nfinspect.flow.farewell`)."""

    __slots__ = ("taken", "text")

    def __init__(self, text: bytes, taken: int) -> None:
        self.text = text
        self.taken = taken
        """The client's next sequence number: what comes before it has been acknowledged, and read by
        nobody."""


class OpenConnection:
    """What the table, its timers and the limits know of any connection."""

    __slots__ = ("created", "identity", "key", "phase", "plan", "timer")

    def __init__(self, identity: Connection, key: bytes, plan: Plan, now: float) -> None:
        self.identity = identity
        """How events name it."""
        self.key = key
        """The key of packets from the client."""
        self.plan = plan
        self.created = now
        self.phase = SYN_SENT
        self.timer = 0.0
        """When its timer in the table is due."""


class TcpConnection(OpenConnection):
    """One whose packets come by."""

    __slots__ = (
        "ack_owed",
        "awaits_offset",
        "challenge",
        "client",
        "closed_quiet",
        "farewell",
        "inspection",
        "inspector",
        "proxied",
        "reset",
        "sack_permitted",
        "server",
        "timed_by_either",
        "uninspected",
        "watcher",
    )

    def __init__(
        self, identity: Connection, key: bytes, plan: Plan, now: float, ledger: Ledger
    ) -> None:
        super().__init__(identity, key, plan, now)
        self.client = Stream(self, REQUEST, ledger)
        self.server = Stream(self, REPLY, ledger)
        self.client.join(self.server)
        self.inspection: PreparedInspection | None = None
        """What it is counted under, if it is inspected."""
        self.inspector: StreamInspector | None = None
        self.watcher: StreamWatcher | None = None
        """Who reads on for a transcript once it is no longer inspected."""
        self.farewell: Farewell | None = None
        """Inspection closed it, and the client has been told so."""
        self.closed_quiet = 0.0
        """Seconds without a packet after which a closed connection is forgotten."""
        self.challenge: int | None = None
        """The number that the server acknowledged in answer to the SYN because it still knows an
        older connection (RFC 9293 section 3.5.1); the client's RST carries it."""
        self.uninspected = plan.inspection is None
        """Bytes pass unchanged, except retransmissions of what passed under inspection."""
        self.timed_by_either = False
        """One direction may be missing, so it has not been quiet while the other is heard."""
        self.ack_owed = False
        """Inspection closed it at a packet that was the first to acknowledge a reply. The client's
        next ACK must pass, or the server would retransmit that reply for a long time."""
        self.proxied = False
        """TCP intercept connected its client, so that its SYN never came by."""
        self.awaits_offset = False
        """So what the proxy adds to the server's numbers is not known before the client's first ACK."""
        self.reset = False
        """Inspection closed it with an RST to both ends."""
        self.sack_permitted = False
        """Both ends permit SACK (RFC 2018 section 2)."""

    def __repr__(self) -> str:
        how = "uninspected" if self.uninspected else "inspected"
        state = f"{self.phase.name.lower()} {how}"
        return f"<TcpConnection {self.identity.number} {state} {self.client!r} {self.server!r}>"

    @property
    def half_closed(self) -> bool:
        return self.client.fin is not None or self.server.fin is not None

    @property
    def last_seen(self) -> float:
        """When the latest packet of either direction arrived."""
        return max(self.client.last_seen, self.server.last_seen, self.created)

    @property
    def payload_bytes(self) -> int:
        return self.client.passed + self.server.passed
