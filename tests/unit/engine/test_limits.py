"""Connection limits: who is refused, who is counted, and who gets a place back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nfinspect.actions import DropReason
from nfinspect.audit import syslog
from nfinspect.engine import Engine, EngineOptions
from nfinspect.events import ConnectionBuilt, DeniedNoConnection, Event, LimitKind, LimitReached
from nfinspect.flow.permissions import RECORDED
from nfinspect.monitor import WATCHED, Monitor
from nfinspect.policy import parse_policy
from nfinspect.tcp.limits import Limits
from tests.model.talk import ACK, FIN, LATE, RST, SYN, Talk
from tests.model.wire import SERVER

HOST = ".".join(map(str, SERVER[0]))
CLASS = """
class-map mail
 match port tcp eq 25
policy-map global_policy
 class mail
  set connection {}
"""
STATIC = f"static (inside,outside) 203.0.113.9 {HOST} netmask 255.255.255.255 tcp {{}} {{}}\n"


class Crowd:
    """Many clients of one filter."""

    def __init__(self, text: str, *, engine: type[Engine] = Engine, **options: object) -> None:
        self.engine = engine(
            parse_policy(text, "a.cfg").policy, EngineOptions(**options), started=0.0
        )
        self.talks: list[Talk] = []

    def client(self, host: int = 1) -> Talk:
        """One more connection, from this host."""
        end = (bytes([192, 0, 2, host]), 2000 + len(self.talks))
        talk = Talk(engine=self.engine, client=end, now=LATE)
        self.talks.append(talk)
        return talk

    def open(self, count: int, host: int = 1) -> list[Talk]:
        return [self.client(host).open() for _ in range(count)]

    @property
    def counted(self) -> int:
        return self.engine._core.table.admission.counted


def syn(talk: Talk) -> bytes | DropReason | None:
    return talk.client(flags=SYN, at=-1)


def lines(*talks: Talk) -> list[str]:
    found = [
        syslog.render(event)
        for talk in talks
        for event in talk.events
        if isinstance(event, LimitReached)
    ]
    return [line for line in found if line is not None]


@pytest.mark.parametrize("text", [CLASS.format("conn-max 3"), STATIC.format(3, 0)])
def test_connection_above_the_limit_is_refused_until_one_ends(text: str) -> None:
    crowd = Crowd(text)
    first, *_ = crowd.open(2)
    syn(crowd.client(2))  # an embryonic connection is one
    late = crowd.client(3)
    for _ in range(2):
        assert syn(late) is DropReason.CONNECTION_LIMIT
    assert not late.emitted(ConnectionBuilt)
    assert (
        lines(late)
        == [
            f"%ASA-3-201011: Connection limit exceeded 3/3 for inbound packet from 192.0.2.3/2003 to"
            f" {HOST}/25 on interface outside"
        ]
        * 2
    )
    assert late.client(b"QUIT\r\n") is DropReason.NO_CONNECTION
    first.close()
    assert syn(late) == b""
    assert syn(crowd.client(3)) is DropReason.CONNECTION_LIMIT


@pytest.mark.parametrize(
    ("limits", "static", "most"),
    [(4, 2, 2), (2, 4, 2), (0, 3, 3), (3, 0, 3)],
)
def test_lower_limit_of_class_and_static_holds(limits: int, static: int, most: int) -> None:
    crowd = Crowd(CLASS.format(f"conn-max {limits}") + STATIC.format(static, 0))
    crowd.open(most)
    assert syn(crowd.client()) is DropReason.CONNECTION_LIMIT


def test_each_server_has_its_own_count() -> None:
    crowd = Crowd(CLASS.format("conn-max 1"))
    crowd.open(1)
    assert syn(crowd.client()) is DropReason.CONNECTION_LIMIT
    other = Crowd(CLASS.format("conn-max 1"))
    talk = other.client()
    syn(talk)
    admission = other.engine._core.table.admission
    (connection,) = other.engine._core.table.connections()
    (scope,) = connection.plan.scopes
    assert admission.connections(scope, SERVER[0]) == (1, 1)
    assert admission.connections(scope, b"\xc6\x33\x64\x1a") == (0, 0)


def test_client_above_its_limit_is_refused_and_others_are_not() -> None:
    crowd = Crowd(CLASS.format("per-client-max 2"))
    crowd.open(2, host=1)
    greedy = crowd.client(1)
    assert syn(greedy) is DropReason.PER_CLIENT_LIMIT
    assert lines(greedy) == [
        f"%ASA-3-201013: Per-client connection limit exceeded 2/2 for input packet from"
        f" 192.0.2.1/2002 to {HOST}/25 on interface outside"
    ]
    assert syn(crowd.client(2)) == b""


def test_at_the_embryonic_limit_connections_still_begin_and_are_told_of() -> None:
    crowd = Crowd(CLASS.format("embryonic-conn-max 2"))
    half = [crowd.client(host) for host in (1, 2)]
    for talk in half:
        syn(talk)
    late = crowd.client(3).open()
    assert [event.limit for event in late.emitted(LimitReached)] == [LimitKind.EMBRYONIC]
    assert lines(late) == [
        f"%ASA-6-201010: Embryonic connection limit exceeded 2/2 for input packet from"
        f" 192.0.2.3/2002 to {HOST}/25 on interface outside"
    ]
    half[0].server(flags=SYN | ACK, at=-1, ack=0)
    half[0].client(flags=ACK)
    assert not lines(crowd.client(4).open())


def test_embryonic_limit_of_a_static_says_when_it_begins() -> None:
    crowd = Crowd(STATIC.format(0, 1))
    first = crowd.client()
    syn(first)
    second, third = crowd.client(2), crowd.client(3)
    syn(second), syn(third)
    assert lines(second, third) == [
        f"%ASA-4-407002: Embryonic limit for through connections exceeded 1/1. 192.0.2.2/2001 to"
        f" 203.0.113.9({HOST})/25 on interface outside",
        f"%ASA-2-201003: Embryonic limit exceeded 2/1 for 192.0.2.3/2002 to"
        f" {HOST}(203.0.113.9)/25 on interface outside",
    ]
    for talk in (first, second, third):
        talk.server(flags=RST | ACK, at=-1, ack=0)
    assert crowd.counted == 0
    syn(first)
    assert [event.begins for event in second.emitted(LimitReached)] == [True]
    syn(second)
    assert [event.begins for event in second.emitted(LimitReached)] == [True, True]


def test_per_client_embryonic_limit_writes_one_line_in_ten_seconds() -> None:
    crowd = Crowd(CLASS.format("per-client-embryonic-max 1"))
    syn(crowd.client(1))
    talks = [crowd.client(1) for _ in range(4)]
    for talk, later in zip(talks, (0, 5, 11, 12), strict=True):
        talk.now += later
        assert syn(talk) == b""
    assert [len(lines(talk)) for talk in talks] == [1, 0, 1, 0]
    assert [len(talk.emitted(LimitReached)) for talk in talks] == [1, 1, 1, 1]
    assert lines(talks[0]) == [
        f"%ASA-6-201012: Per-client embryonic connection limit exceeded 1/1 for input packet from"
        f" 192.0.2.1/2001 to {HOST}/25 on interface outside"
    ]
    assert not crowd.client(2).open().emitted(LimitReached)


@pytest.mark.parametrize(
    ("mapped", "line"),
    [
        ("203.0.113.9", "%ASA-3-201002: Too many TCP connections on static 203.0.113.9! 7 1"),
        (
            "interface",
            f"%ASA-3-201009: TCP connection limit of 1 for host {HOST} on inside exceeded",
        ),
    ],
)
def test_static_of_pix_6_has_its_own_lines(mapped: str, line: str) -> None:
    how = "tcp interface smtp" if mapped == "interface" else mapped
    port = " smtp" if mapped == "interface" else ""
    text = f"fixup protocol smtp 25\nstatic (inside,outside) {how} {HOST}{port} 1 7\n"
    crowd = Crowd(text)
    syn(crowd.client())
    late = crowd.client()
    assert syn(late) is DropReason.CONNECTION_LIMIT
    assert lines(late) == [line]


def test_limit_of_an_interface_is_named_where_it_is_enforced() -> None:
    text = """
nameif e0 outside security0
nameif e1 dmz security50
class-map mail
 match port tcp eq 25
policy-map p
 class mail
  inspect esmtp
  set connection per-client-max 1
service-policy p interface dmz
"""
    names = {"outside": "eth0", "dmz": "eth1"}
    engine = Engine(parse_policy(text, "a.cfg", names).policy, started=0.0)
    for _, found in ((0, None), (1, "output packet from 192.0.2.1/2 to")):
        talk = Talk(
            engine=engine, client=(b"\xc0\0\2\1", 1 + _), devices=("eth0", "eth1"), now=LATE
        )
        syn(talk)
        if found:
            (line,) = lines(talk)
            assert found in line
            assert line.endswith("on interface dmz")


# Each ending gives the place back.


def by_fins(talk: Talk) -> None:
    talk.open().close()


def by_reset(talk: Talk) -> None:
    talk.open().client(flags=RST)


def by_reset_of_the_server(talk: Talk) -> None:
    syn(talk)
    talk.server(flags=RST | ACK, at=-1, ack=0)


def by_embryonic_timeout(talk: Talk) -> None:
    syn(talk)
    talk.wait(31)


def by_half_closed_timeout(talk: Talk) -> None:
    talk.open().client(flags=FIN | ACK)
    talk.wait(700)


def by_idle_timeout(talk: Talk) -> None:
    talk.open().wait(3700)


def by_clear(talk: Talk) -> None:
    talk.open().engine.clear(talk.now)


def by_clear_while_embryonic(talk: Talk) -> None:
    syn(talk)
    talk.engine.clear(talk.now)


def by_inspection_before_the_greeting_is_acknowledged(talk: Talk) -> None:
    talk.open().server(b"220 x\r\n")
    assert talk.client(b"M" * 600, ack=0) is DropReason.INSPECTION
    assert talk.engine.connections == 1


def by_inspection(talk: Talk) -> None:
    talk.open().server(b"220 x\r\n")
    talk.client(flags=ACK)
    assert talk.client(b"M" * 600) is DropReason.INSPECTION


@pytest.mark.parametrize(
    "ending",
    [
        by_fins, by_reset, by_reset_of_the_server, by_embryonic_timeout, by_half_closed_timeout,
        by_idle_timeout, by_clear, by_clear_while_embryonic, by_inspection,
        by_inspection_before_the_greeting_is_acknowledged,
    ],
)  # fmt: skip
def test_every_end_gives_the_place_back(ending: Callable[[Talk], None]) -> None:
    limits = "conn-max 1 embryonic-conn-max 1 per-client-max 1 per-client-embryonic-max 1"
    crowd = Crowd(CLASS.format(limits) + STATIC.format(1, 1))
    talk = crowd.client()
    ending(talk)
    assert crowd.counted == 0
    other = crowd.client()
    other.now = talk.now
    assert syn(other) == b""


def test_full_table_counts_nobody() -> None:
    crowd = Crowd(CLASS.format("conn-max 1"), limits=Limits(connections=0))
    assert syn(crowd.client()) is DropReason.TABLE_FULL
    assert crowd.counted == 0


def test_connection_older_than_the_filter_is_counted() -> None:
    crowd = Crowd(CLASS.format("conn-max 1"))
    old = crowd.client()
    old.now = 10.0
    assert old.client(b"NOOP\r\n", at=50, flags=ACK) == b"NOOP\r\n"
    new = crowd.client()
    new.now = 11.0
    assert syn(new) is DropReason.CONNECTION_LIMIT
    (scope,) = old.engine._core.table.connections()[0].plan.scopes
    assert old.engine._core.table.admission.connections(scope, SERVER[0]) == (1, 0)


def test_connections_that_conntrack_knows_count_until_they_come_or_are_over() -> None:
    crowd = Crowd(CLASS.format("conn-max 2"))
    old = [crowd.client() for _ in range(2)]
    keys = [
        client[0] + SERVER[0] + client[1].to_bytes(2, "big") + SERVER[1].to_bytes(2, "big")
        for client in (talk.client_end for talk in old)
    ]
    crowd.engine.expect(keys, 10.0)
    new = crowd.client()
    for talk in (*old, new):
        talk.now = 11.0
    assert syn(new) is DropReason.CONNECTION_LIMIT
    assert (
        old[0].server(b"250 ok\r\n", at=50, flags=ACK) == b"250 ok\r\n"
    )  # picked up, counted once
    assert crowd.engine.expected == 1
    assert syn(new) is DropReason.CONNECTION_LIMIT
    crowd.engine.keep_expected(keys[:1], 12.0)  # the other is over
    assert crowd.engine.expected == 0
    assert syn(new) == b""
    new.server(flags=RST | ACK, at=-1, ack=0)
    crowd.engine.expect(keys[1:], 13.0)
    assert syn(old[1]) == b""  # a new connection on its addresses, in its place
    assert crowd.engine.expected == 0
    crowd.engine.expect([keys[1][:-4] + b"\1\1\0\x19"], 14.0)
    crowd.engine.keep_expected([keys[1][:-4] + b"\1\1\0\x19"], 301.0)  # no longer picked up
    assert crowd.engine.expected == 0


def test_reload_of_the_same_lines_counts_on() -> None:
    crowd = Crowd(CLASS.format("conn-max 2"))
    crowd.open(1)
    crowd.engine.adopt(parse_policy(CLASS.format("conn-max 1"), "a.cfg").policy)
    assert syn(crowd.client()) is DropReason.CONNECTION_LIMIT


def test_without_limits_nothing_is_counted() -> None:
    crowd = Crowd(CLASS.format("timeout idle 0:10:0"))
    crowd.open(3)
    assert crowd.counted == 0


# Where nobody reacts: what was refused goes on.


def test_in_a_capture_a_refused_connection_is_dropped_to_its_end() -> None:
    crowd = Crowd(CLASS.format("conn-max 1"), permissions=RECORDED)
    first = crowd.client().open()
    late = crowd.client()
    for talk in (first, late):
        talk.now = 10.0  # connections older than the filter would still be picked up
    assert syn(late) is DropReason.CONNECTION_LIMIT
    assert late.server(flags=SYN | ACK, at=-1, ack=0) is DropReason.CONNECTION_LIMIT
    assert late.client(flags=ACK) is DropReason.CONNECTION_LIMIT
    assert not late.emitted(DeniedNoConnection)
    first.close()
    again = late.open()
    assert again.server(b"220 x\r\n") == b"220 *\r\n"


class Watched(Monitor):
    """A Monitor whose decisions a Talk does not see."""

    def arrive(self, arrival):  # type: ignore[no-untyped-def]
        return [a for a in super().arrive(arrival) if type(a).__name__ != "Would"]


@pytest.mark.pure
def test_monitor_mode_counts_and_tells_and_refuses_nobody() -> None:
    crowd = Crowd(CLASS.format("conn-max 1"), engine=Watched, permissions=WATCHED)
    crowd.open(1)
    late = crowd.client().open()
    assert late.server(b"220 x\r\n") == b"220 x\r\n"
    events: list[Event] = late.emitted(LimitReached)
    assert len(events) == 1
    assert not late.emitted(DeniedNoConnection)
    assert crowd.engine.connections == 1


def test_line_of_a_client_is_not_used_up_by_a_syn_that_another_limit_refuses() -> None:
    crowd = Crowd(STATIC.format(2, 0) + CLASS.format("per-client-embryonic-max 1"))
    syn(crowd.client())
    syn(crowd.client(2))
    refused = crowd.client()
    assert syn(refused) is DropReason.CONNECTION_LIMIT
    for talk in crowd.talks[:2]:
        talk.client(flags=RST)
    syn(crowd.client())
    told = crowd.client()
    assert syn(told) not in (DropReason.CONNECTION_LIMIT, None)
    assert len(lines(told)) == 1
