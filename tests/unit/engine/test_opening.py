"""SYN, handshake, RST, connections older than the filter, and a full table."""

from __future__ import annotations

import pytest

from nfinspect.actions import Accept, DropReason
from nfinspect.engine import EngineOptions
from nfinspect.events import (
    ConnectionBuilt,
    ConnectionTornDown,
    DeniedNoConnection,
    DuplicateSyn,
    TableFull,
    TeardownReason,
    Uninspected,
    UninspectedCause,
)
from nfinspect.policy import default_text, parse_policy
from nfinspect.policy.model import Plan, Policy
from nfinspect.tcp.limits import Limits
from tests.model.talk import ACK, FIN, PSH, RST, SYN, Talk
from tests.model.wire import URG


def reasons(talk: Talk) -> list[TeardownReason]:
    return [event.reason for event in talk.emitted(ConnectionTornDown)]


def test_handshake_passes_and_302013_is_emitted_at_the_syn() -> None:
    talk = Talk()
    talk.client(flags=SYN, at=-1)
    assert len(talk.emitted(ConnectionBuilt)) == 1
    assert talk.server(flags=SYN | ACK, at=-1, ack=0) == b""
    assert talk.client(flags=ACK) == b""
    assert len(talk.emitted(ConnectionBuilt)) == 1
    assert isinstance(talk.actions[0], Accept)


def test_repeated_syn_passes_and_one_with_another_number_is_dropped() -> None:
    talk = Talk()
    talk.client(flags=SYN, at=-1)
    assert talk.client(flags=SYN, at=-1) == b""
    assert talk.client(flags=SYN, at=500) is DropReason.DUPLICATE_SYN
    assert len(talk.emitted(DuplicateSyn)) == 1


def test_syn_inside_a_connection_is_dropped() -> None:
    talk = Talk().open()
    assert talk.client(flags=SYN, at=0) is DropReason.DUPLICATE_SYN
    assert talk.client(flags=SYN, at=-1) is DropReason.BAD_SYN
    assert talk.server(flags=SYN, at=0) is DropReason.BAD_SYN
    assert talk.client(flags=SYN | ACK, at=-1) is DropReason.BAD_SYN


def test_repeated_syn_ack_of_an_established_connection_passes() -> None:
    talk = Talk().open()
    assert talk.server(flags=SYN | ACK, at=-1, ack=0) == b""
    assert talk.server(flags=SYN | ACK, at=77, ack=0) is DropReason.BAD_SYN_ACK


def test_data_on_a_syn_is_cut_off_and_a_syn_ack_with_data_is_dropped() -> None:
    talk = Talk()
    assert talk.client(b"EHLO evil\r\n", flags=SYN, at=-1) == b""
    assert talk.last.flags == SYN
    assert talk.server(b"220 hi\r\n", flags=SYN | ACK, at=-1, ack=0) is DropReason.BAD_SYN_ACK
    assert talk.server(flags=SYN | ACK, at=-1, ack=11) is DropReason.BAD_SYN_ACK
    assert talk.server(flags=SYN | ACK, at=-1, ack=0) == b""


def test_simultaneous_open_and_split_handshake_are_dropped() -> None:
    talk = Talk()
    talk.client(flags=SYN, at=-1)
    assert talk.server(flags=SYN, at=-1) is DropReason.BAD_SYN
    assert talk.server(flags=ACK, at=-1, ack=0) == b""  # a challenge ACK, not part of a handshake
    assert talk.client(flags=SYN | ACK, at=-1, ack=0) is DropReason.BAD_SYN
    assert talk.client(b"EHLO a\r\n", flags=ACK, at=0) is DropReason.NOT_ESTABLISHED


@pytest.mark.parametrize("flags", [SYN | FIN, SYN | RST, SYN | FIN | ACK, 0, FIN, PSH | URG])
def test_impossible_flags_never_pass(flags: int) -> None:
    assert isinstance(Talk().client(b"x", flags=flags), DropReason)
    talk = Talk().open()
    assert isinstance(talk.client(b"x", flags=flags, at=0), DropReason)
    assert talk.server(b"220 x\r\n") == b"220 *\r\n"


def test_data_without_ack_or_before_the_handshake_is_dropped() -> None:
    talk = Talk()
    talk.client(flags=SYN, at=-1)
    assert talk.client(b"EHLO a\r\n", at=0) is DropReason.NOT_ESTABLISHED
    assert talk.server(b"220 hi\r\n", at=0) is DropReason.NOT_ESTABLISHED
    talk.server(flags=SYN | ACK, at=-1, ack=0)
    assert talk.server(b"220 hi\r\n", at=0) is DropReason.NOT_ESTABLISHED
    assert talk.client(b"EHLO a\r\n", at=0, ack=50) is DropReason.INVALID_ACK
    talk.client(flags=ACK)
    assert talk.client(b"EHLO a\r\n", at=0, flags=PSH) is DropReason.BAD_FLAGS


def test_refused_connection_is_torn_down_by_the_servers_reset() -> None:
    talk = Talk()
    talk.client(flags=SYN, at=-1)
    assert talk.server(flags=RST | ACK, at=-1, ack=7) is DropReason.BAD_RST
    assert talk.server(flags=RST, at=-1) is DropReason.BAD_RST
    assert talk.server(flags=RST | ACK, at=-1, ack=0) == b""
    assert reasons(talk) == [TeardownReason.TCP_RESET_INSIDE]


def test_reset_at_exactly_the_next_number_ends_the_connection() -> None:
    talk = Talk().open()
    assert talk.client(flags=RST) == b""
    assert reasons(talk) == [TeardownReason.TCP_RESET_OUTSIDE]
    assert talk.client(b"DATA\r\n") is DropReason.NO_CONNECTION
    assert talk.emitted(DeniedNoConnection)[0].flags == ACK | PSH


@pytest.mark.parametrize("at", [-2, 70000, 10**8])
def test_reset_outside_the_window_is_dropped(at: int) -> None:
    talk = Talk().open()
    assert talk.client(flags=RST, at=at) is DropReason.BAD_RST
    assert reasons(talk) == []


def test_reset_elsewhere_in_the_window_passes_and_ends_nothing() -> None:
    talk = Talk().open()
    assert talk.client(flags=RST, at=100) == b""
    assert reasons(talk) == []
    assert talk.server(b"220 x\r\n") == b"220 *\r\n"


@pytest.mark.parametrize("acknowledged", [False, True])
def test_reset_of_a_closed_socket_in_answer_to_data_ends_the_connection(
    acknowledged: bool,
) -> None:
    """Postfix as a client closes right after QUIT; the reply crosses its FIN."""
    talk = Talk().open()
    talk.server(b"220 x\r\n")
    talk.client(b"QUIT\r\n")
    talk.client(flags=FIN | ACK)
    talk.server(b"221 bye\r\n", ack=6)
    if acknowledged:
        talk.server(flags=ACK, ack=7)
    assert talk.client(flags=RST, at=6) == b""
    assert reasons(talk) == [TeardownReason.TCP_RESET_OUTSIDE]


def test_segment_after_a_forged_reset_never_passes() -> None:
    talk = Talk(now=10.0).open()  # while older connections may still be picked up
    talk.server(b"220 x\r\n")
    talk.client(flags=RST, hop_limit=1)  # dies before the server, but ends it here
    for _ in range(5):
        assert talk.client(b"XEVL evil\r\n", at=0) is DropReason.NO_CONNECTION
        talk.wait(30)


def test_client_may_reconnect_while_the_server_still_has_an_old_connection() -> None:
    """Half-open connection discovery, RFC 9293 section 3.5.1, figure 9."""
    talk = Talk()
    talk.client(flags=SYN, at=-1)
    assert talk.server(flags=ACK, at=300, ack=100) == b""
    assert talk.client(flags=RST, at=100) == b""
    assert reasons(talk) == []
    talk.open()


def test_finished_connection_passes_retransmissions_and_a_higher_syn_starts_a_new_one() -> None:
    talk = Talk().open().close()
    assert reasons(talk) == [TeardownReason.TCP_FINS]
    assert talk.server(flags=FIN | ACK, at=0) == b""
    assert talk.client(flags=ACK) == b""
    assert talk.client(b"DATA\r\n") is DropReason.CLOSED_CONNECTION
    assert talk.client(flags=SYN, at=-5) is DropReason.BAD_SYN
    assert talk.client(flags=SYN, at=5000) == b""
    assert [event.connection.number for event in talk.emitted(ConnectionBuilt)] == [1, 2]


def test_retransmission_with_data_on_a_finished_connection_loses_data_and_fin() -> None:
    talk = Talk().open()
    talk.server(b"220 hello\r\n", flags=ACK | FIN)
    talk.client(flags=ACK | FIN)
    talk.server(flags=ACK)
    assert reasons(talk) == [TeardownReason.TCP_FINS]
    assert talk.server(b"220 hello\r\n", at=0, flags=ACK | FIN) == b""
    assert talk.last.flags == ACK  # without the data, the FIN would have another number


def test_fin_elsewhere_on_a_finished_connection_is_dropped() -> None:
    talk = Talk().open().close()
    for at in (-1, 1):
        assert talk.client(flags=FIN | ACK, at=at) is DropReason.CLOSED_CONNECTION
    assert talk.client(flags=FIN | ACK, at=0) == b""


def test_fin_at_the_number_of_a_byte_does_not_pass_after_an_rst() -> None:
    talk = Talk().open()
    talk.server(b"220 hello\r\n")
    talk.server(flags=RST, at=11)
    assert talk.server(flags=FIN | ACK, at=10) is DropReason.NO_CONNECTION


def test_finished_connection_is_forgotten_after_a_minute() -> None:
    talk = Talk().open().close().wait(61)
    assert talk.server(flags=FIN | ACK, at=0) is DropReason.NO_CONNECTION
    assert talk.client(flags=SYN, at=-5) == b""


def test_embryonic_half_closed_and_idle_connections_time_out() -> None:
    talk = Talk()
    talk.client(flags=SYN, at=-1)
    talk.wait(31)
    talk.next = {"client": 0, "server": 0}
    talk.open().wait(3590)
    assert talk.client(flags=ACK) == b""
    talk.wait(3601)
    talk.open().client(flags=FIN | ACK)
    talk.wait(601)
    assert reasons(talk) == [
        TeardownReason.SYN_TIMEOUT,
        TeardownReason.CONNECTION_TIMEOUT,
        TeardownReason.FIN_TIMEOUT,
    ]
    assert talk.client(b"DATA\r\n") is DropReason.NO_CONNECTION


def test_connection_older_than_the_filter_is_picked_up_in_the_first_300_seconds() -> None:
    talk = Talk(now=299.0)
    assert talk.client(b"anything\r\n") == b"anything\r\n"
    assert talk.server(b"250 whatever\r\n") == b"250 whatever\r\n"
    assert [event.cause for event in talk.emitted(Uninspected)] == [UninspectedCause.MIDSTREAM]
    talk = Talk(now=301.0)
    assert talk.client(b"anything\r\n") is DropReason.NO_CONNECTION
    assert talk.server(flags=SYN | ACK) is DropReason.NO_CONNECTION


@pytest.mark.parametrize("flags", [RST, RST | ACK, SYN | ACK])
def test_data_on_a_reset_or_syn_ack_of_an_older_connection_is_cut_off(flags: int) -> None:
    talk = Talk(now=10.0)
    assert talk.client(b"anything", flags=flags) == b""
    assert talk.last.flags == flags


def test_uninspected_connection_is_not_ended_by_numbers_that_no_endpoint_accepts() -> None:
    talk = Talk(now=10.0)
    talk.client(b"one")
    talk.server(b"two")
    away = 3 << 29
    talk.client(flags=ACK | FIN, at=away)
    talk.client(flags=ACK | FIN, at=0)
    talk.server(flags=ACK | FIN, at=away, ack=away + 1)
    talk.client(flags=ACK, ack=away + 1)
    assert reasons(talk) == []
    talk.close()
    assert reasons(talk) == [TeardownReason.TCP_FINS]


def test_uninspected_connection_tracks_a_window_probe_that_is_accepted() -> None:
    talk = Talk(Policy({25: Plan(inspection=None)}, ()))
    talk.client(flags=SYN, at=-1)
    talk.server(flags=SYN | ACK, at=-1, ack=0, window=4)
    talk.client(b"four", flags=ACK)
    talk.server(flags=ACK, window=0)
    talk.client(b"!", flags=ACK)
    talk.server(flags=ACK, window=4)
    talk.close()
    assert reasons(talk) == [TeardownReason.TCP_FINS]


def test_connection_whose_syn_was_seen_is_never_picked_up() -> None:
    talk = Talk(now=10.0).open()
    talk.client(flags=RST)
    assert talk.client(b"anything\r\n") is DropReason.NO_CONNECTION
    assert talk.server(b"anything\r\n", flags=ACK) is DropReason.NO_CONNECTION


def test_connection_closed_by_inspection_is_never_picked_up_however_long_it_is_quiet() -> None:
    policy = parse_policy(
        default_text().replace("  mask-banner\n", "  mask-banner\n  midstream-pickup 86400\n"),
        "long.cfg",
    ).policy
    for drained in (True, False):
        talk = Talk(policy, now=1.0).open()
        talk.server(b"220 x\r\n")
        # Until the client acknowledges the greeting, the closed connection is kept for its sake.
        if drained:
            talk.client(flags=ACK)
        assert talk.client(b"M" * 600, ack=7 if drained else 0) is DropReason.INSPECTION
        assert talk.engine.connections == (0 if drained else 1)
        talk.wait(2000)
        assert talk.client(b"anything\r\n", at=0) is DropReason.NO_CONNECTION


def test_full_table_refuses_new_connections_and_evicts_nothing() -> None:
    options = EngineOptions(limits=Limits(connections=2))
    first = Talk(options=options).open()
    second = Talk(engine=first.engine, client=(b"\xc0\0\2\2", 2)).open()
    third = Talk(engine=first.engine, client=(b"\xc0\0\2\3", 3))
    assert third.client(flags=SYN, at=-1) is DropReason.TABLE_FULL
    assert third.client(b"EHLO x\r\n") is DropReason.NO_CONNECTION
    assert len(third.emitted(TableFull)) == 1
    assert first.server(b"220 x\r\n") == b"220 *\r\n"
    second.close()
    assert third.client(flags=SYN, at=-1) == b""


def test_bad_checksum_is_dropped_and_changes_nothing() -> None:
    talk = Talk().open()
    assert talk.client(flags=RST, bad_checksum=True) is DropReason.BAD_CHECKSUM
    assert talk.client(flags=SYN, at=-1, bad_checksum=True) is DropReason.BAD_CHECKSUM
    assert talk.server(b"220 x\r\n") == b"220 *\r\n"
    # If hardware is still to fill it in, the checksum does not matter.
    assert talk.client(b"EHLO a\r\n", bad_checksum=True, checksum_ready=False) == b"EHLO a\r\n"


def test_syn_takes_the_place_of_a_connection_picked_up_from_a_forged_segment() -> None:
    """A blind ACK in a client's name must not keep that client from connecting."""
    talk = Talk(now=10.0)
    assert talk.client(b"", at=5000, ack=777) == b""
    talk.open()
    assert not talk.emitted(DuplicateSyn)
    assert [event.reason for event in talk.emitted(ConnectionTornDown)] == [TeardownReason.UNKNOWN]
    assert talk.server(b"220 x\r\n") == b"220 *\r\n"
    assert talk.client(b"XEVL\r\n") == b"XXXX\r\n"


def test_syn_does_not_replace_a_connection_picked_up_and_seen_from_both_sides() -> None:
    talk = Talk(now=10.0)
    assert talk.client(b"", at=100, ack=200) == b""
    assert talk.server(b"", at=200, ack=100) == b""
    assert talk.client(flags=SYN, at=-1) is DropReason.DUPLICATE_SYN
    assert talk.client(b"QUIT\r\n", at=100, ack=200) == b"QUIT\r\n"


def test_connection_closed_in_an_earlier_run_stays_closed() -> None:
    first = Talk().open()
    first.server(b"220 x\r\n")
    first.client(b"HELO c\r\n")
    first.server(b"250 s\r\n")
    assert first.client(b"MAIL FROM:<a|b>\r\n") is DropReason.INSPECTION
    ((key, since),) = first.engine.closed_connections()
    assert since == first.now

    again = Talk(now=first.now + 5.0, started=first.now + 4.0)
    assert again.engine.restore_closed(key, since, again.now)
    assert list(again.engine.closed_connections()) == [(key, since)]
    at = first.next["client"] - 17
    assert again.client(b"MAIL FROM:<a|b>\r\n", at=at, ack=14) is DropReason.CLOSED_CONNECTION
    assert again.server(b"421 x\r\n", at=14, ack=at) is DropReason.CLOSED_CONNECTION
    assert again.client(flags=SYN, at=-1) is DropReason.CLOSED_CONNECTION
    again.wait(599)
    assert again.client(flags=SYN, at=-1) is DropReason.CLOSED_CONNECTION
    again.wait(2)
    assert again.client(flags=SYN, at=-1) == b""
    assert list(again.engine.closed_connections()) == []
