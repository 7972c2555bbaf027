"""What a good colleague would say about a configuration, each time with the line and what to read.

Advice is no error: the configuration means what it says. None of it asks to take a line away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from nfinspect.events import ClauseAction
from nfinspect.policy.classify import Classifier, ClassTable, OpeningConnection
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
)
from nfinspect.policy.ranges import BITS, Ranges, address_text
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

MOST_COMPARED = 10_000
"""Pairs of entries that are compared to find out whether one list holds another."""

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
    let_in = {v: Ranges.of(r for a in permitted for r in a.of(v).ranges) for v in BITS}
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
                if how and _covers(other.match, found.match):
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


def _covers(one: Match, other: Match) -> bool:
    """Whether *one* surely holds every connection that *other* holds."""
    if not one.ports.covers(other.ports):
        return False
    if one.entries is None or one.entries == other.entries:
        return True
    if other.entries is None or len(one.entries) * len(other.entries) > MOST_COMPARED:
        return False
    if not all(entry.permit and entry.certain for entry in one.entries):
        return False
    return all(
        any(_entry_covers(mine, theirs) for mine in one.entries)
        for theirs in other.entries
        if theirs.permit
    )


def _entry_covers(one: Entry, other: Entry) -> bool:
    return (
        one.source.covers(other.source)
        and one.destination.covers(other.destination)
        and all(
            any(
                protocol in (0, theirs) and source.covers(s) and destination.covers(d)
                for protocol, source, destination in one.services
            )
            for theirs, s, d in other.services
        )
    )


def _entries(configuration: Configuration) -> Iterator[Finding]:
    """Yield advice about entries that an earlier one leaves nothing to match."""
    seen: set[int] = set()
    for _, found in _all_classes(configuration):
        entries = found.match.entries
        if not entries or id(entries) in seen or len(entries) > LONGEST_LIST:
            continue
        seen.add(id(entries))
        table = ClassTable(Match(entries=entries), in_doubt=True)
        for entry in entries:
            for connection in _corner(entry):
                earlier = table.deciding(connection)
                if earlier is None or earlier is entry or earlier.word is None or not entry.word:
                    break
                if earlier.certain and _entry_covers(earlier, entry):
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
    named: list[tuple[str, Word | None]] = []
    for translation in configuration.policy.translations:
        named += [
            (translation.real_interface, translation.word),
            (translation.mapped_interface, translation.word),
        ]
    named += [(where, word) for where, word in effective.applied.items() if where]
    missing: dict[str, Word] = {}
    for name, word in named:
        if name not in known and word is not None:
            missing.setdefault(name, word)
    by_line: dict[int, list[str]] = {}
    for name, word in missing.items():
        by_line.setdefault(word.line.number, []).append(name)
    for names in by_line.values():
        yield advice(
            missing[names[0]],
            f"no nameif line and no --interface says what {_named(names)} for:"
            " assumed are Linux interfaces of these names, clients on the outside and servers on the"
            " inside",
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
    for _, found in _all_classes(configuration):
        for entry in found.match.entries or ():
            if entry.word is not None and not translated.isdisjoint(_hosts(entry)):
                yield advice(
                    entry.word,
                    "names an address that a static translates: the class takes the real and the"
                    " mapped one alike",
                    "real-or-mapped",
                    TRANSLATION,
                )


def _hosts(entry: Entry) -> Iterator[tuple[int, int]]:
    """Yield the single addresses that *entry* names, with their version."""
    for addresses in (entry.source, entry.destination):
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
