"""What a good colleague would say about a configuration, each time with the line and what to read.

Advice is no error: the configuration means what it says. None of it asks to take a line away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from nfinspect.events import ClauseAction
from nfinspect.policy.classify import Classifier, ListTable, OpeningConnection
from nfinspect.policy.commands import regex
from nfinspect.policy.commands.access_lists import AccessLists, resolve_quietly
from nfinspect.policy.conditions import Above
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.errors import Finding
from nfinspect.policy.grammar import advice
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import (
    ClassPolicy,
    ConnectionLimits,
    Entry,
    Match,
    ServicePolicy,
    Services,
)
from nfinspect.policy.ranges import BITS, Addresses, Ranges, address_text
from nfinspect.policy.resolve import Configuration, Effective, in_order, is_complete
from nfinspect.policy.useless import useless_clauses

CLASSES = "docs/configuration.md#classes-and-policies"
LISTS = "docs/configuration.md#access-lists"
INTERFACES = "docs/configuration.md#interfaces"
TRANSLATION = "docs/configuration.md#translation"
COMPLETE = "docs/configuration.md#complete-and-partial-configurations"
EXEMPTION = "docs/troubleshooting.md#out-of-the-inspection-altogether"
NO_TLS = "docs/troubleshooting.md#no-tls"
RECIPIENTS = "docs/troubleshooting.md#recipients"
NOT_INSPECTION = "docs/troubleshooting.md#not-the-inspection"

MANY_RECIPIENTS = 1000
"""A limit from which on mailing lists are not what it cuts off."""

MOST_STEPS = 500_000
"""Of comparing entries of access lists with each other."""

MOST_CLASSES = 100
"""Earlier classes, and later ones, that a class is compared with."""

LONGEST_LIST = 5_000
"""Entries of a list in which those that never match are looked for."""

SMTP, SUBMISSIONS = 25, 465
TCP = 6


def advise(configuration: Configuration) -> tuple[Finding, ...]:
    """Return all advice about *configuration*, its notices included, in the order of its lines."""
    effective = configuration.effective
    assert effective is not None
    return in_order(
        (
            *configuration.own_notices,
            *_exemptions(configuration, effective),
            *_maps(configuration, effective),
            *useless_clauses(effective.maps, configuration.maps),
            *_limits(configuration, effective),
            *_gateways(configuration, effective),
            *_classes(configuration, effective),
            *_entries(configuration),
            *_interfaces(configuration, effective),
            *_translated(configuration),
            *_no_service_policy(configuration, effective),
            # A complete listing has expressions for other protocols.
            *(() if is_complete(effective.draft) else regex.unused(effective.draft)),
        )
    )


def _class_words(effective: Effective) -> dict[tuple[str, str], Word]:
    """Return where each class stands in its policy-map."""
    return {
        (policy, name): found.said or found.settings_word or found.name
        for policy, found_in in effective.policies.items()
        for name, found in found_in.items()
    }


def _exemptions(configuration: Configuration, effective: Effective) -> Iterator[Finding]:
    words = _class_words(effective)
    for policy, found in _all_classes(configuration):
        if found.exempts:
            word = words[policy.name, found.name]
            yield advice(
                word,
                "holds for new connections; those that are open keep what they began with, until they"
                " end or clear conn ends them",
                "new-connections",
                EXEMPTION,
            )
            yield advice(
                word,
                f"read as the note means it: class {found.name} is exempt whatever other classes say;"
                " the guides' way to the same is an access-list that denies the host, in the class"
                " that is inspected",
                "exemption",
                EXEMPTION,
            )


def _maps(configuration: Configuration, effective: Effective) -> Iterator[Finding]:
    words = _class_words(effective)
    seen: set[str] = set()
    for inspection in configuration.policy.inspections:
        name = inspection.map.name
        key = inspection.service_policy, inspection.class_map
        word = effective.maps[name].name if name in configuration_names(configuration) else None
        word = word or words.get(key)
        if word is None or name in seen:
            continue
        seen.add(name)
        word = _in_text(word, effective)
        if not inspection.map.parameters.allow_tls and inspection.map.extended:
            yield advice(
                word,
                f"{name} has no allow-tls: STARTTLS is masked, mail crosses in cleartext, and senders"
                " that insist on TLS (MTA-STS, DANE) keep theirs",
                "no-allow-tls",
                NO_TLS,
            )
        for clause in inspection.map.clauses:
            if (
                clause.criterion is Criterion.RECIPIENT_COUNT
                and clause.action is ClauseAction.DROP_CONNECTION
                and isinstance(clause.condition, Above)
                and clause.condition.limit < MANY_RECIPIENTS
            ):
                yield advice(
                    word,
                    f"{name} closes sessions with more than {clause.condition.limit} recipients: mailing lists"
                    " are cut off",
                    "recipient-limit",
                    RECIPIENTS,
                )
    if SUBMISSIONS in configuration.policy.plans:
        plan = configuration.policy.plans[SUBMISSIONS]
        if plan.inspection is not None:
            found = words.get((plan.inspection.service_policy, plan.inspection.class_map))
            if found is not None:
                yield advice(
                    found,
                    "port 465 is TLS from the first byte: what is inspected there is ciphertext, and"
                    " the sessions break",
                    "port-465",
                    NO_TLS,
                )


def configuration_names(configuration: Configuration) -> set[str]:
    """Return the names of the inspection maps that the text itself defines."""
    return {inspection_map.name for inspection_map in configuration.maps}


def _in_text(word: Word, effective: Effective) -> Word:
    """Return *word*, or if it stands in the default configuration, the text's first word."""
    first = effective.draft.first_word
    return word if first is None or word.line.file == first.line.file else first


def _limits(configuration: Configuration, effective: Effective) -> Iterator[Finding]:
    words = _class_words(effective)
    for translation in configuration.policy.translations:
        if translation.word and _never_intercepts(translation.limits):
            yield _intercept(translation.word, translation.limits)
    for policy, found in _all_classes(configuration):
        if found.settings and _never_intercepts(found.settings.limits):
            yield _intercept(words[policy.name, found.name], found.settings.limits)


def _never_intercepts(limits: ConnectionLimits) -> bool:
    return 0 < limits.connections <= limits.embryonic


def _intercept(word: Word, limits: ConnectionLimits) -> Finding:
    return advice(
        word,
        f"the embryonic limit, {limits.embryonic}, is not below the connection limit,"
        f" {limits.connections}, which is reached first: TCP intercept never begins, and further"
        " connections are refused",
        "embryonic-above-connections",
        NOT_INSPECTION,
    )


def _gateways(configuration: Configuration, effective: Effective) -> Iterator[Finding]:
    """Yield advice about hosts that mail is published to, and that are inspected."""
    classifier = Classifier(configuration.policy)
    published = _published(configuration, effective)
    for translation in configuration.policy.translations:
        real = translation.real[0]
        if translation.word is None or real not in published or translation.real[1] != real:
            continue
        anybody = OpeningConnection(translation.version, 1 << 24, 1024, real, SMTP)
        if classifier.plan(anybody).inspection is not None:
            host = address_text(translation.version, real)
            yield advice(
                translation.word,
                f"{host} takes mail and is inspected; if it is a mail gateway that does this itself,"
                " such as an ESA, the note advises to exempt it",
                "gateway-inspected",
                EXEMPTION,
            )


def _published(configuration: Configuration, effective: Effective) -> set[int]:
    """Return the real addresses of hosts to which the text lets mail in."""
    lists = effective.draft[AccessLists]
    names = dict.fromkeys(word.text for word in lists.groups if word.text in lists.lists)
    permitted = [
        entry.destination
        for name in names
        for entry in resolve_quietly(effective.draft, name)
        if entry.permit and any(SMTP in ports for protocol, _, ports in entry.services if protocol)
    ]
    each = {id(found): found for found in permitted}.values()
    let_in = {v: Ranges.of(r for a in each for r in a.of(v).ranges) for v in BITS}
    found = set()
    for translation in configuration.policy.translations:
        real = translation.real[0]
        if translation.protocol:
            if (translation.protocol, translation.real_port) == (TCP, SMTP):
                found.add(real)
        else:
            mapped = translation.mapped_address(real)
            if any(a in let_in[translation.version] for a in (real, mapped) if a is not None):
                found.add(real)
    return found


def _all_classes(configuration: Configuration) -> Iterator[tuple[ServicePolicy, ClassPolicy]]:
    for policy in configuration.policy.service_policies:
        for found in policy.classes:
            yield policy, found


def _classes(configuration: Configuration, effective: Effective) -> Iterator[Finding]:
    words = _class_words(effective)
    comparing = _Comparing()
    for policy in configuration.policy.service_policies:
        for number, found in enumerate(policy.classes):
            word = words.get((policy.name, found.name))
            if word is None:
                continue
            name = effective.policies[policy.name][found.name].name
            if not _can_match(found.match):
                yield advice(
                    name, f"class {name.quoted} matches nothing", "matches-nothing", CLASSES
                )
                continue
            first = max(0, number - MOST_CLASSES)
            for at, other in enumerate(policy.classes[first : number + MOST_CLASSES], first):
                how = _shadows(other, found, is_earlier=at < number)
                if how and comparing.match(other.match, found.match):
                    yield advice(
                        name,
                        f"no effect: class '{other.name}' matches the same traffic, and {how}",
                        "shadowed",
                        CLASSES,
                    )
                    break


def _shadows(other: ClassPolicy, found: ClassPolicy, *, is_earlier: bool) -> str:
    """Return how *other* can leave *found* without effect, in the same policy-map."""
    if other.exempts and found.inspection:
        return "is exempt from inspection, in any order"
    if is_earlier and other.inspection and found.inspection:
        return "is asked first about inspection"
    if is_earlier and other.settings and found.settings:
        return "is asked first about set connection"
    return ""


def _can_match(match: Match) -> bool:
    if not match.ports:
        return False
    if match.entries is None:
        return True
    return any(
        entry.permit
        and entry.source
        and entry.destination
        and any(protocol in (0, TCP) for protocol, *_ in entry.services)
        for entry in match.entries
    )


class _Comparing:
    """Compares entries as long as that takes `MOST_STEPS` at most; what is not compared covers nothing.

    What entries share is compared once.
    """

    def __init__(self) -> None:
        self._left = MOST_STEPS
        self._known: dict[tuple[int, int], bool] = {}

    def match(self, one: Match, other: Match) -> bool:
        """Whether *one* surely holds every connection that *other* holds."""
        if not one.ports.covers(other.ports):
            return False
        if one.entries is None:
            return True
        if other.entries is None:
            return False
        self._left -= len(one.entries)
        if self._left <= 0 or not all(entry.certain for entry in one.entries):
            return False
        if one.entries is other.entries:
            return True
        if not all(entry.permit for entry in one.entries):
            return False
        return all(
            any(self.entry(mine, theirs) for mine in one.entries)
            for theirs in other.entries
            if theirs.permit
        )

    def entry(self, one: Entry, other: Entry) -> bool:
        """Whether *one* matches whatever *other* matches."""
        self._left -= 1
        return (
            self._left > 0
            and self._addresses(one.source, other.source)
            and self._addresses(one.destination, other.destination)
            and self._services(one.services, other.services)
        )

    def _addresses(self, one: Addresses, other: Addresses) -> bool:
        key = id(one), id(other)
        if one is other or key in self._known:
            return one is other or self._known[key]
        self._left -= len(other.v4.ranges) + len(other.v6.ranges)
        known = self._known[key] = self._left > 0 and one.covers(other)
        return known

    def _services(self, one: Services, other: Services) -> bool:
        key = id(one), id(other)
        if one is other or key in self._known:
            return one is other or self._known[key]
        self._left -= len(one) * len(other)
        known = self._known[key] = self._left > 0 and all(
            any(
                protocol in (0, theirs) and source.covers(s) and destination.covers(d)
                for protocol, source, destination in one
            )
            for theirs, s, d in other
        )
        return known


def _entries(configuration: Configuration) -> Iterator[Finding]:
    """Yield advice about entries that an earlier one leaves nothing to match."""
    comparing = _Comparing()
    seen: set[int] = set()
    for _, found in _all_classes(configuration):
        entries = found.match.entries
        if not entries or id(entries) in seen or len(entries) > LONGEST_LIST:
            continue
        seen.add(id(entries))
        table = ListTable(entries, in_doubt=True)
        for entry in entries:
            for connection in _corner(entry):
                earlier = table.deciding(connection)
                if earlier is None or earlier is entry or earlier.word is None or not entry.word:
                    break
                if earlier.certain and comparing.entry(earlier, entry):
                    yield advice(
                        entry.word,
                        f"never matches: line {earlier.word.line.number} matches all of it first",
                        "never-matches",
                        LISTS,
                    )


def _corner(entry: Entry) -> Iterator[OpeningConnection]:
    """Yield a connection that *entry* matches, if it matches any."""
    ports = next(((s, d) for p, s, d in entry.services if p in (0, TCP) and s and d), None)
    for version in BITS:
        source, destination = entry.source.of(version), entry.destination.of(version)
        if ports and source and destination:
            yield OpeningConnection(
                version,
                source.ranges[0][0],
                ports[0].ranges[0][0],
                destination.ranges[0][0],
                ports[1].ranges[0][0],
            )
            return


def _interfaces(configuration: Configuration, effective: Effective) -> Iterator[Finding]:
    """Yield advice about interfaces that lines name, and that nothing defines."""
    known = {interface.name for interface in configuration.policy.interfaces} | {"any"}
    by_line: dict[int, list[tuple[str, Word]]] = {}
    translating: set[int] = set()
    for translation in configuration.policy.translations:
        if translation.word is not None:
            translating.add(translation.word.line.number)
            for name in (translation.real_interface, translation.mapped_interface):
                by_line.setdefault(translation.word.line.number, []).append(
                    (name, translation.word)
                )
    for name, word in effective.applied.items():
        if name:
            by_line.setdefault(word.line.number, []).append((name, word))
    told: set[str] = set()
    for number, named in by_line.items():
        names = [name for name, _ in named if name not in known | told]
        if not names:
            continue
        told.update(names)
        assumed = []
        if not configuration.policy.interfaces:
            assumed.append(
                "the client's side of each connection is taken for the outside, the server's for the"
                " inside"
            )
        elif number not in translating:
            assumed.append("taken for a Linux interface of that name")
        if number in translating:
            assumed.append("the translation holds on every interface")
        yield advice(
            named[0][1],
            f"no nameif line and no --interface says what {_named(names)} for:"
            f" {', and '.join(assumed)}",
            "assumed-interfaces",
            INTERFACES,
        )


def _named(names: list[str]) -> str:
    return f"{names[0]} stands" if len(names) == 1 else f"{' and '.join(names)} stand"


def _translated(configuration: Configuration) -> Iterator[Finding]:
    """Yield advice about entries that name an address which is translated."""
    translated = set()
    for translation in configuration.policy.translations:
        real = translation.real[0]
        for address in (real, translation.mapped_address(real)):
            translated.add((translation.version, address))
    if not translated:
        return
    known: dict[int, bool] = {}

    def is_translated(addresses: Addresses) -> bool:
        if id(addresses) not in known:
            known[id(addresses)] = not translated.isdisjoint(_hosts(addresses))
        return known[id(addresses)]

    for _, found in _all_classes(configuration):
        for entry in found.match.entries or ():
            named = (entry.source, entry.destination)
            if entry.word is not None and any(map(is_translated, named)):
                yield advice(
                    entry.word,
                    "names an address that a static translates: the class takes the real and the"
                    " mapped one alike",
                    "real-or-mapped",
                    TRANSLATION,
                )


def _hosts(addresses: Addresses) -> Iterator[tuple[int, int]]:
    """Yield the single addresses among *addresses*, with their version."""
    for version in BITS:
        for first, last in addresses.of(version).ranges:
            if first == last:
                yield version, first


def _no_service_policy(configuration: Configuration, effective: Effective) -> Iterable[Finding]:
    first = effective.draft.first_word
    if "asa" in configuration.other and not is_complete(effective.draft) and first is not None:
        yield replace(
            first.finding(
                "a whole listing without service-policy: an appliance with it inspects nothing; it is"
                " read as if typed into one with its factory configuration, which inspects mail"
            ),
            code="no-service-policy",
            read=COMPLETE,
        )
