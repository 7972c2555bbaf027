"""Connections that the kernel passes by itself: counted once, given back once, whatever ends them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nfinspect.actions import DropReason
from nfinspect.audit.connections import Wanted, connections, flags
from nfinspect.engine import Engine, EngineOptions
from nfinspect.events import ConnectionBuilt, ConnectionTornDown, LimitReached, TableFull
from nfinspect.policy import parse_policy
from nfinspect.tcp.connection import ESTABLISHED, TcpConnection
from nfinspect.tcp.kernel_connection import KernelConnection, TrackedState
from nfinspect.tcp.limits import Limits
from tests.model.talk import LATE
from tests.model.tracking import Tracking
from tests.model.wire import ACK, RST, SYN

MAIL = bytes([198, 51, 100, 25])
WEB, EXEMPT = (MAIL, 80), (MAIL, 25)
TEXT = """
access-list gateway extended permit ip any host 198.51.100.25
class-map gateway
 match access-list gateway
policy-map global_policy
 class gateway
  no inspect esmtp
 class class-default
  set connection {}
"""


def tracking(words: str = "conn-max 3", **options: object) -> Tracking:
    policy = parse_policy(TEXT.format(words), "a.cfg").policy
    engine = Engine(policy, EngineOptions(kernel_passes=True, **options), started=0.0)
    return Tracking(engine, LATE)


def client(port: int = 4000, host: int = 1) -> tuple[bytes, int]:
    return bytes([192, 0, 2, host]), port


def counted(tracked: Tracking) -> int:
    return tracked.engine._core.table.admission.counted


def reasons(tracked: Tracking) -> list[str]:
    return [event.reason.value for event in tracked.emitted(ConnectionTornDown)]


@pytest.mark.parametrize("server", [WEB, EXEMPT])
def test_conn_max_holds_for_exempt_connections_and_other_ports(server: tuple[bytes, int]) -> None:
    tracked = tracking()
    for port in range(3):
        tracked.open(client(port), server)
    tracked.deliver()
    assert tracked.syn(client(9), server) is DropReason.CONNECTION_LIMIT
    (reached,) = tracked.emitted(LimitReached)
    assert (reached.count, reached.allowed) == (3, 3)
    assert tracked.engine.connections == tracked.engine.passed == 3
    tracked.move((client(1), server), TrackedState.FINISHED)
    tracked.deliver()
    assert tracked.syn(client(9), server) is None


def test_ports_of_a_server_are_counted_together() -> None:
    tracked = tracking()
    for port, server in enumerate([WEB, EXEMPT, (MAIL, 443)]):
        tracked.open(client(port), server)
    assert tracked.syn(client(9), WEB) is DropReason.CONNECTION_LIMIT
    assert tracked.syn(client(9), (bytes([198, 51, 100, 26]), 80)) is None


def test_who_has_no_limits_is_no_entry() -> None:
    policy = parse_policy("", "a.cfg").policy
    tracked = Tracking(Engine(policy, EngineOptions(kernel_passes=True), started=0.0), LATE)
    tracked.open(client(), WEB)
    tracked.look()
    assert tracked.engine.connections == counted(tracked) == 0
    assert tracked.events == []


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (TrackedState.FINISHED, "TCP FINs"),
        (TrackedState.RESET, "Unknown"),
        (TrackedState.GONE, "Unknown"),
    ],
)
def test_every_end_gives_the_place_back_once(state: TrackedState, reason: str) -> None:
    tracked = tracking(
        "conn-max 3 embryonic-conn-max 1 per-client-max 2 per-client-embryonic-max 1"
    )
    tracked.open(client(), WEB)
    tracked.deliver()
    tracked.move((client(), WEB), state)
    again = tracked.told[-1]
    tracked.deliver()
    tracked.told = [again]
    tracked.deliver()
    tracked.look()
    assert counted(tracked) == tracked.engine.connections == 0
    assert reasons(tracked) == [reason]


def test_embryonic_limit_counts_until_the_handshake_is_told_to_be_complete() -> None:
    tracked = tracking("embryonic-conn-max 1")
    tracked.engine.interceptions.possible = True
    assert tracked.syn(client(), WEB) is None
    tracked.move((client(), WEB), TrackedState.ANSWERED)
    tracked.deliver()
    assert tracked.syn(client(2), WEB) is DropReason.INTERCEPTED
    tracked.move((client(), WEB), TrackedState.ESTABLISHED)
    tracked.deliver()
    assert tracked.syn(client(3), (MAIL, 443)) is None


def test_client_behind_intercept_is_counted_from_the_answer_to_the_proxy() -> None:
    tracked = tracking("embryonic-conn-max 1")
    tracked.engine.interceptions.possible = True
    assert tracked.syn(client(), WEB) is None
    assert tracked.packet(WEB, client(), SYN | ACK) is None
    assert tracked.syn(client(2), WEB) is DropReason.INTERCEPTED
    assert tracked.packet(WEB, client(2), SYN | ACK) is None
    assert [type(each) for each in tracked.engine.open_connections] == [KernelConnection] * 2
    assert flags(tracked.engine.open_connections[1]) == "aB"


def test_half_open_connection_times_out_and_connection_tracking_forgets_it() -> None:
    tracked = tracking()
    tracked.syn(client(), WEB)
    tracked.deliver()
    tracked.now += 29
    tracked.tick()
    assert counted(tracked)
    tracked.now += 2
    tracked.tick()
    assert reasons(tracked) == ["SYN Timeout"]
    assert tracked.entries == {}
    assert counted(tracked) == 0


def test_busy_connection_never_idles_out_and_a_quiet_one_does() -> None:
    tracked = tracking("conn-max 3\n  set connection timeout idle 0:1:0")
    busy, quiet = (client(1), WEB), (client(2), EXEMPT)
    for ends in (busy, quiet):
        tracked.open(*ends)
    for _ in range(20):
        tracked.now += 10
        tracked.carry(busy)
        tracked.look()
        tracked.tick()
    assert reasons(tracked) == ["Conn-timeout"]
    assert list(tracked.entries) == [busy]
    (left,) = tracked.engine.open_connections
    assert left.identity.client.port == 1
    assert left.payload_bytes == tracked.entries[busy].packets * 100


def test_without_accounting_a_later_end_shows_that_a_packet_came() -> None:
    tracked = tracking("conn-max 3\n  set connection timeout idle 0:1:0")
    ends = client(), WEB
    tracked.open(*ends)
    tracked.entries[ends].packets = 0
    for _ in range(9):
        tracked.now += 20
        tracked.entries[ends].last = tracked.now
        tracked.look()
    assert reasons(tracked) == []
    for _ in range(4):
        tracked.now += 20
        tracked.look()
    assert reasons(tracked) == ["Conn-timeout"]


def test_half_closed_connection_has_its_own_timeout() -> None:
    tracked = tracking("conn-max 3\n  set connection timeout half-closed 0:5:0")
    ends = client(), WEB
    tracked.open(*ends)
    tracked.entries[ends].client_closed = True
    tracked.move(ends, TrackedState.ESTABLISHED)
    tracked.look()
    assert [flags(each) for each in tracked.engine.open_connections] == ["UFB"]
    tracked.now += 301
    tracked.look()
    assert reasons(tracked) == ["FIN Timeout"]


def test_lost_events_are_made_good_by_a_look_at_the_table() -> None:
    tracked = tracking()
    for port in range(3):
        tracked.open(client(port), WEB)
    tracked.look()
    tracked.move((client(1), WEB), TrackedState.RESET)
    tracked.now += 1
    tracked.told.clear()
    assert tracked.syn(client(8), WEB) is DropReason.CONNECTION_LIMIT
    tracked.look()
    assert tracked.engine.passed == 2
    assert tracked.syn(client(8), WEB) is None


def test_connection_that_became_known_after_the_look_began_stays() -> None:
    tracked = tracking()
    since = tracked.now
    tracked.now += 1
    tracked.open(client(), WEB)
    tracked.deliver()
    tracked._take(tracked.engine.look([], since, tracked.now))
    assert tracked.engine.passed == 1


def test_after_a_restart_the_table_is_counted() -> None:
    tracked = tracking()
    tracked.open(client(1), WEB)
    tracked.open(client(2), EXEMPT)
    tracked.syn(client(3), WEB)
    again = tracking()
    again.entries, again.numbers = tracked.entries, tracked.numbers
    again.look()
    assert again.engine.passed == 3
    assert sum(each.phase < ESTABLISHED for each in again.engine.open_connections) == 1
    assert again.syn(client(9), WEB) is DropReason.CONNECTION_LIMIT
    assert len(again.emitted(ConnectionBuilt)) == 3


def test_second_connection_of_the_same_ends_is_not_ended_by_the_first_ones_end() -> None:
    tracked = tracking()
    ends = client(), WEB
    tracked.open(*ends)
    tracked.deliver()
    tracked.move(ends, TrackedState.GONE)
    late = tracked.told
    tracked.told = []
    assert tracked.syn(*ends, number=5000) is None
    late, tracked.told = tracked.told, late
    tracked.deliver()
    assert tracked.engine.passed == 1
    tracked.told = late
    tracked.deliver()
    assert (tracked.engine.passed, reasons(tracked)) == (1, ["Unknown"])


def test_repeated_syn_and_forged_answers_change_nothing() -> None:
    tracked = tracking()
    ends = client(), WEB
    tracked.open(*ends)
    tracked.deliver()
    assert tracked.packet(*ends, SYN) is None
    assert tracked.packet(WEB, client(), RST) is None
    assert tracked.packet(*ends, SYN | ACK) is None
    assert tracked.engine.open_connections[0].phase is ESTABLISHED
    assert reasons(tracked) == []


def test_exempt_connection_whose_packets_come_by_is_followed_here() -> None:
    tracked = tracking()
    assert tracked.packet(client(), EXEMPT, SYN) is None
    assert tracked.packet(EXEMPT, client(), SYN | ACK) is None
    assert tracked.packet(client(), EXEMPT, ACK, 1001) is None
    (connection,) = tracked.engine.open_connections
    assert isinstance(connection, TcpConnection)
    assert connection.uninspected
    assert (tracked.engine.connections, tracked.engine.passed) == (1, 0)
    assert counted(tracked) == 1
    assert len(tracked.emitted(ConnectionBuilt)) == 1


def test_full_table_refuses_them_and_says_so() -> None:
    tracked = tracking(limits=Limits(connections=1))
    tracked.open(client(1), WEB)
    assert tracked.syn(client(2), WEB) is DropReason.TABLE_FULL
    other = tracking(limits=Limits(connections=0))
    other.entries = tracked.entries
    other.look()
    assert other.engine.passed == 0
    assert len(other.emitted(TableFull)) == 1


def test_clear_ends_them() -> None:
    tracked = tracking()
    tracked.open(client(1, 1), WEB)
    tracked.open(client(1, 2), WEB)
    tracked.look()
    tracked.clear(client(1, 2)[0])
    assert [each[0] for each in tracked.entries] == [client(1, 1)]
    tracked.clear()
    assert counted(tracked) == 0
    assert reasons(tracked) == ["Cleared", "Cleared"]


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        (lambda tracked: tracked.syn(client(), WEB), "SaAB"),
        (lambda tracked: tracked.open(client(), WEB), "UB"),
    ],
)
def test_show_conn_lists_them_without_m(shape: Callable[[Tracking], object], wanted: str) -> None:
    tracked = tracking()
    shape(tracked)
    tracked.deliver()
    found = tracked.engine.open_connections
    text, data = connections(found, Wanted(), tracked.now, 1, 1)
    assert text.splitlines()[1].endswith(f"flags {wanted}")
    (shown,) = data["connections"]
    assert (shown["inspected"], shown["passed_by_kernel"]) == (False, True)
    assert shown["server"] == "198.51.100.25:80"
