"""Whole listings: what surrounds the lines, and which lines are skipped."""

import pytest

from nfinspect.policy import ConfigurationError, default_policy, parse_policy
from nfinspect.policy.commands import GRAMMAR, OTHERS
from nfinspect.policy.lexer import LONGEST_LINE
from nfinspect.policy.reader import Reader

LISTING = """\
fw# show run
: Saved
:
ASA Version 9.8(2)
!
hostname fw
enable password ***** pbkdf2
names
!
interface GigabitEthernet0/0
 description to the provider
 speed 100
 nameif outside
 security-level 0
 ip address 192.0.2.1 255.255.255.0 standby 192.0.2.2
!
banner motd match access-list nothing
dns server-group DefaultDNS
 timeout 5
 domain-name example.org
object network mail
 host 192.168.1.1
access-list esa extended permit ip any object mail
access-list esa extended permit ip object mail any
timeout conn 1:00:00 half-closed 0:10:00 udp 0:02:00
aaa-server radius protocol radius
aaa-server radius (inside) host 10.0.0.1
 timeout 5
 key *****
route-map out permit 10
 match ip address esa
 set ip next-hop 10.0.0.2
crypto ca certificate chain trust
 certificate ca 01
    30820122 300d0609 2a864886 f70d0101 01050003
    match any
  quit
 certificate 02
    30820122 300d
  quit
group-policy g attributes
 banner value no inspect esmtp
 webvpn
  url-list none
class-map esa
 match access-list esa
class-map inspection_default
 match default-inspection-traffic
!
policy-map type inspect dns preset_dns_map
 parameters
  message-length maximum 512
 match header-flag RA
  drop
policy-map global_policy
 class inspection_default
  inspect dns preset_dns_map
  inspect esmtp 
 class esa
  no inspect esmtp
  user-statistics accounting
!
service-policy global_policy global
prompt hostname context
Cryptochecksum:d41d8cd98f00b204e9800998ecf8427e
: end
[OK]
"""  # noqa: W291

BLOCKS = [
    "group-policy g attributes\n vpn-tunnel-protocol ikev1\n dns-server value 10.0.0.1\n webvpn\n  svc ask\n",
    "tunnel-group 192.0.2.9 ipsec-attributes\n ikev1 pre-shared-key *****\n",
    "webvpn\n enable outside\n anyconnect enable\n tunnel-group-list enable\n",
    "aaa-server r (inside) host 10.0.0.1\n timeout 5\n key *****\n",
    "dns server-group d\n name-server 10.0.0.1\n timeout 3\n domain-name example.org\n",
    "sla monitor 1\n type echo protocol ipIcmpEcho 10.0.0.1 interface outside\n timeout 1000\n",
    "crypto ca trustpoint t\n enrollment terminal\n crl configure\n",
    "crypto isakmp policy 10\n authentication pre-share\n encryption aes\n hash sha\n",
    "policy-map type inspect sip s\n parameters\n  max-forwards-validation action drop\n match request-method invite\n  log\n",
    "router ospf 1\n network 10.0.0.0 255.0.0.0 area 0\n log-adj-changes\n",
    "username ann attributes\n vpn-group-policy g\n service-type remote-access\n",
    "object-group icmp-type i\n icmp-object echo\n",
    "class-map type inspect http match-all h\n match request method get\n",
    "ldap attribute-map l\n map-name memberOf Group-Policy\n",
    "time-range t\n periodic weekdays 9:00 to 17:00\n",
    "vpn load-balancing\n redirect-fqdn enable\n participate\n",
    "no snmp-server location\n",
]


def test_listing_is_read_and_every_line_is_counted() -> None:
    configuration = parse_policy(LISTING, "fw.cfg")
    lines = [line for line in LISTING.splitlines() if line.strip()[:1] not in ("", "!", ":")]
    total = configuration.understood + sum(configuration.other.values())
    assert total == len(lines) - 1  # without the line that was typed
    assert configuration.other["route-map"] == 3
    assert configuration.other["crypto"] == 8
    assert configuration.other["cryptochecksum"] == 1
    assert configuration.not_done == configuration.notices == ()
    policy = configuration.policy
    assert [c.name for p in policy.service_policies for c in p.classes] == [
        "inspection_default",
        "esa",
    ]
    assert policy.timeouts.idle == 3600


FORMS = {
    "with blank lines": LISTING.replace("\n", "\n\n"),
    "with CR LF": LISTING.replace("\n", "\r\n"),
    "indented by four": LISTING.replace("\n ", "\n    "),
    "behind prompts": "\n".join(f"fw(config)# {line}" for line in LISTING.splitlines()[1:]),
    "paged": LISTING.replace("class-map esa\n", "<--- More --->\nclass-map esa\n").replace(
        "\n match access-list esa", "\n<--- More --->\r              \r match access-list esa"
    ),
    "paged, copied from a window": LISTING.replace(
        "\n match access-list esa", "\n<--- More --->" + 14 * " " + " match access-list esa"
    ),
    "without indentation": "\n".join(line.strip() for line in LISTING.splitlines()),
}


@pytest.mark.parametrize("form", FORMS)
def test_listing_means_the_same_in_any_form(form: str) -> None:
    one, other = parse_policy(LISTING, "a"), parse_policy(FORMS[form], "a")
    assert one.policy == other.policy
    assert one.other == other.other


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0])
@pytest.mark.parametrize("indented", [True, False], ids=["indented", "not indented"])
def test_mode_that_is_none_of_our_business_is_skipped_to_its_end(
    block: str, indented: bool
) -> None:
    own = "timeout conn 2:00:00\npolicy-map p\n class inspection_default\n  inspect esmtp\n"
    text = f"{block}{own}service-policy p global\n"
    if not indented:
        text = "\n".join(line.strip() for line in text.splitlines())
    reader = Reader()
    reader.read(text, "a.cfg")
    assert reader.draft.findings == []
    assert reader.understood == 5
    assert sum(reader.other.values()) == block.count("\n")
    assert parse_policy(text, "a.cfg").policy.timeouts.idle == 7200


def test_line_that_an_old_appliance_wrapped_is_one() -> None:
    line = (
        "timeout conn 1:00:00 half-closed 0:10:00 udp 0:02:00 rpc 0:10:00 h323 0:05:00 sip 0:30:00"
    )
    text = f"{line[:80]}\n{line[80:]}\ntimeout conn 2:00:00\n"
    assert len(text.split("\n")[0]) == 80
    assert parse_policy(text, "a.cfg").policy.timeouts.idle == 7200
    faulty = text.replace("0:30:00", "0:30:0x")
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(faulty, "a.cfg")
    (finding,) = caught.value.findings
    word = line.index("0:30:00")
    place = (1, word + 1) if word < 80 else (2, word - 80 + 1)
    assert (finding.line, finding.column, finding.text) == (
        *place,
        faulty.split("\n")[place[0] - 1],
    )


def test_lines_of_80_columns_are_not_joined_where_longer_ones_stand() -> None:
    long = "access-list l remark " + "x" * 59
    text = f"{long}\nfoo\n! {'y' * 90}\n"
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text, "a.cfg")
    assert [f.line for f in caught.value.findings] == [2]


def test_full_line_before_a_command_is_not_joined() -> None:
    text = "access-list l remark " + "x" * 59 + "\ntimeout conn 2:00:00\n"
    assert parse_policy(text, "a.cfg").policy.timeouts.idle == 7200


def test_error_behind_a_prompt_is_located_in_the_line_as_it_is() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy("fw(config)# timeout con 1:00:00\n", "a.cfg")
    (finding,) = caught.value.findings
    assert (finding.line, finding.column, finding.suggestion) == (1, 21, "conn")


@pytest.mark.parametrize("typed", ["show run", "wr term", "conf t", "exit", ""])
def test_what_is_typed_at_a_prompt_is_no_configuration(typed: str) -> None:
    configuration = parse_policy(f"fw/ctx(config-pmap-c)# {typed}\nhostname fw\n", "a.cfg")
    assert configuration.policy == default_policy()


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("acess-list a permit ip any any\n", 1, 1),
        ("interface e0\n nameiff outside\n", 2, 2),
        ("policy-map global_policy\n class inspection_default\n  inpsect esmtp\n", 3, 3),
        ("hostname fw\nfoo\n", 2, 1),
        ("route-map r permit 10\n match ip address a\nfoo\n", 3, 1),
        ("class inspection_default\n no inspect esmtp\n", 2, 2),
    ],
)
def test_mistyped_line_is_an_error_wherever_it_stands(text: str, line: int, column: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text, "a.cfg")
    assert [(f.line, f.column) for f in caught.value.findings] == [(line, column)]


def test_unknown_line_below_an_interface_is_not_about_this_filter() -> None:
    text = "interface e0\n nameif outside\n quantum entangle\n"
    assert parse_policy(text, "a.cfg").other == {"interface": 1}


@pytest.mark.parametrize(
    "noise",
    [
        'Result of the command: "show running-config"',
        "INFO: converting 'fixup protocol dns maximum-length 512' to MPF commands",
        "WARNING: <x> found duplicate element",
        "show running-config",
        "Building configuration...",
        "[OK]",
        "--More--",
    ],
)
def test_what_a_terminal_session_holds_besides_is_not_about_this_filter(noise: str) -> None:
    assert sum(parse_policy(f"{noise}\n", "a.cfg").other.values()) == 1


def test_certificates_without_end_hide_nothing() -> None:
    text = "crypto ca certificate chain t\n certificate 01\n  30820122\ntimeout conn 2:00:00\n"
    assert parse_policy(text, "a.cfg").policy.timeouts.idle == 7200


def test_no_command_is_both_ours_and_not_about_this_filter() -> None:
    for mode, others in OTHERS.items():
        patterns = {row.pattern.split()[0] for row in GRAMMAR[mode]}
        single = {words[0] for words in others if len(words) == 1}
        # The rows of these read some of their lines; the rest of them are none of ours.
        shared = {"ip", "no", "sysopt", "description", "nat-assigned-to-public-ip"}
        assert patterns & single <= shared, mode.name


def test_every_faulty_line_is_counted() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy("foo\nhostname fw\n" * 500, "a.cfg")
    assert len(caught.value.findings) == 500


def test_line_in_a_skipped_mode_may_be_of_any_length_and_hold_anything() -> None:
    text = f"webvpn\n logo {'x' * LONGEST_LINE}\n title \x07\n"
    assert parse_policy(text, "a.cfg").other == {"webvpn": 3}


def test_line_indented_below_an_ordinary_command_belongs_to_it() -> None:
    configuration = parse_policy("hostname fw\n  stray\nend\ntimeout conn 2:00:00\n", "a.cfg")
    assert configuration.other == {"hostname": 2}
    assert configuration.policy.timeouts.idle == 7200
