"""Advice: each kind where it is due, with its line, and not elsewhere."""

import re
from pathlib import Path

import pytest

from nfinspect.policy import default_text, parse_policy
from nfinspect.policy.advice import advise
from tests.unit.policy.connections import configuration

ESA = [
    "access-list l permit ip any host 192.168.1.1",
    "class-map c",
    " match access-list l",
]
APPLY = ["policy-map global_policy", " class c", "  no inspect esmtp"]
STATIC = "static (inside,outside) tcp interface smtp 192.168.1.1 smtp"


def inspecting(*classes: str) -> list[str]:
    maps = [line for name in classes for line in (f"class-map {name}", " match port tcp eq 25")]
    policy = [line for name in classes for line in (f" class {name}", "  inspect esmtp")]
    return [*maps, "policy-map p", *policy, "service-policy p global"]


MAP = ["policy-map type inspect esmtp m"]
USED = ["policy-map global_policy", " class inspection_default", "  inspect esmtp m"]

GIVEN: list[tuple[str, int, list[str]]] = [
        (
            "never-acts",
            4,
            [*MAP, " match cmd verb VRFY HELP", "  reset", " match cmd verb HELP", "  log", *USED],
        ),
        (
            "closes-everything",
            2,
            [*MAP, " match not body length gt 9", "  drop-connection", *USED],
        ),
        (
            "regex",
            1,
            ["regex r a{2}", *MAP, " match sender-address regex r", "  log", *USED],
        ),
        ("unused-regex", 1, ["regex r a", *MAP, *USED]),
        ("match-address", 3, [*ESA[:2], " match address l", *APPLY]),
        ("bare-address", 1, ["access-list l permit ip any 192.168.1.1", *ESA[1:], *APPLY]),
        ("new-connections", 6, [*ESA, *APPLY]),
        ("exemption", 6, [*ESA, *APPLY]),
        ("gateway-inspected", 1, [STATIC]),
        (
            "gateway-inspected",
            3,
            [
                "access-list in permit tcp any host 192.0.2.1 eq smtp",
                "access-group in in interface outside",
                "static (inside,outside) 192.0.2.1 192.168.1.1",
            ],
        ),
        ("no-allow-tls", 1, ["policy-map type inspect esmtp _default_esmtp_map"]),
        ("recipient-limit", 1, ["hostname fw"]),
        (
            "port-465",
            5,
            ["class-map c", " match port tcp eq 465", "policy-map p", " class c", "  inspect esmtp",
             "service-policy p global"],
        ),
        ("embryonic-above-connections", 1, ["static (inside,outside) 192.0.2.1 10.0.0.1 tcp 50 100"]),
        (
            "embryonic-above-connections",
            3,
            ["policy-map global_policy", " class class-default",
             "  set connection conn-max 5 embryonic-conn-max 5"],
        ),
        (
            "matches-nothing",
            3,
            ["class-map d", "policy-map global_policy", " class d", "  inspect esmtp"],
        ),
        ("shadowed", 8, inspecting("one", "two")),
        (
            "shadowed",
            4,
            ["class-map one", " match port tcp eq 25", "policy-map p", " class one",
             "  inspect esmtp", " class class-default", "  no inspect esmtp",
             "service-policy p global"],
        ),
        (
            "never-matches",
            2,
            ["access-list l permit ip any host 192.168.1.1",
             "access-list l permit tcp host 10.0.0.1 host 192.168.1.1 eq 25", *ESA[1:], *APPLY],
        ),
        ("real-or-mapped", 1, [*ESA, *APPLY, "static (inside,outside) 192.0.2.1 192.168.1.1"]),
        ("assumed-interfaces", 1, [STATIC]),
        ("assumed-interfaces", 3, ["policy-map p", "service-policy p global",
                                   "service-policy p interface outside"]),
        ("inspect-smtp", 3, ["policy-map global_policy", " class inspection_default",
                             "  inspect smtp"]),
        ("no-service-policy", 1, ["ASA Version 9.8(2)", "hostname fw"]),
        ("old-words", 3, ["policy-map global_policy", " class class-default",
                          "  set connection timeout tcp 1:00:00"]),
        ("overridden", 4, ["policy-map type inspect esmtp _default_esmtp_map", " parameters",
                           "  allow-tls", "  no allow-tls"]),
        ("unused-class-map", 1, ["class-map c", *APPLY[:1], " class inspection_default",
                                 "  inspect esmtp"]),
        ("without-effect", 1, ["policy-map type inspect esmtp m", *inspecting("c")]),
        ("inspects-nothing", 2, ["policy-map p", "service-policy p global"]),
        ("default-applies", 1, []),
        ("default-applies", 1, ["service-policy global_policy global"]),
        ("regex", 1, ["regex r a*", "policy-map type inspect esmtp _default_esmtp_map",
                      " match sender-address regex r", "  log"]),
        ("unused-regex", 1, ["regex r a"]),
]  # fmt: skip


@pytest.mark.parametrize(("code", "line", "lines"), GIVEN)
def test_advice_is_given_with_its_line(code: str, line: int, lines: list[str]) -> None:
    found = [(f.code, f.line) for f in advise(configuration(*lines))]
    assert (code, line) in found


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("gateway-inspected", [*ESA, *APPLY, STATIC]),
        ("assumed-interfaces", ["nameif e0 outside security0", "nameif e1 inside security100", STATIC]),
        ("embryonic-above-connections", ["static (inside,outside) 192.0.2.1 10.0.0.1 tcp 50 20"]),
        ("embryonic-above-connections", ["static (inside,outside) 192.0.2.1 10.0.0.1 tcp 0 20"]),
        ("shadowed", inspecting("one")),
        (
            "never-matches",
            ["access-list l permit tcp any host 192.168.1.1 eq 25",
             "access-list l permit ip any host 192.168.1.1", *ESA[1:], *APPLY],
        ),
        ("no-service-policy", ["ASA Version 9.8(2)", "policy-map p", "service-policy p global"]),
    ],
)  # fmt: skip
def test_advice_is_not_given_where_it_is_not_due(code: str, lines: list[str]) -> None:
    assert code not in {f.code for f in advise(configuration(*lines))}


def test_default_configuration_gets_the_two_hints_that_its_map_deserves() -> None:
    found = advise(parse_policy(default_text(), "mine.cfg"))
    assert [f.code for f in found] == ["no-allow-tls", "recipient-limit"]


def test_every_advice_has_a_code_a_section_and_a_line() -> None:
    lines = [*ESA, *APPLY, STATIC, "static (inside,outside) 192.0.2.1 192.168.1.1 tcp 50 100"]
    for found in advise(configuration(*lines)):
        assert found.code
        assert found.read.startswith("docs/")
        assert found.line >= 1
        assert "remove" not in found.message


def test_every_advice_of_the_documents_has_a_row_above() -> None:
    table = Path("docs/configuration.md").read_text().partition("| code | says |")[2]
    rows = table.partition("\n\n")[0].splitlines()[2:]
    documented = {code for row in rows for code in re.findall(r"`([a-z0-9-]+)`", row.split("|")[1])}
    # That other rules are in place is seen by the command alone: tests/unit/cli/test_check.py.
    assert documented - {"other-rules"} == {case[0] for case in GIVEN}
