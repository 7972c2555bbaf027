"""Who may open a connection: counts, limits, and what follows when a limit is reached (docs/appliance.md,
section 5).

Connections are counted by scope: a class with ``set connection`` limits, a static with limits. A
connection in both is counted in both, so the lower limit holds. In a scope each server has its own
count of all connections and of embryonic ones, each client its own of the connections to all servers
of the scope. Whatever is open in the table is counted, from `Admission.add` to `Admission.take_back`, once each;
whoever has no limits costs nothing. An embryonic connection is a connection.

At an embryonic limit the decision is to intercept (`interception`).
"""

from __future__ import annotations

import enum
from typing import Final

from nfinspect.actions import DropReason
from nfinspect.events import LimitKind
from nfinspect.policy.model import LimitScope, Plan
from nfinspect.tcp.connection import ESTABLISHED, OpenConnection
from nfinspect.tcp.interception import Interceptions
from nfinspect.tcp.stream import NOT_YET

PER_CLIENT_EMBRYONIC_PERIOD: Final = 10.0
"""Seconds: 201012 is written once in so long (docs/appliance.md, section 7)."""


class Verdict(enum.Enum):
    """What happens to a SYN that opens a new connection."""

    ADMIT = enum.auto()
    REFUSE = enum.auto()
    """It is dropped."""
    INTERCEPT = enum.auto()
    """Only a client that completes the handshake may reach the server."""


class Decision:
    """A verdict, and the limit that has been reached, if one has."""

    __slots__ = (
        "allowed",
        "begins",
        "count",
        "key",
        "largest_mss",
        "limit",
        "log",
        "reason",
        "scope",
        "verdict",
    )

    def __init__(
        self,
        verdict: Verdict,
        reason: DropReason | None = None,
        limit: LimitKind | None = None,
        scope: LimitScope | None = None,
        count: int = 0,
        allowed: int = 0,
        key: bytes = b"",
    ) -> None:
        self.verdict = verdict
        self.reason = reason
        """Why the SYN is dropped."""
        self.limit = limit
        self.scope = scope
        self.count = count
        """Connections so far, without this one."""
        self.allowed = allowed
        self.key = key
        """Of the embryonic count that has reached its limit."""
        self.largest_mss = 0
        """To intercept: the largest MSS that may be announced; 0: as large as the server's."""
        self.begins = False
        """At an embryonic limit: the first SYN since the count was last below it."""
        self.log = True
        """Whether a line may be written."""


ADMITTED: Final = Decision(Verdict.ADMIT)


class Counts:
    """Counts by key, none of them 0: what several workers would share."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, key: bytes) -> None:
        self._counts[key] = self._counts.get(key, 0) + 1

    def take_back(self, key: bytes) -> int:
        """Returns what is left."""
        left = self._counts[key] - 1
        if left:
            self._counts[key] = left
        else:
            del self._counts[key]
        return left

    def count(self, key: bytes) -> int:
        return self._counts.get(key, 0)


# What a key begins with.
_TOTAL: Final = b"s"
_EMBRYONIC: Final = b"S"
_CLIENT: Final = b"c"
_CLIENT_EMBRYONIC: Final = b"C"


class Admission:
    """The one place that counts connections against limits. The table tells it what is added,
    established and removed."""

    __slots__ = ("_above", "_counts", "_next_line", "interceptions")

    def __init__(self, counts: Counts | None = None) -> None:
        self._counts = counts or Counts()
        self._above: set[bytes] = set()
        """Keys of embryonic counts that have reached their limit."""
        self._next_line = NOT_YET
        """When 201012 may be written again."""
        self.interceptions = Interceptions()

    @property
    def counted(self) -> int:
        """How many counts are not 0."""
        return len(self._counts) + len(self._above)

    def decide(self, plan: Plan, client: bytes, server: bytes, now: float) -> Decision:
        """What happens to a SYN from *client* to *server* (addresses). It is not counted yet, but what
        is written about its limit is."""
        found = self.refuse(plan, client, server)
        if found is not None:
            return found
        found = ADMITTED
        for scope in plan.scopes:
            found = self._embryonic(scope, client, server)
            if found is not ADMITTED:
                break
        if found.verdict is Verdict.INTERCEPT:
            self._tell(found, now)
            found.largest_mss = plan.largest_intercepted
        return found

    def refuse(self, plan: Plan, client: bytes, server: bytes) -> Decision | None:
        """Why a client that has completed the handshake gets no connection; None if it does."""
        for scope in plan.scopes:
            refused = self._refused(scope, client, server)
            if refused is not None:
                return refused
        return None

    def _embryonic(self, scope: LimitScope, client: bytes, server: bytes) -> Decision:
        limits, count = scope.limits, self._counts.count
        allowed = limits.per_client_embryonic
        if allowed:
            key = _CLIENT_EMBRYONIC + scope.key + client
            if (found := count(key)) >= allowed:
                kind = LimitKind.PER_CLIENT_EMBRYONIC
                return Decision(Verdict.INTERCEPT, None, kind, scope, found, allowed, key)
        allowed = limits.embryonic
        if allowed:
            key = _EMBRYONIC + scope.key + server
            if (found := count(key)) >= allowed:
                kind = LimitKind.EMBRYONIC
                return Decision(Verdict.INTERCEPT, None, kind, scope, found, allowed, key)
        return ADMITTED

    def _refused(self, scope: LimitScope, client: bytes, server: bytes) -> Decision | None:
        limits, count = scope.limits, self._counts.count
        allowed = limits.connections
        if allowed and (found := count(_TOTAL + scope.key + server)) >= allowed:
            return Decision(
                Verdict.REFUSE, DropReason.CONNECTION_LIMIT,
                LimitKind.CONNECTIONS, scope, found, allowed,
            )  # fmt: skip
        allowed = limits.per_client
        if allowed and (found := count(_CLIENT + scope.key + client)) >= allowed:
            return Decision(
                Verdict.REFUSE, DropReason.PER_CLIENT_LIMIT,
                LimitKind.PER_CLIENT, scope, found, allowed,
            )  # fmt: skip
        return None

    def _tell(self, decision: Decision, now: float) -> None:
        """The limit of this decision, and of no other, is being told."""
        if decision.limit is LimitKind.PER_CLIENT_EMBRYONIC:
            decision.log = now >= self._next_line
            if decision.log:
                self._next_line = now + PER_CLIENT_EMBRYONIC_PERIOD
        decision.begins = decision.key not in self._above
        self._above.add(decision.key)

    def add(self, connection: OpenConnection) -> None:
        """It enters the table, embryonic."""
        ends = connection.identity
        for scope in connection.plan.scopes:
            add, key = self._counts.add, scope.key
            add(_TOTAL + key + ends.server.address)
            add(_EMBRYONIC + key + ends.server.address)
            if scope.limits.per_client:
                add(_CLIENT + key + ends.client.address)
            if scope.limits.per_client_embryonic:
                add(_CLIENT_EMBRYONIC + key + ends.client.address)

    def establish(self, connection: OpenConnection) -> None:
        """It is no longer embryonic."""
        ends = connection.identity
        for scope in connection.plan.scopes:
            limits = scope.limits
            self._lower(_EMBRYONIC + scope.key + ends.server.address, limits.embryonic)
            allowed = limits.per_client_embryonic
            if allowed:
                self._lower(_CLIENT_EMBRYONIC + scope.key + ends.client.address, allowed)

    def take_back(self, connection: OpenConnection) -> None:
        """It is over, whatever ended it."""
        if connection.phase < ESTABLISHED:
            self.establish(connection)
        ends = connection.identity
        for scope in connection.plan.scopes:
            self._counts.take_back(_TOTAL + scope.key + ends.server.address)
            if scope.limits.per_client:
                self._counts.take_back(_CLIENT + scope.key + ends.client.address)

    def _lower(self, key: bytes, allowed: int) -> None:
        left = self._counts.take_back(key)
        if (left < allowed or not left) and self._above:
            self._above.discard(key)
        if self.interceptions.active or self.interceptions.here:
            self.interceptions.fallen(key, left, allowed)

    def connections(self, scope: LimitScope, server: bytes) -> tuple[int, int]:
        """Connections of a server in a scope: all, and those that are embryonic."""
        count = self._counts.count
        return count(_TOTAL + scope.key + server), count(_EMBRYONIC + scope.key + server)
