"""The rules of static translations."""

import pytest

from nfinspect.policy import parse_policy
from nfinspect.rules.translation import nat_rules

DEVICES = {"outside": "eth0", "inside": "eth1"}
OBJECTS = """object network host
 host 10.0.0.1
object network six
 host 2001:db8::1
"""


def rules(*lines: str, devices: dict[str, str] | None = DEVICES) -> dict[int, tuple[str, ...]]:
    return nat_rules(parse_policy("\n".join(lines), "a.cfg", devices).policy)


@pytest.mark.parametrize(
    ("line", "dnat", "snat"),
    [
        (
            "static (inside,outside) 192.0.2.1 10.0.0.1 netmask 255.255.255.255",
            "-i eth0 -d 192.0.2.1 -j DNAT --to-destination 10.0.0.1",
            "-o eth0 -s 10.0.0.1 -j SNAT --to-source 192.0.2.1",
        ),
        (
            "static (inside,outside) 192.0.2.0 10.0.0.0 netmask 255.255.255.128",
            "-i eth0 -d 192.0.2.0/25 -j NETMAP --to 10.0.0.0/25",
            "-o eth0 -s 10.0.0.0/25 -j NETMAP --to 192.0.2.0/25",
        ),
        (
            "static (inside,outside) tcp 192.0.2.1 2525 10.0.0.1 smtp",
            "-i eth0 -d 192.0.2.1 -p tcp -m tcp --dport 2525 -j DNAT --to-destination 10.0.0.1:25",
            None,
        ),
        (
            "static (inside,outside) tcp interface smtp 10.0.0.1 smtp",
            "-i eth0 -m addrtype --dst-type LOCAL -p tcp -m tcp --dport 25"
            " -j DNAT --to-destination 10.0.0.1:25",
            None,
        ),
        (
            f"{OBJECTS}object network host\n nat (inside,outside) static 192.0.2.1",
            "-i eth0 -d 192.0.2.1 -j DNAT --to-destination 10.0.0.1",
            "-o eth0 -s 10.0.0.1 -j SNAT --to-source 192.0.2.1",
        ),
    ],
)
def test_static_becomes_dnat_and_snat(line: str, dnat: str, snat: str | None) -> None:
    wanted = [f"-A NFINSPECT-DNAT {dnat}"] + ([f"-A NFINSPECT-SNAT {snat}"] if snat else [])
    assert rules(line) == {4: tuple(wanted)}


def test_ipv6_has_rules_of_its_own() -> None:
    line = "object network six\n nat (inside,outside) static 2001:db8:1::1 service tcp smtp smtp"
    (rule,) = rules(OBJECTS, line)[6]
    assert rule.endswith(
        "-d 2001:db8:1::1 -p tcp -m tcp --dport 25 -j DNAT --to-destination [2001:db8::1]:25"
    )


def test_interface_that_no_line_names_is_not_matched() -> None:
    found = rules("static (inside,outside) 192.0.2.1 10.0.0.1", devices=None)[4]
    assert [rule.split()[2] for rule in found] == ["-d", "-s"]


@pytest.mark.parametrize(
    "line",
    [
        "static (inside,outside) tcp 192.0.2.1 www 10.0.0.1 www",
        "static (inside,outside) udp 192.0.2.1 25 10.0.0.1 25",
        "static (inside,outside) interface 10.0.0.1",
        f"{OBJECTS}object network a\n range 10.0.0.1 10.0.0.3\nobject network b\n range 192.0.2.1"
        " 192.0.2.3\nnat (inside,outside) source static a b",
    ],
)
def test_what_cannot_carry_mail_or_cannot_be_translated_has_no_rule(line: str) -> None:
    assert rules(line) == {}
