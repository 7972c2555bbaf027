"""Open connections as show prints them: flags, filters, hosts, limits."""

from __future__ import annotations

import json

import pytest

from nfinspect.audit import connections
from nfinspect.audit.connections import Wanted, flags
from nfinspect.engine import Engine
from nfinspect.live.control import UnanswerableError
from nfinspect.live.requests import local_host, request, wanted
from nfinspect.policy import parse_policy
from tests.model.talk import ACK, FIN, LATE, SYN, Talk
from tests.model.wire import SERVER
from tests.unit.engine.test_intercept import CLASS, attacked, established

HOST = ".".join(map(str, SERVER[0]))
TEXT = f"""
policy-map global_policy
 class class-default
  set connection conn-max 50 embryonic-conn-max 100
  set connection timeout idle 0:30:0
static (inside,outside) 203.0.113.9 {HOST} netmask 255.255.255.255 tcp 40 0
"""
POLICY = parse_policy(TEXT, "a.cfg").policy
OUTBOUND = """
nameif e0 outside security0
nameif e1 inside security100
"""


def step(talk: Talk, *steps: str) -> Talk:
    for each in steps:
        match each:
            case "syn":
                talk.client(flags=SYN, at=-1)
            case "syn-ack":
                talk.server(flags=SYN | ACK, at=-1, ack=0)
            case "ack":
                talk.client(flags=ACK)
            case "greeting":
                talk.server(b"220 x\r\n")
            case "data":
                talk.client(b"NOOP\r\n")
            case "fin":
                talk.client(flags=FIN | ACK)
            case "server ack":
                talk.server(flags=ACK)
            case "server fin":
                talk.server(flags=FIN | ACK)
    return talk


OPEN = ("syn", "syn-ack", "ack")


@pytest.mark.parametrize(
    ("steps", "inbound", "outbound"),
    [
        (("syn",), "SaAMB", "saAM"),
        (("syn", "syn-ack"), "aMB", "AM"),
        (OPEN, "UMB", "UM"),
        ((*OPEN, "greeting"), "UOMB", "UIM"),
        ((*OPEN, "greeting", "data"), "UIOMB", "UIOM"),
        ((*OPEN, "fin"), "UFMB", "UfM"),
        ((*OPEN, "fin", "server ack"), "UFrMB", "UfRM"),
        ((*OPEN, "server fin"), "UfMB", "UFM"),
        ((*OPEN, "server fin", "ack"), "UfRMB", "UFrM"),
    ],
)
def test_flags_tell_where_a_connection_stands(
    steps: tuple[str, ...], inbound: str, outbound: str
) -> None:
    names = {"outside": "eth0", "inside": "eth1"}
    for devices, found in ((("eth0", "eth1"), inbound), (("eth1", "eth0"), outbound)):
        policy = parse_policy(OUTBOUND, "a.cfg", names).policy
        talk = step(Talk(policy, devices=devices), *steps)
        (connection,) = talk.engine.open_connections
        assert flags(connection) == found


def test_flags_of_what_is_not_inspected() -> None:
    bypass = "policy-map global_policy\n class class-default\n  set connection advanced-options tcp-state-bypass\n"
    talk = Talk(parse_policy(bypass, "a.cfg").policy).open()
    assert [flags(each) for each in talk.engine.open_connections] == ["UBb"]
    picked_up = Talk(now=10.0)
    picked_up.client(b"x")
    assert [flags(each) for each in picked_up.engine.open_connections] == ["UIiB"]


def crowd() -> Engine:
    """Three connections of two clients, one of them embryonic, 12 seconds old."""
    engine = Engine(POLICY, started=0.0)
    for host, port, steps in (
        (1, 1000, (*OPEN, "greeting", "data")),
        (1, 1001, OPEN),
        (2, 1000, ("syn",)),
    ):
        step(Talk(engine=engine, client=(bytes([192, 0, 2, host]), port), now=LATE), *steps)
    return engine


def shown(wanted: Wanted) -> tuple[str, dict]:
    text, data = connections.connections(crowd().open_connections, wanted, LATE + 12, 3, 7)
    return text, json.loads(json.dumps(data))


def test_show_conn_prints_a_line_each() -> None:
    text, data = shown(Wanted())
    inside = f"inside {HOST}(203.0.113.9):25"
    assert text == (
        "3 in use, 7 most used\n"
        f"TCP outside 192.0.2.1:1000 {inside}, idle 0:00:12, bytes 13, flags UIOMB\n"
        f"TCP outside 192.0.2.1:1001 {inside}, idle 0:00:12, bytes 0, flags UMB\n"
        f"TCP outside 192.0.2.2:1000 {inside}, idle 0:00:12, bytes 0, flags SaAMB\n"
    )
    assert data["connections"][2] == {
        "connection": 3,
        "client": "192.0.2.2:1000",
        "client_interface": "outside",
        "server": f"{HOST}:25",
        "server_interface": "inside",
        "mapped": "203.0.113.9",
        "state": "syn_sent",
        "flags": "SaAMB",
        "idle": 12.0,
        "uptime": 12.0,
        "bytes": 0,
        "map": "_default_esmtp_map",
        "inspected": True,
        "passed_by_kernel": False,
        "intercepted": False,
        "limits": ["class class-default", f"static {HOST}"],
    }


def test_show_conn_count_is_the_first_line_alone() -> None:
    assert shown(Wanted("count")) == ("3 in use, 7 most used\n", {"in_use": 3, "most_used": 7})


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("address 192.0.2.1", 2),
        (f"address {HOST}", 3),
        ("port 1000", 2),
        ("port 25", 3),
        ("address 192.0.2.1 port 1001", 1),
        ("detail address 192.0.2.2", 1),
        ("address 10.0.0.1", 0),
    ],
)
def test_show_conn_chooses_by_address_and_port(words: str, count: int) -> None:
    text, data = shown(wanted(words.split()))
    assert len(data["connections"]) == text.count("TCP ") - ("detail" in words) == count


def test_show_conn_detail_and_long() -> None:
    text, _ = shown(wanted(["detail", "port", "1001"]))
    assert text.endswith(
        f"TCP outside:192.0.2.1/1001 inside:{HOST}/25 (203.0.113.9/25),\n"
        "    flags UMB, idle 0:00:12, uptime 0:00:12, timeout 0:30:00, bytes 0\n"
    )
    text, _ = shown(wanted(["long", "address", "192.0.2.2"]))
    assert text.endswith(
        f"TCP outside:192.0.2.2/1000 (192.0.2.2/1000) inside:{HOST}/25 (203.0.113.9/25),\n"
        "    flags SaAMB, idle 0:00:12, uptime 0:00:12, timeout 0:00:30, bytes 0\n"
    )


def test_long_list_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_LISTED", 2)
    text, data = shown(Wanted())
    assert text.count("TCP ") == len(data["connections"]) == 2
    assert data["not_listed"] == 1
    assert text.endswith("and 1 more: name an address or a port to see fewer at a time\n")


def test_show_local_host_lists_hosts_with_their_limits() -> None:
    found = crowd().open_connections
    text, data = connections.local_hosts(found, None, LATE)
    assert (
        text
        == f"""\
Interface inside: 1 active
local host: <{HOST}>,
    TCP flow count/limit = 3/40
    TCP embryonic count to host = 1
    TCP intercept watermark = 100
Interface outside: 2 active
local host: <192.0.2.1>,
    TCP flow count/limit = 2/unlimited
    TCP embryonic count to host = 0
    TCP intercept watermark = unlimited
local host: <192.0.2.2>,
    TCP flow count/limit = 1/unlimited
    TCP embryonic count to host = 0
    TCP intercept watermark = unlimited
"""
    )
    assert data["inside"][0]["connection_limit"] == 40
    one, _ = connections.local_hosts(found, bytes([192, 0, 2, 2]), LATE)
    assert one.count("local host") == 1
    assert "  Conn:\n    TCP outside 192.0.2.2:1000 inside" in one
    assert connections.local_hosts([], None, LATE) == ("no hosts with open connections\n", {})


@pytest.mark.parametrize("detailed", [False, True])
def test_show_service_policy_set_connection(detailed: bool) -> None:
    refused = {"class class-default": 2, f"static {HOST}": 1}
    found = crowd().open_connections
    text, data = connections.set_connection(POLICY, found, refused, detailed=detailed)
    server = f"        server {HOST}: embryonic conns 1, conns 3\n" if detailed else ""
    assert text == (
        "Global policy:\n"
        "  Service-policy: global_policy\n"
        "    Class-map: class-default\n"
        "      Set connection policy: conn-max 50 embryonic-conn-max 100\n"
        "        current embryonic conns 1, current conns 3, drop 2\n"
        "        TCP intercept inactive, current conns through it 0\n"
        f"{server}"
        "      Set connection timeout policy: idle 0:30:00\n"
        f"Static: static (inside,outside) 203.0.113.9 {HOST} netmask 255.255.255.255 tcp 40 0\n"
        "      Set connection policy: conn-max 40 embryonic-conn-max 0\n"
        "        current embryonic conns 1, current conns 3, drop 1\n"
        f"{server}"
    )
    assert [(each["of"], each["refused"]) for each in data] == [*refused.items()]
    assert data[0]["servers"] == {HOST: {"connections": 3, "embryonic": 1, "intercepted": 0}}
    assert data[0]["intercept"] == {"targets": 0, "listed": []}


@pytest.mark.parametrize(
    ("limits", "client"),
    [("embryonic-conn-max 1", None), ("per-client-embryonic-max 1", "192.0.2.1")],
)
def test_intercept_shows_in_each_of_them(limits: str, client: str | None) -> None:
    engine = attacked(limits)
    established(engine)
    found, targets = engine.open_connections, engine.interceptions.targets()
    policy = parse_policy(CLASS.format(limits), "a.cfg").policy
    text, data = connections.set_connection(
        policy, found, {}, interceptions=engine.interceptions, detailed=True
    )
    who = f" from {client}" if client else ""
    assert text.endswith(
        "        current embryonic conns 1, current conns 2, drop 0\n"
        "        TCP intercept active, targets 1, current conns through it 1\n"
        f"        server {HOST}: embryonic conns 1, conns 2, through intercept 1\n"
        f"        intercept {HOST} port 25{who}\n"
    )
    assert data[0]["intercept"]["listed"] == [{"server": HOST, "port": 25, "client": client}]
    assert data[0]["intercepted"] == 1
    text, hosts = connections.local_hosts(found, SERVER[0], LATE, targets)
    assert "    TCP intercept = active, conns 1\n" in text
    (host,) = hosts["inside"]
    assert (host["intercept"], host["intercepted"]) == (True, 1)
    text, listed = connections.connections(found, Wanted("detail"), LATE, 2, 2)
    assert text.count(", intercepted\n") == 1
    assert [each["intercepted"] for each in listed["connections"]] == [False, True]
    engine.interceptions.give_up()
    text, _ = connections.set_connection(
        policy, found, {}, interceptions=engine.interceptions, detailed=False
    )
    assert text.endswith("        TCP intercept inactive, current conns through it 1\n")


def test_without_such_lines_it_says_so() -> None:
    policy = parse_policy("", "a.cfg").policy
    text, data = connections.set_connection(policy, [], {}, detailed=False)
    assert text.startswith("No class sets anything")
    assert data == []


def test_show_xlate_lists_static_translations() -> None:
    text = (
        TEXT + "static (inside,outside) tcp interface smtp 10.0.0.7 smtp netmask 255.255.255.255\n"
    )
    text += "static (inside,outside) 198.18.0.0 10.1.0.0 netmask 255.255.255.0\n"
    found, data = connections.translations(parse_policy(text, "a.cfg").policy)
    assert found == (
        "3 in use, 3 most used\n"
        "Flags: r - portmap, s - static, N - net-to-net\n"
        f"NAT from inside:{HOST} to outside:203.0.113.9\n"
        "    flags s\n"
        "TCP PAT from inside:10.0.0.7 25 to outside:interface 25\n"
        "    flags sr\n"
        "NAT from inside:10.1.0.0-10.1.0.255 to outside:198.18.0.0-198.18.0.255\n"
        "    flags sN\n"
    )
    assert len(data) == 3


@pytest.mark.parametrize(
    "words",
    ["conn nothing", "conn address", "conn address x", "conn port 70000", "conn port x",
     "conn detail long", "local-host x", "local-host 10.0.0.1 2", "arp"],
)  # fmt: skip
def test_wrong_words_are_named(words: str) -> None:
    with pytest.raises(UnanswerableError):
        request(words.split())


@pytest.mark.parametrize(
    "words",
    ["conn", "conn count", "conn long port 25", "local-host", "local-host 2001:db8::1", "xlate",
     "service-policy set connection", "service-policy set connection details"],
)  # fmt: skip
def test_right_words_are_understood(words: str) -> None:
    assert request(words.split()) == tuple(words.split())
    assert local_host(["2001:db8::1"]) == bytes.fromhex("20010db8000000000000000000000001")
