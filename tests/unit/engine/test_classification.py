"""What the policy says about a connection, asked at its SYN or when it is picked up."""

import pytest

from nfinspect.actions import DropReason
from nfinspect.events import (
    BannerMasked,
    ConnectionBuilt,
    ConnectionTornDown,
    DeniedNoConnection,
    TeardownReason,
)
from nfinspect.policy import parse_policy
from tests.model.talk import Talk
from tests.model.wire import ACK, CLIENT, RST, SERVER

EXEMPT = """
access-list esa permit ip host {0} any
access-list esa permit ip any host {0}
class-map esa
 match access-list esa
policy-map global_policy
 class esa
  no inspect esmtp
"""
DMZ = """
nameif e0 outside security0
nameif e1 dmz security50
policy-map inspecting
 class inspection_default
  inspect esmtp
service-policy inspecting interface dmz
"""
BANNER = b"220 mail.example.org\r\n"


def talk_under(text: str, *devices: str, **options: object) -> Talk:
    names = {"outside": "eth0", "dmz": "eth1"} if devices else None
    policy = parse_policy(text, "a.cfg", names).policy
    return Talk(policy, devices=devices or ("", ""), **options)


def address(end: tuple[bytes, int]) -> str:
    return ".".join(map(str, end[0]))


def is_inspected(talk: Talk) -> bool:
    talk.open().server(BANNER)
    return bool(talk.emitted(BannerMasked))


@pytest.mark.parametrize(
    ("host", "inspected"), [(address(CLIENT), False), (address(SERVER), False), ("10.0.0.1", True)]
)
def test_exempt_host_is_not_inspected_as_client_or_server(host: str, inspected: bool) -> None:
    talk = talk_under(EXEMPT.format(host))
    assert is_inspected(talk) == inspected
    assert (talk.client(b"STARTTLS\r\n") == b"STARTTLS\r\n") == (not inspected)
    assert len(talk.emitted(ConnectionBuilt)) == 1


@pytest.mark.parametrize(
    ("devices", "inspected"),
    [(("eth0", "eth1"), True), (("eth1", "eth0"), True), (("eth0", "eth2"), False)],
)
def test_policy_of_an_interface_holds_where_a_connection_arrives_or_leaves(
    devices: tuple[str, str], inspected: bool
) -> None:
    assert is_inspected(talk_under(DMZ, *devices)) == inspected


def test_without_a_known_interface_clients_are_outside_and_servers_inside() -> None:
    text = DMZ.replace("interface dmz", "interface inside")
    assert is_inspected(talk_under(text))
    (built,) = talk_under(text).open().emitted(ConnectionBuilt)
    assert (built.connection.client.interface, built.connection.outbound) == ("outside", False)


@pytest.mark.parametrize(
    ("devices", "names", "outbound"),
    [
        (("eth0", "eth1"), ("outside", "dmz"), False),
        (("eth1", "eth0"), ("dmz", "outside"), True),
        (("eth9", "eth0"), ("eth9", "outside"), False),
    ],
)
def test_interfaces_and_direction_are_those_of_the_configuration(
    devices: tuple[str, str], names: tuple[str, str], outbound: bool
) -> None:
    talk = talk_under(DMZ, *devices)
    (built,) = talk.open().emitted(ConnectionBuilt)
    ends = built.connection.client, built.connection.server
    assert (tuple(end.interface for end in ends), built.connection.outbound) == (names, outbound)
    talk.client(flags=RST)
    (over,) = talk.emitted(ConnectionTornDown)
    wanted = TeardownReason.TCP_RESET_INSIDE if outbound else TeardownReason.TCP_RESET_OUTSIDE
    assert over.reason is wanted


def test_packet_without_a_connection_is_denied_on_the_interface_where_it_came_in() -> None:
    talk = talk_under(DMZ, "eth1", "eth0")
    assert talk.client(b"x", flags=ACK) is DropReason.NO_CONNECTION
    (denied,) = talk.emitted(DeniedNoConnection)
    assert denied.source.interface == "dmz"


def test_timeouts_of_the_class_hold_for_its_connections() -> None:
    text = EXEMPT.format(address(CLIENT)) + "  set connection timeout idle 0:00:10\n"
    talk = talk_under(text).open()
    talk.wait(9)
    assert not talk.emitted(ConnectionTornDown)
    talk.wait(2)
    (over,) = talk.emitted(ConnectionTornDown)
    assert over.reason is TeardownReason.CONNECTION_TIMEOUT


def test_older_connection_is_picked_up_with_its_interfaces_and_timeouts() -> None:
    text = DMZ + "timeout conn 0:05:00\n"
    talk = talk_under(text, "eth0", "eth1", now=10.0)
    assert talk.client(b"x") == b"x"
    (built,) = talk.emitted(ConnectionBuilt)
    assert built.connection.client.interface == "outside"
    talk.wait(301)
    assert len(talk.emitted(ConnectionTornDown)) == 1


def built_under(static: str, *, outbound: bool = False) -> ConnectionBuilt:
    """The connection from the outside to a server on dmz, or the reverse."""
    devices = ("eth1", "eth0") if outbound else ("eth0", "eth1")
    (built,) = talk_under(DMZ + static, *devices).open().emitted(ConnectionBuilt)
    return built


@pytest.mark.parametrize(
    ("static", "wanted"),
    [
        ("static (dmz,outside) 203.0.113.5 {server}", ("203.0.113.5", 25)),
        ("static (dmz,outside) tcp 203.0.113.5 2525 {server} 25", ("203.0.113.5", 2525)),
        ("static (dmz,outside) tcp 203.0.113.5 2525 {server} 26", None),
        ("static (dmz,outside) udp 203.0.113.5 25 {server} 25", None),
        ("static (outside,dmz) 203.0.113.5 {server}", None),
        ("static (dmz,elsewhere) 203.0.113.5 {server}", ("203.0.113.5", 25)),
        ("static (dmz,outside) tcp interface smtp {server} smtp", None),
        (
            "ip address outside 203.0.113.7 255.255.255.0\n"
            "static (dmz,outside) tcp interface smtp {server} smtp",
            ("203.0.113.7", 25),
        ),
    ],
)
def test_connection_shows_what_a_static_makes_of_its_server(
    static: str, wanted: tuple[str, int] | None
) -> None:
    built = built_under(static.format(server=address(SERVER)) + "\n")
    mapped = built.server_mapped
    assert built.client_mapped is None
    assert wanted == (None if mapped is None else (address((mapped.address, 0)), mapped.port))


def test_connection_shows_what_a_static_makes_of_its_client() -> None:
    static = f"static (dmz,outside) 203.0.113.5 {address(CLIENT)}\n"
    mapped = built_under(static, outbound=True).client_mapped
    assert mapped is not None
    assert address((mapped.address, 0)) == "203.0.113.5"
    assert built_under(static).client_mapped is None
