"""TCP intercept by the kernel: what the engine wants intercepted is put into rules and sets, beside the
worker's loop. On a bridge the engine does it itself, and is only given random numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import monotonic, sleep
from typing import Protocol

from nfinspect.live import ipsets, iptables, synproxy
from nfinspect.live.aside import Aside
from nfinspect.packet.options import SynOptions
from nfinspect.policy.ranges import address_text
from nfinspect.rules.interception import DEFAULT_MSS, DEFAULT_OPTIONS, LIFETIME, proxy_rules
from nfinspect.tcp.interception import Intercepted, Interceptions, Target

RENEWAL = 5.0
"""Seconds after which sets and rules are put in place again, as somebody may have replaced the rules."""

COUNTING = 1.0
"""Seconds after which the SYNs that the kernel has answered are counted again."""

PAUSE = 0.01
"""Seconds, while the filter ends and waits for the kernel."""

Servers = frozenset[tuple[bytes, int, SynOptions | None]]


class Kernel(Protocol):
    """What carries it out; `in_kernel`, or a stand-in in a test."""

    def ready(self) -> bool:
        """Whether the rules for it are in place; what an earlier filter has left is ended."""

    def unproven(self) -> int:
        """SYNs answered so far, less the handshakes completed (`synproxy.parse`)."""

    def put(self, servers: Servers, wanted: set[Target], gone: set[Target]) -> None:
        """Answer for *servers*, and intercept the SYNs of *wanted*, those of *gone* no more.

        Raises OSError, RulesError or SetsError.
        """


class InKernel:
    """The kernel of this namespace."""

    def ready(self) -> bool:
        return ipsets.emptied()

    def unproven(self) -> int:
        return synproxy.unproven()

    def put(self, servers: Servers, wanted: set[Target], gone: set[Target]) -> None:
        by_version: dict[int, list[tuple[bytes, int, SynOptions | None]]] = {4: [], 6: []}
        for each in sorted(servers, key=lambda server: server[:2]):
            by_version[4 if len(each[0]) == 4 else 6].append(each)
        rules = {version: list(proxy_rules(version, some)) for version, some in by_version.items()}
        if gone:
            ipsets.renew((), gone)
        if not iptables.fill(rules) and wanted:
            raise iptables.RulesError("its rules are not in place")
        if wanted:
            ipsets.renew(wanted, ())


class Intercept:
    """Keeps the kernel in step with the engine."""

    def __init__(
        self,
        interceptions: Interceptions,
        has_limits: Callable[[], bool],
        report: Callable[[str], None],
        kernel: Kernel | None = None,
    ) -> None:
        """*has_limits* says whether the policy has an embryonic limit."""
        self._interceptions = interceptions
        interceptions.random = os.urandom
        self._has_limits = has_limits
        self._report = report
        self._kernel = kernel or InKernel()
        self._looking: Aside[bool] = Aside("intercept")
        self._putting: Aside[set[Target]] = Aside("intercept")
        self._next_look = 0.0
        self._lately = synproxy.Lately(self._kernel.unproven)
        self._next_count = 0.0
        self._said = False
        self._trouble = ""
        """Said last, and not over."""
        self._changes = -1
        """Nothing is known of what the kernel has now."""
        self._renewal = 0.0
        self._placed: set[Target] = set()
        """What is in the sets."""
        self._told: set[Target] = set()
        """Of whom it was said that intercept has begun."""

    def begin(self) -> None:
        """Find out whether intercept is possible before the first packet."""
        if self._has_limits():
            self._next_look = monotonic() + RENEWAL
            self._found(self._kernel.ready())

    def serve(self) -> None:
        """Do what can be done without waiting."""
        interceptions, now = self._interceptions, monotonic()
        wanted = interceptions.here | interceptions.active.keys()
        if wanted != self._told:
            self._tell(wanted)
        if not interceptions.possible:
            self._look(now)
            return
        self._count(now)
        interceptions.settle(now)
        if self._putting.busy:
            self._take()
            return
        changed = interceptions.changes != self._changes
        if changed or (interceptions.active and now >= self._renewal):
            self._changes, self._renewal = interceptions.changes, now + RENEWAL
            servers, wanted = _servers(interceptions.served()), _targets(interceptions.active)
            gone = self._placed - wanted
            self._putting.start(lambda: self._put(servers, wanted, gone))

    def close(self) -> None:
        """End all of it."""
        until = monotonic() + iptables.TIMEOUT
        while self._putting.busy and monotonic() < until:
            self._take()
            sleep(PAUSE)
        if self._placed:
            gone = self._placed | _targets(self._interceptions.active)
            self._interceptions.possible = False
            try:
                self._put(frozenset(), set(), gone)
            except (OSError, iptables.RulesError, ipsets.SetsError) as error:
                self._report(f"warning: TCP intercept goes on for {LIFETIME} s: {error}")

    def _count(self, now: float) -> None:
        """Tell how large the flood is."""
        if not self._interceptions.active:
            self._lately.forget()
        elif now >= self._next_count:
            self._next_count = now + COUNTING
            self._interceptions.answered(self._lately.count(now))

    def _look(self, now: float) -> None:
        if self._looking.busy:
            ready = self._looking.take()
            if ready is not None:
                self._found(ready)
        elif now >= self._next_look and self._has_limits():
            self._next_look = now + RENEWAL
            self._looking.start(self._kernel.ready)

    def _found(self, ready: bool) -> None:
        if ready:
            self._interceptions.possible = True
            self._changes = -1
            self._said = False
        elif not self._said:
            self._said = True
            self._report(
                "notice: there are no rules for TCP intercept: at an embryonic limit SYNs pass where they"
                " are routed (nfinspect rules --apply); on a bridge the filter itself answers them"
            )

    def _take(self) -> None:
        try:
            placed = self._putting.take()
        except (OSError, iptables.RulesError, ipsets.SetsError) as error:
            self._interceptions.give_up()
            self._placed = set()
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._report(f"warning: TCP intercept is not possible now, SYNs pass: {error}")
            return
        if placed is not None:
            self._placed, self._trouble = placed, ""

    def _put(self, servers: Servers, wanted: set[Target], gone: set[Target]) -> set[Target]:
        self._kernel.put(servers, wanted, gone)
        return wanted

    def _tell(self, wanted: set[Target]) -> None:
        for word, some in (("begins", wanted - self._told), ("ends", self._told - wanted)):
            for target in sorted(some):
                self._report(f"notice: TCP intercept {word} {_name(target)}")
        self._told = wanted


def _servers(served: Mapping[Target, Intercepted]) -> Servers:
    found = set()
    for target, known in served.items():
        options = _options(target, known)
        found.add((target.server, target.port, options))
        if known.mapped is not None:
            found.add((*known.mapped, options))
    return frozenset(found)


def _options(target: Target, known: Intercepted) -> SynOptions | None:
    """Those of the server, with an MSS as the policy bounds it."""
    if not known.largest_mss:
        return known.options
    options = known.options or DEFAULT_OPTIONS
    size = options.mss or DEFAULT_MSS[4 if len(target.server) == 4 else 6]
    return replace(options, mss=min(size, known.largest_mss))


def _targets(active: Mapping[Target, Intercepted]) -> set[Target]:
    """By the addresses that clients use, too."""
    found = set(active)
    for target, known in active.items():
        if known.mapped is not None:
            found.add(Target(target.client, *known.mapped))
    return found


def _name(target: Target) -> str:
    text = f"for {_text(target.server)} port {target.port}"
    return f"{text} from {_text(target.client)}" if target.client else text


def _text(address: bytes) -> str:
    return address_text(4 if len(address) == 4 else 6, int.from_bytes(address))
