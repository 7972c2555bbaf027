"""Which connection limits hold for less than their line says, and why: told as not done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nfinspect.policy.errors import Finding
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import NO_LIMITS, ConnectionLimits, Match, Policy, Translation
from nfinspect.policy.ranges import Ranges

TCP = 6


def uncovered(policy: Policy, words: Mapping[tuple[str, str], Word | None]) -> Iterator[Finding]:
    """Yield what the limits of *policy* do not count or do. *words* are where the ``set connection``
    lines of a class stand, by policy-map and class."""
    handled = Ranges.of((port, port) for port in policy.plans)
    for translation in policy.translations:
        if translation.word is not None and translation.limits != NO_LIMITS:
            elsewhere = not handled.covers(_ports_of(translation))
            yield from _finding(translation.word, translation.limits, elsewhere, policy)
    for service_policy in policy.service_policies:
        for each in service_policy.classes:
            word = words.get((service_policy.name, each.name))
            if word is not None and each.settings and each.settings.limits != NO_LIMITS:
                elsewhere = not _only_tcp(each.match, handled)
                yield from _finding(word, each.settings.limits, elsewhere, policy)


def _finding(
    word: Word, limits: ConnectionLimits, elsewhere: bool, policy: Policy
) -> Iterator[Finding]:
    reasons = []
    if any(c.exempts for service_policy in policy.service_policies for c in service_policy.classes):
        reasons.append("exempt connections, which the kernel alone lets pass, are not counted")
    if elsewhere:
        ports = ", ".join(map(str, sorted(policy.plans)))
        reasons.append(
            f"limits count the connections that the filter sees, those to TCP port {ports}; other ports"
            " and UDP are not counted"
        )
    if reasons:
        yield word.finding(f"not done as it stands: {'; '.join(reasons)}")


def _ports_of(translation: Translation) -> Ranges:
    port = translation.real_port
    if not translation.protocol:
        return Ranges.of([(0, 65535)])
    return Ranges.of([(port, port)] if translation.protocol == TCP else [])


def _only_tcp(match: Match, handled: Ranges) -> bool:
    """Whether all connections of a class are TCP, to ports that the filter handles."""
    if handled.covers(match.ports):
        return True
    if match.entries is None:
        return False
    services = [service for entry in match.entries if entry.permit for service in entry.services]
    return all(protocol == TCP and handled.covers(ports) for protocol, _, ports in services)
