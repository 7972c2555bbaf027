"""Whom TCP intercept protects, and how their server answers (docs/appliance.md, section 5).

Where packets are routed the kernel's SYNPROXY does it: it answers SYNs with cookies, and connects a client
that completes the handshake to the server. The engine says for whom, the driver tells the kernel. On a
bridge the filter does it itself (`proxy`). It begins at an embryonic limit, and ends when no more than half
as many connections are embryonic, those included that would be if nobody answered: as long as a flood
lasts, nothing of it passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from nfinspect.packet.options import SynOptions

MOST: Final = 16_384
"""Targets at a time, and servers whose options are known; further ones are not intercepted."""

AFTERWARDS: Final = 5.0
"""Seconds after the end in which servers still answer SYNs of the proxy."""

UNKNOWN_END: Final = -1.0
"""A target has ended since `Interceptions.settle` was called."""


class Target(NamedTuple):
    """Whose SYNs are intercepted."""

    client: bytes
    """Empty: those of all clients."""
    server: bytes
    port: int


class Intercepted(NamedTuple):
    """What the driver needs to know of a target."""

    mapped: tuple[bytes, int] | None
    """The server's address and port beyond a static translation; clients address these."""
    options: SynOptions | None
    """What the server's last SYN-ACK offered; None if none has been seen."""
    largest_mss: int = 0
    """The largest MSS that may be announced; 0: as large as the server's."""


class Known(NamedTuple):
    """How a server answers."""

    options: SynOptions
    """What its last SYN-ACK offered."""
    link: bytes
    """On a bridge: the link-layer address that the SYN-ACK came from."""


class Interceptions:
    """All targets of the moment."""

    __slots__ = (
        "_by_count",
        "_ended",
        "_known",
        "_left",
        "_unproven",
        "_unproven_here",
        "active",
        "changes",
        "here",
        "possible",
        "random",
    )

    def __init__(self) -> None:
        self.possible = False
        """Whether the driver can intercept; else SYNs above an embryonic limit pass."""
        self.active: dict[Target, Intercepted] = {}
        """Those of the kernel."""
        self.here: set[Target] = set()
        """Those of the filter itself."""
        self.random: Callable[[int], bytes] | None = None
        """Returns so many random bytes; None if the driver cannot carry packets of the filter's own."""
        self.changes = 0
        """How often ``active`` has changed."""
        self._by_count: dict[bytes, set[Target]] = {}
        """By the key of the count that has reached its limit."""
        self._left: dict[bytes, tuple[int, int]] = {}
        """By the same key: what was left of the count as it fell last, and its limit."""
        self._unproven = self._unproven_here = 0
        self._ended: dict[Target, tuple[Intercepted, float]] = {}
        """Until when the server may still answer the proxy."""
        self._known: dict[tuple[bytes, int], Known] = {}

    def answers(self, server: bytes, port: int, offered: SynOptions, link: bytes = b"") -> None:
        """A server's SYN-ACK offers these options, and comes from this link-layer address, if that is
        known."""
        known = self._known
        before = known.get((server, port))
        found = Known(offered, link or (b"" if before is None else before.link))
        if before != found and (len(known) < MOST or before is not None):
            known[server, port] = found

    def known(self, server: bytes, port: int) -> Known | None:
        """How a server answers; None if it has not been seen."""
        return self._known.get((server, port))

    def begin(
        self, target: Target, key: bytes, mapped: tuple[bytes, int] | None, largest_mss: int = 0
    ) -> bool:
        """Intercept until the count of *key* has fallen. False if it cannot be done."""
        if not self.possible:
            return False
        self._ended.pop(target, None)
        if target not in self.active:
            if len(self.active) + len(self._ended) >= MOST:
                return False
            known = self.known(target.server, target.port)
            options = None if known is None else known.options
            self.active[target] = Intercepted(mapped, options, largest_mss)
            self.changes += 1
        self._by_count.setdefault(key, set()).add(target)
        self._left.pop(key, None)
        return True

    def begin_here(self, target: Target, key: bytes) -> None:
        """The same by the filter itself. At the bound, SYNs are intercepted at the limit only."""
        if target in self.here or len(self.here) < MOST:
            self.here.add(target)
            self._by_count.setdefault(key, set()).add(target)
            self._left.pop(key, None)

    def lasts_here(self, client: bytes, server: bytes, port: int) -> bool:
        """Whether the filter itself intercepts these SYNs, though no limit is exceeded any more."""
        here = self.here
        return Target(b"", server, port) in here or Target(client, server, port) in here

    def fallen(self, key: bytes, left: int, allowed: int) -> None:
        """So many embryonic connections of a count are left."""
        if key not in self._by_count:
            return
        if left + self._unproven + self._unproven_here > allowed // 2:
            self._left[key] = left, allowed
            return
        self._left.pop(key, None)
        for target in self._by_count.pop(key):
            if not any(target in others for others in self._by_count.values()):
                if target in self.here:
                    self.here.discard(target)
                    continue
                self._ended[target] = self.active.pop(target), UNKNOWN_END
                self.changes += 1

    def answered(self, unproven: int) -> None:
        """So many connections to all targets would be embryonic, too, if the kernel did not answer their
        SYNs; told by the driver from time to time."""
        self._unproven = unproven
        self._look_again()

    def answered_here(self, unproven: int) -> None:
        """The same of the filter itself."""
        if unproven != self._unproven_here:
            self._unproven_here = unproven
            self._look_again()

    def _look_again(self) -> None:
        for key, (left, allowed) in list(self._left.items()):
            self.fallen(key, left, allowed)

    def settle(self, now: float) -> None:
        """Forget what ended long ago; called by the driver from time to time."""
        for target, (known, until) in list(self._ended.items()):
            if until == UNKNOWN_END:
                self._ended[target] = known, now + AFTERWARDS
            elif until <= now:
                del self._ended[target]
                self.changes += 1

    def targets(self, scope: bytes | None = None) -> list[Target]:
        """All of the moment, in order; only those of counts whose key holds this scope's."""
        found = set(self.active) | self.here
        if scope is not None:
            counted = [
                t for key, some in self._by_count.items() if key[1:].startswith(scope) for t in some
            ]
            found.intersection_update(counted)
        return sorted(found)

    def served(self) -> dict[Target, Intercepted]:
        """For whom clients' answers to the proxy may still come."""
        return {target: known for target, (known, _) in self._ended.items()} | self.active

    def give_up(self) -> None:
        """The kernel cannot intercept: all its targets are forgotten, until they are named again."""
        self.possible = False
        self.changes += 1
        for key, targets in list(self._by_count.items()):
            targets -= self.active.keys()
            if not targets:
                del self._by_count[key]
        self.active.clear()
        self._left = {key: left for key, left in self._left.items() if key in self._by_count}
        self._unproven = 0
        self._ended.clear()

    def proven(self, client: bytes, server: bytes, port: int) -> bool:
        """Whether the proxy may have connected this client, so that its SYN never came by."""
        if not self.active and not self._ended:
            return False
        for target in (Target(b"", server, port), Target(client, server, port)):
            if target in self.active or target in self._ended:
                return True
        return False
