"""Any text is parsed to a policy or a located error; a map or a whole configuration that is written
again is read to the same policy; classification by index agrees with reading lists from the top."""

import dataclasses
import re
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from nfinspect.events import ClauseAction
from nfinspect.policy import ConfigurationError, canonical, decode, default_text, parse_policy
from nfinspect.policy.advice import advise
from nfinspect.policy.classify import Classifier, OpeningConnection
from nfinspect.policy.commands import GRAMMAR, regex
from nfinspect.policy.conditions import Above, Expression, Matches, Not, OneOf
from nfinspect.policy.criteria import CRITERIA, ROWS, Criterion, CriterionRow, Kind
from nfinspect.policy.errors import MAX_ERRORS
from nfinspect.policy.expressions import translate
from nfinspect.policy.model import (
    ClassPolicy,
    Clause,
    Entry,
    IncompleteCommand,
    InspectionMap,
    MailRelay,
    Match,
    Parameters,
    PipeCharacter,
    Policy,
    Reaction,
    ServerAnomalyAction,
    UnseenDataAction,
)
from nfinspect.policy.useless import CLOSING
from nfinspect.policy.words import parameter_lines
from nfinspect.rules.diversion import application
from nfinspect.rules.of_policy import diversion_of
from tests.unit.rules.kernel import FirstPacket, passes

WORDS = sorted(
    {
        word
        for rows in GRAMMAR.values()
        for row in rows
        for word in re.findall(r"[a-z0-9-]+|[A-Z_]+", row.pattern)
    }
    | {"exit", "_default_esmtp_map", "inspection_default", "global_policy", "m", "5", "!", "\t"}
    | {"1.2.3.4", "255.255.255.0", "2001:db8::/32", "(inside,outside)", "0:5:0", "smtp", "any"}
)


def read(text: str) -> None:
    """Parse *text*; an error must be located in it and printable."""
    try:
        advise(parse_policy(text, "a.cfg"))
    except ConfigurationError as error:
        lines = text.removeprefix("\ufeff").split("\n")
        for finding in error.findings:
            assert 1 <= finding.line <= len(lines)
            assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1
            assert finding.message
        printed = str(error).splitlines()
        assert len(printed) <= 3 * MAX_ERRORS + 1
        assert all(line.isprintable() for line in printed)


@given(st.text())
def test_any_text_is_a_policy_or_a_located_error(text: str) -> None:
    read(text)


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)).map("\n".join))
def test_any_order_of_known_words_is_a_policy_or_a_located_error(text: str) -> None:
    read(text)


LINES = default_text().splitlines()


@given(st.lists(st.sampled_from(LINES)).map("\n".join))
def test_any_order_of_the_default_lines_is_a_policy_or_a_located_error(text: str) -> None:
    read(text)


@given(st.binary())
def test_any_bytes_are_a_text_or_a_located_error(data: bytes) -> None:
    try:
        text = decode(data, "a.cfg")
    except ConfigurationError as error:
        (finding,) = error.findings
        assert 1 <= finding.line <= data.count(b"\n") + 1
    else:
        read(text)


limits = st.integers(1, 65535)
patterns = st.sampled_from(["\\.exe$", " a b ", '"', "^[^@]+@(a|b){2,3}", "\\xff\\000", "a|b!c#d"])
expressions = st.builds(
    lambda n, pattern: Expression(f"r{n}", pattern, translate(pattern).re2),
    st.integers(0, 3),
    patterns,
)
matches = st.one_of(
    expressions.map(lambda e: Matches(e.name, (e,))),
    st.lists(expressions, min_size=1, max_size=3, unique_by=lambda e: e.name).map(
        lambda es: Matches("c" + "".join(e.name + str(len(e.pattern)) for e in es), tuple(es), True)
    ),
)


def conditions(row: CriterionRow) -> st.SearchStrategy:
    match row.kind:
        case Kind.WORDS:
            words = st.lists(st.sampled_from(row.words), min_size=1, unique=True)
            plain = words.map(lambda words: OneOf(tuple(words)))
        case Kind.EXPRESSION:
            plain = matches
        case _:
            plain = limits.map(Above)
    return st.one_of(plain, plain.map(Not))


def clauses_of(row: CriterionRow) -> st.SearchStrategy:
    return st.builds(
        lambda condition, action, log, rate: Clause(
            0,
            row.criterion,
            condition,
            action,
            action is ClauseAction.LOG or (log and action is not ClauseAction.RATE_LIMIT),
            rate if action is ClauseAction.RATE_LIMIT else 0,
        ),
        conditions(row),
        st.sampled_from(row.actions),
        st.booleans(),
        limits,
    )


clauses = st.sampled_from(ROWS).flatmap(clauses_of)
reactions = st.builds(
    lambda action, log: Reaction(action, log or action is ClauseAction.LOG),
    st.sampled_from([ClauseAction.DROP_CONNECTION, ClauseAction.LOG]),
    st.booleans(),
)
wider = st.builds(
    lambda action, log: Reaction(action, log or action is ClauseAction.LOG),
    st.sampled_from([*CRITERIA[Criterion.BODY_LENGTH].actions, ClauseAction.MASK]),
    st.booleans(),
)
parameters = st.builds(
    Parameters,
    mask_banner=st.booleans(),
    server_anomaly=st.sampled_from(ServerAnomalyAction),
    incomplete_command=st.sampled_from(IncompleteCommand),
    pipe_character=st.sampled_from(PipeCharacter),
    unseen_data=st.sampled_from([None, *UnseenDataAction]),
    midstream_pickup=st.integers(0, 86400),
    mail_relay=st.none() | st.builds(MailRelay, st.sampled_from(["a.org", "b"]), reactions),
    special_character=st.none() | reactions,
    bare_newline=st.none() | wider,
    starttls_injection=st.sampled_from([ClauseAction.DROP_CONNECTION, ClauseAction.RESET]),
    bdat_chunk=st.sampled_from([*CLOSING, ClauseAction.MASK]),
    closing_reply=st.booleans(),
).flatmap(
    lambda p: st.sampled_from(
        [
            p,
            Parameters(**{**fields(p), "allow_tls": True}),
            Parameters(**{**fields(p), "allow_tls": True, "allow_tls_log": True}),
        ]
    )
)


def fields(p: Parameters) -> dict:
    return {field.name: getattr(p, field.name) for field in dataclasses.fields(p)}


maps = st.builds(
    lambda name, description, parameters, clauses: InspectionMap(
        name,
        description,
        parameters,
        tuple(dataclasses.replace(c, position=n) for n, c in enumerate(clauses, 1)),
    ),
    st.from_regex(r"[!-~]{1,40}", fullmatch=True),
    st.from_regex(r"([!-~]([ -~]{0,198}[!-~])?)?", fullmatch=True),
    parameters,
    st.lists(clauses, unique_by=lambda c: c.words.lower(), max_size=10),
)


def defined(inspection_map: InspectionMap) -> list[str]:
    """The lines that define the expressions of a map, each name once."""
    found = [
        condition.condition if isinstance(condition, Not) else condition
        for condition in (clause.condition for clause in inspection_map.clauses)
    ]
    used = [condition for condition in found if isinstance(condition, Matches)]
    return list(regex.lines(used))


def map_lines(inspection_map: InspectionMap) -> list[str]:
    lines = [*defined(inspection_map), f"policy-map type inspect esmtp {inspection_map.name}"]
    if inspection_map.description:
        lines.append(f" description {inspection_map.description}")
    lines += [" parameters", *(f"  {p}" for p in parameter_lines(inspection_map.parameters))]
    for clause in inspection_map.clauses:
        lines += [f" match {clause.words}", f"  {clause.action_words}"]
    return lines


def names_agree(inspection_map: InspectionMap) -> bool:
    """Whether no two expressions of one name differ."""
    lines = defined(inspection_map)
    names = [line.split()[1] for line in lines if line.startswith("regex ")]
    classes = [line for line in lines if line.startswith("class-map ")]
    return len(set(names)) == len(names) and len(set(classes)) == len(classes)


APPLICATION = """policy-map GLOBAL
class inspection_default
inspect esmtp {}
service-policy GLOBAL global
"""


@given(maps.filter(names_agree))
def test_map_written_as_configuration_lines_is_parsed_to_the_same_map(
    inspection_map: InspectionMap,
) -> None:
    lines = map_lines(inspection_map)
    text = "\n".join([*lines, APPLICATION.format(inspection_map.name)])
    configuration = parse_policy(text, "a.cfg")
    advise(configuration)
    written = canonical.text(configuration)
    again = parse_policy(written, "b.cfg")
    assert configuration.maps == (inspection_map,)
    assert configuration.policy.inspections[0].map == inspection_map
    assert configuration.notices == ()
    assert again.policy == configuration.policy
    assert canonical.text(again) == written


# Whole configurations: lines that refer to a few names and addresses, so that they meet.

HOSTS = ["192.168.1.1", "192.168.1.2", "192.0.2.1", "10.0.0.1", "10.0.0.2"]
NAMES = ["a", "b", "c"]
ports = st.sampled_from(
    ["", "eq 25", "eq smtp", "neq 25", "gt 1023", "lt 30", "range 20 30", "object-group sp"]
)
addresses = st.sampled_from(
    [
        "any",
        "any4",
        "any6",
        *(f"host {host}" for host in HOSTS),
        "host 2001:db8::1",
        "2001:db8::/64",
        "10.0.0.0 255.255.255.0",
        "192.168.0.0 255.255.0.0",
        "192.168.1.1",
        "object o1",
        "object o2",
        "object-group g1",
        "object-group g2",
        "interface outside",
    ]
)
tails = st.sampled_from(["", "", "", "", " log", " inactive", " time-range t"])
entries = st.one_of(
    st.builds(
        lambda name, action, protocol, s, sp, d, dp, tail: (
            f"access-list {name} extended {action} {protocol} {s} {sp} {d} {dp}{tail}"
        ),
        st.sampled_from(NAMES),
        st.sampled_from(["permit", "permit", "deny"]),
        st.sampled_from(["tcp", "tcp", "udp", "object-group pg", "object-group sv", "object so"]),
        addresses,
        ports,
        addresses,
        ports,
        tails,
    ),
    st.builds(
        lambda name, action, s, d, tail: f"access-list {name} {action} ip {s} {d}{tail}",
        st.sampled_from(NAMES),
        st.sampled_from(["permit", "deny"]),
        addresses,
        addresses,
        tails,
    ),
)

BASE = """
interface eth0
 nameif outside
 ip address 192.0.2.1 255.255.255.0
object network o1
 host 192.168.1.1
object network o2
 fqdn mx.example.org
object-group network g1
 network-object host 10.0.0.1
 group-object g2
object-group network g2
 network-object 10.0.0.0 255.255.255.252
 network-object object o1
object-group service sp tcp
 port-object eq 25
 port-object range 587 588
object-group service sv
 service-object tcp destination eq 25
 service-object udp
object service so
 service tcp source gt 1023 destination neq 26
object-group protocol pg
 protocol-object tcp
 protocol-object 50
access-list a permit ip any any inactive
access-list b permit ip any any inactive
access-list c permit ip any any inactive
policy-map type inspect esmtp m1
 parameters
  allow-tls
policy-map type inspect esmtp m2
 match cmd verb VRFY
  reset log
 match cmd line length gt 100
  log
"""
class_matches = st.sampled_from(
    [
        "match any",
        "match default-inspection-traffic",
        "match port tcp eq 25",
        "match port tcp range 20 587",
        "match port udp eq 25",
        "match dscp ef",
        "",
        *(f"match access-list {name}" for name in NAMES),
        *(f"match default-inspection-traffic\n match access-list {name}" for name in NAMES),
    ]
)
class_actions = st.lists(
    st.sampled_from(
        [
            "no inspect esmtp",
            "set connection conn-max 5 per-client-max 3",
            "set connection conn-max 0",
            "set connection embryonic-conn-max 7 random-sequence-number disable",
            "set connection timeout idle 0:10:00 reset half-closed 0:01:00",
            "set connection timeout dcd 0:15:00",
            "set connection decrement-ttl",
            "set connection advanced-options tcp-state-bypass",
            "set connection advanced-options tm",
        ]
    ),
    max_size=3,
)
inspects = st.sampled_from(["", "inspect esmtp", "inspect esmtp m1", "inspect esmtp m2"])
class_bodies = st.tuples(
    st.sampled_from(["k1", "k2", "k3", "class-default"]), inspects, class_actions
)
policy_maps = st.lists(class_bodies, max_size=4, unique_by=lambda body: body[0])
statics = st.lists(
    st.sampled_from(
        [
            "static (inside,outside) 192.0.2.1 192.168.1.1 netmask 255.255.255.255 tcp 9 5",
            "static (inside,outside) tcp 192.0.2.1 2525 192.168.1.2 smtp netmask 255.255.255.255",
            "static (inside,outside) tcp interface smtp 192.168.1.2 26",
            "static (inside,outside) 192.0.2.0 192.168.1.0 netmask 255.255.255.0 norandomseq",
            "object network o1\n nat (inside,outside) static 192.0.2.9 service tcp 25 26",
            "fixup protocol smtp 26-27",
            "no fixup protocol smtp 25",
            "timeout conn 2:00:00 half-closed 0",
        ]
    ),
    max_size=3,
)


@st.composite
def configurations(draw: st.DrawFn) -> str:
    lines = [BASE, *draw(st.lists(entries, max_size=12))]
    for name in ("k1", "k2", "k3"):
        lines += [f"class-map {name}", f" {draw(class_matches)}"]
    for number, applied in enumerate(("global", "interface outside", "interface inside")):
        lines.append(f"policy-map p{number}")
        for name, inspect, actions in draw(policy_maps):
            lines += [f" class {name}", *(f"  {action}" for action in [inspect, *actions])]
        if number == 0 or draw(st.booleans()):
            lines.append(f"service-policy p{number} {applied}")
    return "\n".join([*lines, *draw(statics)])


hosts = st.sampled_from([*HOSTS, "10.0.0.3", "172.16.0.1"])
hosts6 = st.sampled_from(["2001:db8::1", "2001:db8::2", "2001:db8:1::1"])
port_numbers = st.sampled_from([25, 26, 27, 30, 587, 1023, 1024, 2525, 40000])
connections = st.one_of(
    st.tuples(hosts, port_numbers, hosts, port_numbers),
    st.tuples(hosts6, port_numbers, hosts6, port_numbers),
).flatmap(
    lambda ends: st.builds(
        lambda arrives, leaves: OpeningConnection(
            ip_address(ends[0]).version,
            int(ip_address(ends[0])),
            ends[1],
            int(ip_address(ends[2])),
            ends[3],
            arrives,
            leaves,
        ),
        st.sampled_from(["", "inside", "outside"]),
        st.sampled_from(["", "inside", "outside"]),
    )
)


@given(configurations())
def test_configuration_written_again_is_read_to_the_same_policy(text: str) -> None:
    configuration = parse_policy(text, "a.cfg")
    advise(configuration)
    written = canonical.text(configuration)
    again = parse_policy(written, "b.cfg")
    assert again.policy == configuration.policy
    assert canonical.text(again).partition("! line")[0] == written.partition("! line")[0]


def entry_holds(entry: Entry, c: OpeningConnection) -> bool:
    return (
        c.source in entry.source.of(c.version)
        and c.destination in entry.destination.of(c.version)
        and any(
            protocol in (0, 6) and c.source_port in ours and c.destination_port in theirs
            for protocol, ours, theirs in entry.services
        )
    )


def match_holds(match: Match, c: OpeningConnection, in_doubt: bool) -> bool:
    """Read the list from its top, as a person would."""
    if c.destination_port not in match.ports:
        return False
    for entry in match.entries if match.entries is not None else ():
        if not entry.certain and entry.permit != in_doubt:
            continue
        if entry_holds(entry, c):
            return entry.permit
    return match.entries is None


def views(policy: Policy, c: OpeningConnection) -> list[OpeningConnection]:
    def mapped(address: int, port: int) -> list[tuple[int, int]]:
        found = [(address, port)]
        for t in policy.translations:
            if t.version == c.version and t.real[0] <= address <= t.real[1]:
                to = t.mapped_address(address)
                if to is not None and (not t.protocol or t.real_port == port):
                    found.append((to, t.mapped_port if t.protocol else port))
        return found

    return [
        c._replace(source=s, source_port=sp, destination=d, destination_port=dp)
        for s, sp in mapped(c.source, c.source_port)
        for d, dp in mapped(c.destination, c.destination_port)
    ]


def decided(policy: Policy, c: OpeningConnection) -> tuple[str, str, str, str]:
    """The classes that decide about inspection, settings, normalizer and state bypass."""

    def holds(found: ClassPolicy, in_doubt: bool = False) -> bool:
        return any(match_holds(found.match, view, in_doubt) for view in views(policy, c))

    at = {"": [], "in": [], "out": []}
    for service_policy in policy.service_policies:
        if not service_policy.interface:
            at[""].append(service_policy)
        elif service_policy.interface == c.arrives:
            at["in"].append(service_policy)
        elif service_policy.interface == c.leaves:
            at["out"].append(service_policy)
    answer = ["", "", "", ""]
    for service_policy in [*at["in"], *at["out"], *at[""]]:
        classes = service_policy.classes
        for feature, has in enumerate(
            (
                lambda k: False,
                lambda k: k.settings is not None,
                lambda k: bool(k.tcp_map),
                lambda k: k.state_bypass,
            )
        ):
            found = [k.name for k in classes if has(k) and holds(k)]
            answer[feature] = answer[feature] or (found[0] if found else "")
        exempt = [k.name for k in classes if k.exempts and holds(k)]
        inspected = [k.name for k in classes if k.inspection and holds(k, in_doubt=True)]
        answer[0] = answer[0] or next(iter([*exempt, *inspected]), "")
    return tuple(answer)


@given(configurations(), st.lists(connections, min_size=1, max_size=8))
def test_classification_agrees_with_reading_the_lists_from_the_top(
    text: str, asked: list[OpeningConnection]
) -> None:
    policy = parse_policy(text, "a.cfg").policy
    classifier = Classifier(policy)
    for connection in asked:
        plan = classifier.plan(connection)
        inspecting, setting, normalizing, bypassing = decided(policy, connection)
        assert (plan.decided_by, plan.settings_by) == (inspecting, setting)
        assert (bool(plan.tcp_map), plan.state_bypass) == (bool(normalizing), bool(bypassing))
        if plan.inspection is not None:
            assert plan.inspection.class_map == inspecting


@settings(max_examples=300)
@given(configurations(), st.lists(connections, min_size=1, max_size=8), st.booleans())
def test_rules_exempt_whom_the_classes_exempt(
    text: str, asked: list[OpeningConnection], bridged: bool
) -> None:
    policy = parse_policy(text, "a.cfg").policy
    classifier = Classifier(policy)
    diversion = diversion_of(policy, bridged=bridged)
    for connection in asked:
        if policy.plan(connection.destination_port) is None:
            continue
        text = application(diversion, "security", connection.version)
        packet = FirstPacket(connection, connection.arrives, connection.leaves, bridged)
        deciding = classifier.deciding(connection).inspection
        exempt = deciding is not None and deciding.policy.exempts
        if policy.plan(connection.source_port) is not None:
            exempt = False  # no client
        of_interfaces = {p.interface for p in policy.service_policies if p.interface}
        named = of_interfaces | {each.name for each in policy.interfaces}
        ways = {connection.arrives, connection.leaves}
        if of_interfaces and not bridged and ways.isdisjoint(named):
            assert exempt or passes(text, packet) != "exempt"
        else:
            assert passes(text, packet) == ("exempt" if exempt else "NFQUEUE")


# A listing with mistakes.

PIECES = [line for line in (*BASE.splitlines(), *LINES) if line.strip()]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(
            ["drop line", "copy line", "drop word", "replace word", "cut", "indent", "set"]
        ),
        st.integers(0, 10**6),
        st.integers(0, 10**6),
        st.sampled_from([*WORDS, *HOSTS]),
        st.characters(codec="utf-8"),
    ),
    min_size=1,
    max_size=12,
)


def edited(text: str, edits: list[tuple[str, int, int, str, str]]) -> str:
    lines = text.split("\n")
    for kind, n, m, word, character in edits:
        at = n % len(lines)
        words = lines[at].split(" ")
        if kind == "drop line" and len(lines) > 1:
            del lines[at]
        elif kind == "copy line":
            lines.insert(m % len(lines), PIECES[n % len(PIECES)])
        elif kind == "drop word":
            del words[m % len(words)]
            lines[at] = " ".join(words)
        elif kind == "replace word":
            words[m % len(words)] = word
            lines[at] = " ".join(words)
        elif kind == "cut":
            lines[at] = lines[at][: m % (len(lines[at]) + 1)]
        elif kind == "indent":
            lines[at] = " " * (m % 4) + lines[at].strip()
        elif kind == "set":
            where = m % (len(lines[at]) + 1)
            lines[at] = lines[at][:where] + character + lines[at][where + 1 :]
    return "\n".join(lines)


@given(configurations(), EDITS, st.booleans())
def test_listing_with_mistakes_is_a_policy_or_a_located_error(
    text: str, edits: list[tuple[str, int, int, str, str]], flat: bool
) -> None:
    text = edited(text, edits)
    if flat:
        text = "\n".join(line.strip(" ") for line in text.split("\n"))
    read(text)
