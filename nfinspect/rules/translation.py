"""The rules of static translations: from a policy's ``static`` and ``nat … static`` lines to DNAT and SNAT.

The mapped address stands on the mapped interface: DNAT applies to what comes in there, SNAT to what
leaves there. An interface that no line names is not matched, so the rule holds on all of them. Only
translations that may carry mail have rules: of hosts and networks, and of the ports that the filter
handles.
"""

from __future__ import annotations

from collections.abc import Iterable

from nfinspect.policy.model import Policy, Translation
from nfinspect.policy.ranges import BITS, address_text
from nfinspect.rules.diversion import DNAT, SNAT

TCP = 6


def nat_rules(policy: Policy) -> dict[int, tuple[str, ...]]:
    """Return the rules of the chains `DNAT` and `SNAT`, by IP version."""
    devices = {interface.name: interface.device for interface in policy.interfaces}
    rules: dict[int, list[str]] = {}
    for translation in policy.translations:
        if not translation.protocol or (
            translation.protocol == TCP and translation.real_port in policy.plans
        ):
            device = devices.get(translation.mapped_interface, "")
            rules.setdefault(translation.version, []).extend(_rules(translation, device))
    return {version: tuple(found) for version, found in rules.items()}


def _rules(translation: Translation, device: str) -> Iterable[str]:
    into, out = (f"-i {device} ", f"-o {device} ") if device else ("", "")
    version, (first, last) = translation.version, translation.real
    real = address_text(version, first)
    mapped = None if translation.mapped is None else address_text(version, translation.mapped)
    if translation.protocol:
        to = f"[{real}]" if version == 6 else real
        where = "-m addrtype --dst-type LOCAL" if mapped is None else f"-d {mapped}"
        where = f"{where} -p tcp -m tcp --dport {translation.mapped_port}"
        target = f"DNAT --to-destination {to}:{translation.real_port}"
        yield f"-A {DNAT} {into}{where} -j {target}"
    elif first == last:
        yield f"-A {DNAT} {into}-d {mapped} -j DNAT --to-destination {real}"
        yield f"-A {SNAT} {out}-s {real} -j SNAT --to-source {mapped}"
    else:
        length = BITS[version] - (last - first).bit_length()
        yield f"-A {DNAT} {into}-d {mapped}/{length} -j NETMAP --to {real}/{length}"
        yield f"-A {SNAT} {out}-s {real}/{length} -j NETMAP --to {mapped}/{length}"
