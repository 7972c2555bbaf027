"""Faults in lines about lists, objects, translation, interfaces and timeouts, and what is not done."""

import pytest

from nfinspect.policy import ConfigurationError, parse_policy
from nfinspect.policy.model import NEVER, ConnectionLimits, DeadConnectionDetection, Interface
from nfinspect.policy.ranges import parse_address
from tests.unit.policy.connections import configuration, findings

USED = [
    "class-map c",
    " match access-list l",
    "policy-map global_policy",
    " class c",
    "  no inspect esmtp",
]


@pytest.mark.parametrize(
    ("lines", "line", "column", "message"),
    [
        (["access-list l permt ip any any"], 1, 15, "unexpected 'permt'"),
        (
            ["access-list l permit tcp any any eq smtpp"],
            1,
            37,
            "'smtpp': no port of that name, did you mean smtp?",
        ),
        (["access-list l permit tcp any any eq 65536"], 1, 37, "'65536': out of range"),
        (
            ["access-list l permit tcp any range 9 8 any"],
            1,
            38,
            "the range ends before it begins",
        ),
        (
            ["access-list l permit ip any 10.0.0.0 0.0.0.255"],
            1,
            38,
            "unexpected '0.0.0.255'",
        ),
        (
            ["access-list l permit ip 10.0.0.0 0.0.0.255 any"],
            1,
            34,
            "'0.0.0.255': not an address; the appliance's masks are netmasks, as 255.255.255.0",
        ),
        (["access-list l permit ip host gateway any"], 1, 30, "'gateway': not an address or a defined name"),
        (["access-list l permit ip any host 10.0.0.300"], 1, 34, "'10.0.0.300': not an address"),
        (["access-list l permit ip any 2001:db8::/129"], 1, 29, "'2001:db8::/129': the length of the prefix is out of range"),
        (["access-list l permit ip any object o"], 1, 1, "object network 'o' is not defined"),
        (["access-list l permit ip any object-group g"], 1, 1, "object-group 'g' is not defined"),
        (
            ["object-group service g tcp", "access-list l permit ip any object-group g"],
            2,
            1,
            "'g' is an object-group service",
        ),
        (
            ["object-group network g", " group-object g", "access-list l permit ip any object-group g"],
            2,
            15,
            "object-group 'g' contains itself",
        ),
        (["access-list l standard permit any"], 3, 20, "'l' is no extended access-list"),
        (["object network o", " range 10.0.0.2 10.0.0.1"], 2, 17, "the range ends before it begins"),
        (["static (inside,outside) 1.1.1.1"], 1, 32, "the line is incomplete"),
        (["static (inside) 1.1.1.1 2.2.2.2"], 1, 8, "'(inside)': not two interfaces in brackets"),
        (
            ["object network o", " host 10.0.0.1", " nat (inside,outside) static p"],
            3,
            2,
            "object network 'p' is not defined",
        ),
        (["timeout con 1:00:00"], 1, 9, "unexpected 'con'"),
        (["timeout conn 0:04:59"], 1, 14, "'0:04:59': shorter than 0:05:00"),
        (["timeout conn 1193:00:01"], 1, 14, "'1193:00:01': longer than 1193:0:0"),
        (["timeout conn 1:60:00"], 1, 14, "'1:60:00': not a time"),
        (
            ["interface e0", " nameif outside", "interface e1", " nameif outside"],
            4,
            9,
            "'outside' is already the name of an interface in line 2",
        ),
        (["interface e0", " security-level 101"], 2, 17, "'101': out of range"),
        (["fixup protocol smtp 26-25"], 1, 21, "'26-25': the range ends before it begins"),
        (
            ["policy-map global_policy", " class inspection_default", "  set connection conn-max 2000001"],
            3,
            27,
            "'2000001': out of range",
        ),
    ],
)  # fmt: skip
def test_fault_is_located(lines: list[str], line: int, column: int, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configuration(*lines, *USED)
    found = caught.value.findings[0]
    assert (found.line, found.column, found.message) == (line, column, message)


def test_groups_may_nest_fifty_deep_and_no_deeper() -> None:
    def lines(depth: int) -> list[str]:
        groups = [f"object-group network g{n}\n group-object g{n + 1}" for n in range(depth)]
        last = f"object-group network g{depth}\n network-object host 10.0.0.1"
        return [*groups, last, "access-list l permit ip any object-group g0", *USED]

    configuration(*lines(50))
    with pytest.raises(ConfigurationError, match="nested more than 50 deep"):
        configuration(*lines(51))


def test_groups_that_share_members_are_resolved_once_each() -> None:
    groups = [f"object-group network g{n}\n group-object g{n + 1}\n" * 2 for n in range(40)]
    end = "object-group network g40\n network-object host 10.0.0.1"
    configuration(*groups, end, "access-list l permit ip any object-group g0", *USED)


@pytest.mark.parametrize(
    "line",
    [
        "access-group l in interface outside",
        "conduit permit tcp host 192.0.2.1 eq smtp any",
        "static (inside,outside) 192.0.2.1 access-list l 0 0",
        "static (inside,outside) tcp 192.0.2.1 smtp access-list l",
        "static (inside,outside) 192.0.2.1 192.168.1.1 50 20 udp 5",
        "static (inside,outside) interface 192.168.1.1",
        "nat (inside) 1 0.0.0.0 0.0.0.0 0 0",
        "nat (inside) 0 192.168.1.1 255.255.255.255 50 100",
        "global (outside) 1 interface",
        "nat (inside,outside) source dynamic any interface",
        "alias (inside) 10.0.0.1 192.0.2.1",
        "mailhost 192.0.2.1 10.0.0.1",
    ],
)
def test_line_that_is_not_done_is_reported_with_its_place(line: str) -> None:
    found = configuration("hostname fw", line)
    assert {(f.line, f.text) for f in found.not_done} == {(2, line)}
    assert found.not_done[0].message.startswith("not done")
    assert found.not_done[0] in found.notices


@pytest.mark.parametrize(
    "line",
    [
        "nat (inside) 0 access-list l",
        "nat (inside) 0 10.0.0.0 255.0.0.0 0 0",
        "static (inside,outside) 10.0.0.1 10.0.0.1 netmask 255.255.255.255 0 0",
        "nat (inside,outside) source static any any destination static far far no-proxy-arp",
        "nat (inside,outside) source static any any inactive",
    ],
)
def test_line_that_translates_nothing_is_understood(line: str) -> None:
    found = configuration(line)
    assert (found.understood, found.not_done, found.policy.translations) == (1, (), ())


def test_twice_nat_to_another_side_is_not_done() -> None:
    objects = ["object network a", " host 10.0.0.1", "object network b", " host 192.0.2.1"]
    found = configuration(*objects, "nat (i,o) source static a b destination static b b")
    assert [f.line for f in found.not_done] == [5]


@pytest.mark.parametrize(
    ("lines", "real", "mapped", "ports", "limits"),
    [
        (["static (i,o) 192.0.2.1 10.0.0.1 netmask 255.255.255.255 0 0"], "10.0.0.1", "192.0.2.1", (0, 0, 0), (0, 0)),
        (["static (i, o) 192.0.2.1 10.0.0.1 netmask 255.255.255.255 tcp 50 20 udp 9 norandomseq"], "10.0.0.1", "192.0.2.1", (0, 0, 0), (50, 20)),
        (["name 10.0.0.1 inner", "static (i,o) tcp interface smtp inner 2525"], "10.0.0.1", None, (6, 2525, 25), (0, 0)),
        (["object network n", " host 10.0.0.1", "object network n", " nat (i,o) static interface service tcp 2525 smtp"], "10.0.0.1", None, (6, 2525, 25), (0, 0)),
        (
            ["object network n", " host 10.0.0.1", "object service r", " service tcp source eq 2525",
             "object service m", " service tcp source eq smtp", "nat (i,o) source static n interface service r m"],
            "10.0.0.1", None, (6, 2525, 25), (0, 0),
        ),
    ],
)  # fmt: skip
def test_static_becomes_a_translation(
    lines: list[str],
    real: str,
    mapped: str | None,
    ports: tuple[int, int, int],
    limits: tuple[int, int],
) -> None:
    (found,) = configuration(*lines).policy.translations
    assert (found.real_interface, found.mapped_interface) == ("i", "o")
    assert found.real == (parse_address(real)[1],) * 2
    assert found.mapped == (parse_address(mapped)[1] if mapped else None)
    assert (found.protocol, found.real_port, found.mapped_port) == ports
    assert found.limits == ConnectionLimits(*limits)
    assert found.random_sequence_numbers is ("norandomseq" not in lines[-1])


def test_interfaces_have_names_levels_and_linux_interfaces() -> None:
    text = """interface GigabitEthernet0/0
 nameif outside
 ip address 192.0.2.1 255.255.255.0 standby 192.0.2.2
interface GigabitEthernet0/1
 shutdown
 no nameif
interface Vlan 10
 nameif dmz
 security-level 50
 ip address dhcp setroute
nameif ethernet2 inside security100
ip address inside 10.0.0.1 255.0.0.0
"""
    devices = {"outside": "eth0", "lab": "br0"}
    assert parse_policy(text, "a.cfg", devices).policy.interfaces == (
        Interface("outside", 0, "eth0", (4, 0xC0000201)),
        Interface("dmz", 50, "dmz"),
        Interface("inside", 100, "inside", (4, 0x0A000001)),
        Interface("lab", 0, "br0"),
    )


def test_settings_of_several_lines_are_merged() -> None:
    found = configuration(
        "policy-map global_policy",
        " class class-default",
        "  set connection conn-max 9 per-client-embryonic-max 3",
        "  set connection embryonic-conn-max 4 random-sequence-number disable syn-cookie-mss 1300",
        "  set connection timeout embryonic 0 half-closed 0:5:0",
        "  set connection timeout tcp 2:0:0 reset",
        "  set connection dcd 0:1:0 3",
        "  set connection decrement-ttl",
    )
    settings = found.policy.service_policies[0].classes[-1].settings
    assert settings is not None
    assert settings.limits == ConnectionLimits(9, 4, 0, 3)
    assert (settings.embryonic, settings.half_closed, settings.idle) == (NEVER, 300.0, 7200.0)
    assert settings.idle_reset
    assert settings.decrement_ttl
    assert settings.dead_connections == DeadConnectionDetection(60.0, 3)
    assert (settings.random_sequence_numbers, settings.syn_cookie_mss) == (False, 1300)
    assert [n for n, _ in findings(found.own_notices)] == [6, 7]
    assert [n for n, _ in findings(found.not_done)] == [3, 8]


def test_lines_of_a_tcp_map_that_a_class_uses_are_told_if_the_filter_does_otherwise() -> None:
    lines = (
        "tcp-map used",
        " check-retransmission",
        " urgent-flag allow",
        " tcp-options range 19 19 allow",
        "tcp-map unused",
        " urgent-flag allow",
        "policy-map global_policy",
        " class class-default",
        "  set connection advanced-options used",
    )
    assert findings(configuration(*lines).not_done) == [
        (3, "not done: the urgent flag and pointer are cleared"),
        (4, "not done: options 6, 7 and 9 to 255 are cleared, and no others"),
    ]


@pytest.mark.parametrize(("word", "told"), [("enable", True), ("disable", False)])
def test_random_sequence_numbers_are_told_where_they_are_asked_for(word: str, told: bool) -> None:
    found = configuration(
        "policy-map global_policy",
        " class class-default",
        f"  set connection random-sequence-number {word}",
    )
    assert bool(found.not_done) == told


def test_show_access_list_is_read_without_its_elements() -> None:
    found = configuration(
        "object-group network g",
        " network-object host 10.0.0.1",
        "access-list cached ACL log flows: total 0, denied 0 (deny-flow-max 4096)",
        "access-list l; 2 elements; name hash: 0x1",
        "access-list l line 1 extended permit tcp object-group g any eq smtp 0x37cf3004",
        "  access-list l line 1 extended permit tcp host 10.0.0.1 any eq smtp (hitcnt=2) 0x37cf3005",
        "access-list l line 2 extended deny ip any any (hitcnt=0) (inactive) 0x37cf3006",
        *USED,
    )
    (entries,) = [
        c.match.entries for c in found.policy.service_policies[0].classes if c.match.entries
    ]
    assert [entry.permit for entry in entries] == [True, False]
