"""Which class a connection is in, and which plan it gets (docs/appliance.md, section 5)."""

import pytest

from nfinspect.policy.classify import Classifier
from nfinspect.policy.model import NEVER, ConnectionLimits, Timeouts
from tests.unit.policy.connections import (
    APPLIED,
    class_of,
    configuration,
    connection,
    in_class,
    plan,
)

NOTE = """
access-list ironport_esa_internal extended permit ip any 192.168.1.1

access-list ironport_esa_internal extended permit ip 192.168.1.1 any
class-map ironport_esa

match address ironport_esa_internal

policy-map global_policy

class ironport_esa

no inspect esmtp
static (inside,outside) 1.1.1.1 192.168.1.1 netmask 255.255.255.255 tcp 50 100
""".splitlines()

ASA_INTERFACES = [
    "interface eth0",
    " nameif outside",
    " security-level 0",
    "interface eth1",
    " nameif inside",
    " security-level 100",
]
PIX_INTERFACES = ["nameif eth0 outside security0", "nameif eth1 inside security100"]


@pytest.mark.parametrize("interfaces", [[], ASA_INTERFACES, PIX_INTERFACES])
@pytest.mark.parametrize("at_end", [False, True])
def test_listing_of_the_note_exempts_the_gateway_and_inspects_the_rest(
    interfaces: list[str], at_end: bool
) -> None:
    lines = [*NOTE, *interfaces] if at_end else [*interfaces, *NOTE]
    policy = configuration(*lines).policy
    for endpoints in (("10.0.0.1", "192.168.1.1"), ("192.168.1.1", "10.0.0.1")):
        found = plan(policy, *endpoints)
        assert (found.inspection, found.decided_by) == (None, "ironport_esa")
    other = plan(policy, "10.0.0.1", "192.168.1.2")
    assert other.inspection is policy.inspections[0]
    assert plan(policy, "10.0.0.1", "192.168.1.1").limits == ConnectionLimits(50, 100)
    (translation,) = policy.translations
    assert translation.mapped_address(translation.real[0]) == 0x01010101


POLICY = """
access-list esa permit ip any host 192.168.1.1
access-list esa permit ip host 192.168.1.1 any
class-map esa
 match access-list esa
class-map inspection_default
 match default-inspection-traffic
class-map submission
 match port tcp eq 587
class-map all
 match any
"""


def policy_of(*lines: str):
    return configuration(POLICY, *lines, "service-policy p global").policy


@pytest.mark.parametrize(
    "order",
    [
        [" class esa", "  no inspect esmtp", " class inspection_default", "  inspect esmtp"],
        [" class inspection_default", "  inspect esmtp", " class esa", "  no inspect esmtp"],
        [" class all", "  inspect esmtp", " class esa", "  no inspect esmtp"],
    ],
)
def test_no_inspect_exempts_in_any_order(order: list[str]) -> None:
    policy = policy_of("policy-map p", *order)
    assert plan(policy, "10.0.0.1", "192.168.1.1").inspection is None
    assert plan(policy, "10.0.0.1", "192.168.1.2").inspection is not None


def test_no_inspect_in_the_default_class_takes_away_its_inspection_and_exempts_nobody() -> None:
    policy = policy_of(
        "policy-map p",
        " class inspection_default",
        "  no inspect esmtp",
        " class all",
        "  inspect esmtp",
    )
    assert plan(policy).decided_by == "all"


def test_no_inspect_below_an_inspect_takes_it_away_and_exempts_nobody() -> None:
    policy = policy_of(
        "policy-map p",
        " class esa",
        "  inspect esmtp",
        "  no inspect esmtp",
        " class all",
        "  inspect esmtp",
    )
    assert plan(policy, "10.0.0.1", "192.168.1.1").decided_by == "all"


def test_guides_way_is_a_list_that_denies_the_host_in_the_inspected_class() -> None:
    policy = configuration(
        "access-list mail deny ip any host 192.168.1.1",
        "access-list mail permit ip any any",
        "class-map inspection_default",
        " match access-list mail",
    ).policy
    assert plan(policy, "10.0.0.1", "192.168.1.1").inspection is None
    assert plan(policy, "10.0.0.1", "192.168.1.2").inspection is not None
    assert plan(policy, "10.0.0.1", "192.168.1.2", 587).inspection is None  # port 25 still


def test_inspection_is_on_the_ports_of_its_class() -> None:
    policy = policy_of("policy-map p", " class submission", "  inspect esmtp")
    assert plan(policy, port=587).inspection is not None
    assert plan(policy, port=25).inspection is None
    policy = policy_of("policy-map p", " class all", "  inspect esmtp")
    assert plan(policy, port=2525).inspection is not None


@pytest.mark.parametrize(
    ("match", "ports", "reported"),
    [
        ([" match any"], {25}, True),
        ([" match port tcp range 20 1000"], {25}, True),
        ([" match port tcp range 26 1000"], {25}, True),
        ([" match port tcp range 587 588"], {25, 587, 588}, False),
        (
            [" match access-list l", "access-list l permit tcp any any eq 2525",
             "access-list l permit udp any any eq 53"],
            {25, 2525}, False,
        ),
        ([" match access-list l", "access-list l permit ip any host 10.0.0.1"], {25}, True),
    ],
)  # fmt: skip
def test_ports_that_are_inspected_are_known_and_too_many_are_reported(
    match: list[str], ports: set[int], reported: bool
) -> None:
    lines = ["class-map c", *match, *APPLIED.format(action="inspect esmtp").splitlines()]
    found = configuration(*lines)
    assert set(found.policy.plans) == ports
    assert ["only port 25" in f.message for f in found.not_done] == [True] * reported


def test_first_class_with_a_feature_decides_about_it_alone() -> None:
    policy = policy_of(
        "policy-map p",
        " class esa",
        "  set connection conn-max 10",
        " class inspection_default",
        "  inspect esmtp",
        "  set connection conn-max 20 per-client-max 3",
        " class class-default",
        "  set connection timeout idle 0:10:00",
    )
    gateway = plan(policy, "10.0.0.1", "192.168.1.1")
    assert (gateway.decided_by, gateway.settings_by) == ("inspection_default", "esa")
    assert gateway.limits == ConnectionLimits(10)  # not 20, and no per-client limit
    other = plan(policy, "10.0.0.1", "192.168.1.2")
    assert (other.settings_by, other.limits) == (
        "inspection_default",
        ConnectionLimits(20, per_client=3),
    )
    web = plan(policy, "10.0.0.1", "192.168.1.2", 80)
    assert (web.settings_by, web.timeouts.idle) == ("class-default", 600.0)


def test_interface_policy_comes_before_the_global_one_feature_by_feature() -> None:
    policy = policy_of(
        "policy-map type inspect esmtp strict",
        "policy-map p",
        " class all",
        "  inspect esmtp",
        "  set connection conn-max 5",
        "policy-map dmz",
        " class submission",
        "  inspect esmtp strict",
        "service-policy dmz interface dmz",
    )
    for where in ({"arrives": "dmz"}, {"leaves": "dmz"}):
        found = plan(policy, port=587, **where)
        assert found.inspection.map.name == "strict"
        assert found.limits == ConnectionLimits(5)  # it says nothing about limits
        assert plan(policy, port=25, **where).inspection.map.name == "_default_esmtp_map"
    assert plan(policy, port=587, arrives="inside").inspection.map.name == "_default_esmtp_map"


def test_interface_where_it_arrives_comes_before_the_one_where_it_leaves() -> None:
    policy = policy_of(
        "policy-map p",
        "policy-map a",
        " class all",
        "  inspect esmtp",
        "policy-map b",
        " class esa",
        "  no inspect esmtp",
        "service-policy a interface outside",
        "service-policy b interface inside",
    )
    gateway = ("10.0.0.1", "192.168.1.1")
    assert plan(policy, *gateway, arrives="outside", leaves="inside").decided_by == "all"
    assert plan(policy, *gateway, arrives="inside", leaves="outside").decided_by == "esa"


def test_lower_limit_of_class_and_static_holds() -> None:
    policy = policy_of(
        "policy-map p",
        " class all",
        "  set connection conn-max 70 embryonic-conn-max 60",
        "static (inside,outside) 192.0.2.1 192.168.1.1 50 100",
    )
    assert plan(policy, "10.0.0.1", "192.168.1.1").limits == ConnectionLimits(50, 60)
    assert plan(policy, "10.0.0.1", "192.168.1.2").limits == ConnectionLimits(70, 60)


def test_timeouts_of_the_class_override_the_global_ones() -> None:
    policy = policy_of(
        "timeout conn 2:00:00 half-closed 0:20:00",
        "policy-map p",
        " class inspection_default",
        "  set connection timeout idle 0 reset half-closed 0:01:00",
    )
    assert plan(policy).timeouts == Timeouts(30.0, 60.0, NEVER)
    assert plan(policy).settings.idle_reset
    assert plan(policy, port=80).timeouts == Timeouts(30.0, 1200.0, 7200.0)


def test_what_state_bypass_lets_pass_is_not_inspected() -> None:
    policy = policy_of(
        "policy-map p",
        " class all",
        "  inspect esmtp",
        " class esa",
        "  set connection advanced-options tcp-state-bypass",
    )
    found = plan(policy, "10.0.0.1", "192.168.1.1")
    assert (found.inspection, found.state_bypass) == (None, True)
    assert plan(policy, "10.0.0.1", "192.168.1.2").inspection is not None


# Access lists.

LIST = ["class-map c", " match access-list l"]


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("permit tcp any host 192.168.1.1 eq smtp", {}, {"port": 26}),
        ("permit tcp any host 192.168.1.1 neq 25", {"port": 26}, {}),
        ("permit tcp any host 192.168.1.1 lt 25", {"port": 24}, {}),
        ("permit tcp any host 192.168.1.1 gt 25", {"port": 26}, {}),
        ("permit tcp any any range 20 30", {"port": 30}, {"port": 31}),
        ("permit tcp any gt 1023 any", {}, {"source_port": 1023}),
        ("permit tcp 10.0.0.0 255.0.0.0 any", {}, {"source": "11.0.0.1"}),
        ("permit tcp 10.0.0.77 255.255.255.0 any", {}, {"source": "10.0.1.1"}),
        ("permit 6 any4 any4", {}, {"source": "2001:db8::1", "destination": "2001:db8::2"}),
        (
            "permit ip any6 2001:db8::/32",
            {"source": "2001:db8::1", "destination": "2001:db8::2"},
            {},
        ),
        ("permit udp any any", None, {}),
        ("permit icmp any any echo", None, {}),
        ("permit esp any any", None, {}),
        ("permit tcp any any eq 25 inactive", None, {}),
        ("permit ip any any log warnings interval 60", {}, None),
        ("permit ip any interface outside", {"destination": "192.0.2.1"}, {}),
    ],
)
def test_entry_matches_what_its_words_say(
    entry: str, inside: dict | None, outside: dict | None
) -> None:
    policy = class_of(*ASA_INTERFACES[:3], " ip address 192.0.2.1 255.255.255.0",
                      f"access-list l extended {entry}", *LIST)  # fmt: skip
    if inside is not None:
        assert in_class(policy, **inside)
    if outside is not None:
        assert not in_class(policy, **outside)


def test_first_entry_that_matches_decides_and_none_is_a_deny() -> None:
    policy = class_of(
        "access-list l deny tcp host 10.0.0.1 any",
        "access-list l permit tcp 10.0.0.0 255.255.255.0 any",
        "access-list l deny ip any any",
        "access-list l permit ip any any",
        *LIST,
    )
    assert not in_class(policy, "10.0.0.1")
    assert in_class(policy, "10.0.0.2")
    assert not in_class(policy, "10.0.1.1")


OBJECTS = """
name 192.168.1.1 gateway
object network one
 host 192.168.1.1
object network two
 range 192.168.2.10 192.168.2.12
object network two
 description listed twice
object-group network all
 network-object object one
 group-object rest
object-group network rest
 network-object object two
 network-object 192.168.3.0 255.255.255.0
object-group service mail tcp
 port-object eq SMTP
 port-object range 587 588
object-group service both tcp-udp
 port-object eq 53
object service smtps
 service tcp destination eq 465
object-group service svc
 service-object tcp destination eq smtp
 service-object object smtps
 service-object udp destination eq 25
object-group protocol transport
 protocol-object tcp
 protocol-object udp
"""


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("permit ip any host gateway", [{}], [{"destination": "192.168.1.2"}]),
        ("permit ip any object one", [{}], [{"destination": "192.168.1.2"}]),
        (
            "permit ip any object-group all",
            [{}, {"destination": "192.168.2.12"}, {"destination": "192.168.3.200"}],
            [{"destination": "192.168.2.13"}],
        ),
        ("permit tcp any any object-group mail", [{}, {"port": 588}], [{"port": 586}]),
        ("permit tcp any object-group mail any", [{"source_port": 25}], [{}]),
        ("permit tcp object-group rest object-group rest", [], [{}]),
        ("permit object-group svc any any", [{}, {"port": 465}], [{"port": 587}]),
        ("permit object smtps any any", [{"port": 465}], [{}]),
        ("permit object-group transport any any eq 25", [{}], [{"port": 26}]),
    ],
)
def test_objects_and_groups_stand_for_their_members(
    entry: str, inside: list[dict], outside: list[dict]
) -> None:
    policy = class_of(OBJECTS, f"access-list l extended {entry}", *LIST)
    assert all(in_class(policy, **options) for options in inside)
    assert not any(in_class(policy, **options) for options in outside)


UNCERTAIN = [
    "object network named",
    " fqdn mx.example.org",
    "access-list l {action} tcp any object named",
]
HOURS = ["access-list l {action} tcp any any time-range hours"]
USERS = ["access-list l {action} tcp user EXAMPLE\\ann any any"]


@pytest.mark.parametrize("lines", [UNCERTAIN, HOURS, USERS], ids=["fqdn", "time-range", "user"])
def test_what_is_not_certain_counts_where_it_means_inspection(lines: list[str]) -> None:
    def policy(first: str, action: str):
        return configuration(
            *(line.format(action=first) for line in lines),
            f"access-list l {'deny' if first == 'permit' else 'permit'} ip any any",
            *LIST,
            "policy-map p",
            " class c",
            f"  {action}",
            " class class-default",
            "  inspect esmtp",
            "service-policy p global",
        )

    exempt_if = policy("permit", "no inspect esmtp")
    assert plan(exempt_if.policy).inspection is not None
    exempt_unless = policy("deny", "no inspect esmtp")
    assert plan(exempt_unless.policy).inspection is not None
    assert plan(policy("permit", "inspect esmtp").policy).decided_by == "c"
    assert plan(policy("deny", "inspect esmtp").policy).decided_by == "c"
    assert len([f for f in exempt_if.not_done if "counts where it means" in f.message]) == 1
    assert "not done" in exempt_if.not_done[0].message


@pytest.mark.parametrize("match", ["tunnel-group t", "dscp ef", "rtp 1 2", "precedence 1"])
def test_class_with_a_match_that_is_not_done_holds_nothing(match: str) -> None:
    found = configuration(
        "class-map c",
        f" match {match}",
        "policy-map global_policy",
        " class c",
        "  no inspect esmtp",
    )
    assert plan(found.policy).inspection is not None
    assert [finding.line for finding in found.not_done] == [2]


def test_class_map_without_a_match_holds_nothing() -> None:
    found = configuration(
        "class-map c", "policy-map global_policy", " class c", "  no inspect esmtp"
    )
    assert plan(found.policy).inspection is not None


@pytest.mark.parametrize("named", ["192.168.1.1", "192.0.2.1"])
@pytest.mark.parametrize(
    "static",
    [
        ["static (inside,outside) 192.0.2.1 192.168.1.1 netmask 255.255.255.255"],
        ["static (inside,outside) 192.0.2.0 192.168.1.0 netmask 255.255.255.0"],
        ["object network m", " host 192.168.1.1", " nat (inside,outside) static 192.0.2.1"],
        [
            "object network m",
            " host 192.168.1.1",
            "object network g",
            " host 192.0.2.1",
            "nat (inside,outside) source static m g",
        ],
    ],
)
def test_real_or_mapped_address_is_taken_where_a_static_translates(
    static: list[str], named: str
) -> None:
    policy = class_of(
        *static,
        f"access-list l permit ip any host {named}",
        f"access-list l permit ip host {named} any",
        *LIST,
    )
    assert in_class(policy, "10.0.0.1", "192.168.1.1")
    assert in_class(policy, "192.168.1.1", "10.0.0.1")
    assert not in_class(policy, "10.0.0.1", "192.168.1.2")


def test_translated_port_is_taken_with_its_address() -> None:
    policy = class_of(
        "static (inside,outside) tcp 192.0.2.1 2525 192.168.1.1 smtp netmask 255.255.255.255",
        "access-list l permit tcp any host 192.0.2.1 eq 2525",
        *LIST,
    )
    assert in_class(policy, "10.0.0.1", "192.168.1.1", 25)
    assert not in_class(policy, "10.0.0.1", "192.168.1.1", 2525)


def test_equal_plans_are_one_object() -> None:
    classifier = Classifier(policy_of("policy-map p", " class all", "  inspect esmtp"))
    assert classifier.plan(connection()) is classifier.plan(connection("10.9.9.9"))


def test_fixup_inspects_the_seven_verbs_on_its_ports() -> None:
    found = configuration("PIX Version 6.3(5)", "fixup protocol smtp 2525-2526")
    for port in (25, 2525, 2526):
        inspection = plan(found.policy, port=port).inspection
        assert inspection is not None
        assert not inspection.map.extended
    assert plan(found.policy, port=2527).inspection is None
    found = configuration("fixup protocol smtp 26", "no fixup protocol smtp 25")
    assert plan(found.policy, port=25).inspection is None
    found = configuration("fixup protocol smtp 26", "no fixup protocol smtp")
    assert plan(found.policy, port=25).inspection is not None
    assert plan(found.policy, port=26).inspection is None
