"""Which connection limits hold for less than their line says, and why: told as not done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nfinspect.policy.errors import Finding
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import Match, Policy
from nfinspect.policy.ranges import ALL_PORTS

UDP = 17


def uncovered(policy: Policy, words: Mapping[tuple[str, str], Word | None]) -> Iterator[Finding]:
    """Yield what the limits of *policy* do not count. *words* are where the ``set connection``
    lines of a class stand, by policy-map and class."""
    for service_policy in policy.service_policies:
        for each in service_policy.classes:
            word = words.get((service_policy.name, each.name))
            if word is None or each.settings is None or not _holds_udp(each.match):
                continue
            if each.settings.limits.connections or each.settings.limits.per_client:
                yield word.finding(
                    "not done as it stands: TCP connections are counted, UDP is not, which the"
                    " appliance counts for conn-max and per-client-max too"
                )


def _holds_udp(match: Match) -> bool:
    if match.ports != ALL_PORTS:  # of TCP
        return False
    if match.entries is None:
        return True
    return any(
        protocol in (0, UDP)
        for entry in match.entries
        if entry.permit
        for protocol, _, _ in entry.services
    )
