"""TCP intercept by the filter itself: handshakes in the server's name, and translated connections."""

from __future__ import annotations

import pytest

from nfinspect.actions import Accept, Drop, DropReason, Inject, Replace
from nfinspect.engine import Engine
from nfinspect.events import ConnectionTornDown, Direction, TeardownReason
from nfinspect.tcp.cookies import PERIOD
from tests.fuzz.packets import ACK, MASK, RST, SYN, Packet, Path
from tests.model.bridged import (
    CLIENT,
    SERVER,
    START,
    TO_CLIENT,
    TO_SERVER,
    Bridged,
    arrival,
    attacked,
)
from tests.model.stack import OPEN, Habits

NO_ROOM = 0
"""Every SYN-ACK has a cookie."""


@pytest.mark.parametrize("half_open", [10, NO_ROOM], ids=["table", "cookie"])
@pytest.mark.parametrize("ready", [True, False], ids=["ready", "not ready"])
def test_a_connection_through_intercept_is_inspected_and_complete(
    half_open: int, ready: bool
) -> None:
    engine = attacked(half_open=half_open)
    talk = Bridged(engine, ready=ready).run()
    assert talk.complete
    proxy = engine._core.proxy
    assert (proxy.answered, proxy.connected) == (1, 1)
    assert proxy.with_cookies == (half_open == NO_ROOM)
    first = talk.left[TO_CLIENT][0]
    assert (first.flags, first.window) == (SYN | ACK, 0)
    assert talk.left[TO_SERVER][0].flags == SYN
    # The server's numbers never reach the client, nor the client's the server.
    assert talk.client.peer_initial != talk.server.habits.initial


HANDSHAKE = [(TO_CLIENT, 1), (TO_SERVER, 1), (TO_SERVER, 2), (TO_CLIENT, 2), (TO_CLIENT, 3)]
"""SYN-ACK; SYN and ACK to the server; the client's window opens; the greeting."""


@pytest.mark.parametrize("lost", HANDSHAKE)
def test_each_packet_of_both_handshakes_may_be_lost(lost: tuple[int, int]) -> None:
    talk = Bridged(attacked(), loses=lambda *packet: packet == lost).run()
    assert talk.complete


def test_a_client_whose_acknowledgement_is_lost_before_the_filter_is_asked_again() -> None:
    talk = Bridged(attacked())
    talk.loses_early = {(0, 2)}
    assert talk.run().complete
    assert [packet.flags for packet in talk.left[TO_CLIENT][:2]] == [SYN | ACK, SYN | ACK]


def test_a_syn_ack_of_the_server_that_is_lost_before_the_filter_comes_again() -> None:
    talk = Bridged(attacked())
    talk.loses_early = {(1, 1)}
    assert talk.run().complete


def test_data_stands_in_for_a_lost_acknowledgement_where_the_client_asks_with_it() -> None:
    client = Habits(initial=2**32 - 1, probe_with_data=True)
    talk = Bridged(attacked(half_open=NO_ROOM), client)
    talk.loses_early = {(0, 2)}
    talk.client.write(b"NOOP\r\n")  # it does not wait for the greeting
    talk.run(100)
    assert talk.client.state == talk.server.state == OPEN
    assert bytes(talk.server.received).startswith(b"XXXX\r\n")


@pytest.mark.parametrize("scale", [None, 0, 3, 12])
@pytest.mark.parametrize("own", [None, 0, 6])
def test_windows_are_scaled_as_each_end_has_been_told(scale: int | None, own: int | None) -> None:
    """The server answers with another scale than the last time."""
    server = Habits(initial=5, scale=scale, window=50_000)
    client = Habits(initial=6, scale=own, window=100_000 if own else 50_000)
    talk = Bridged(attacked(), client, server).run()
    assert talk.complete
    if own is not None:
        assert talk.client.largest_peer_window <= 50_000
        assert talk.client.largest_peer_window > 40_000
    assert talk.server.largest_peer_window <= client.window


def test_a_server_that_never_answers_is_asked_four_times_and_the_client_told_in_the_end() -> None:
    talk = Bridged(attacked(), loses=lambda direction, number: direction == TO_SERVER).run()
    assert [packet.flags for packet in talk.left[TO_SERVER]] == [SYN] * 4
    assert talk.client.reset
    assert [event.reason for event in talk.events if isinstance(event, ConnectionTornDown)][
        -1:
    ] == [TeardownReason.INTERCEPTED]
    assert nothing_is_left(talk)


def test_a_server_that_refuses_resets_the_client() -> None:
    talk = Bridged(attacked())
    talk.refuses = True
    talk.run()
    assert talk.client.reset
    assert nothing_is_left(talk)


def test_a_server_that_knows_an_older_connection_is_reset_and_asked_again() -> None:
    talk = Bridged(attacked())
    talk.challenges = 1
    talk.run()
    assert talk.complete
    assert [packet.flags for packet in talk.left[TO_SERVER][:3]] == [SYN, RST, SYN]


def test_a_client_that_never_answers_is_forgotten_after_15_s() -> None:
    talk = Bridged(attacked(), loses=lambda direction, number: direction == TO_CLIENT)
    talk.client.habits.attempts = 0
    talk.run(14)
    assert [packet.flags for packet in talk.left[TO_CLIENT]] == [SYN | ACK] * 4
    assert len(talk.engine._core.proxy.half_open) == 1
    talk.engine.tick(talk.now + 15)
    assert nothing_is_left(talk)


def test_every_place_is_given_back() -> None:
    talk = Bridged(attacked()).run()
    assert talk.complete
    assert not nothing_is_left(talk)  # late packets are translated, too
    while (deadline := talk.engine.deadline()) is not None and talk.now < 5000:
        talk.now = deadline
        talk.engine.tick(deadline)
    assert nothing_is_left(talk)
    assert talk.engine._core.table.admission.counted == 0
    assert (len(talk.engine._core.proxy.timers), talk.engine._core.proxy.busy) == (0, False)


def nothing_is_left(talk: Bridged) -> bool:
    proxy = talk.engine._core.proxy
    return not (proxy.half_open or proxy.translated)


# ---- packet by packet

CLIENT_PATH, SERVER_PATH = Path(CLIENT, SERVER), Path(SERVER, CLIENT)


class Talk:
    """A client that sends single packets."""

    def __init__(self, engine: Engine, client: tuple[bytes, int] = CLIENT) -> None:
        self.engine, self.now = engine, START + 1
        self.paths = Path(client, SERVER), Path(SERVER, client)

    def send(self, packet: Packet, side: int = 0) -> list[Packet | DropReason]:
        """What becomes of it: first the packet that leaves in its place, or why none does."""
        datagram = self.paths[side].build(packet)
        found: list[Packet | DropReason] = []
        for action in self.engine.arrive(arrival(7, datagram, self.now, side)):
            match action:
                case Accept():
                    found.append(self.paths[side].read(datagram))
                case Replace(_, changed):
                    found.append(self.paths[side].read(changed))
                case Inject(made, direction):
                    found.append(self.paths[direction is Direction.REPLY].read(made))
                case Drop(_, reason):
                    found.append(reason)
        return found

    def begin(self, initial: int = 99, options: bytes = b"\2\4\5\xb4\1\3\3\5") -> Packet:
        """The SYN-ACK."""
        reason, answered = self.send(Packet(initial, 0, SYN, 1000, options))
        assert reason is DropReason.INTERCEPTED
        assert isinstance(answered, Packet)
        return answered

    def acknowledge(self, answered: Packet, *, at: int = 100, more: int = 1) -> object:
        return self.send(Packet(at, answered.sequence + more & MASK, ACK, 1000))[0]


EITHER = pytest.mark.parametrize("half_open", [10, NO_ROOM], ids=["table", "cookie"])


@EITHER
def test_only_the_right_acknowledgement_becomes_a_syn(half_open: int) -> None:
    talk = Talk(attacked(half_open=half_open))
    answered = talk.begin()
    for wrong in ({"more": 2}, {"more": 0}, {"at": 102}, {"at": 98}, {"more": 1 << 28}):
        assert talk.acknowledge(answered, **wrong) in (
            DropReason.INTERCEPTED,
            DropReason.NO_CONNECTION,
        )
    syn = talk.acknowledge(answered)
    assert isinstance(syn, Packet)
    assert (syn.sequence, syn.acknowledgment, syn.flags, syn.payload) == (99, 0, SYN, b"")


@EITHER
def test_data_and_its_length_go_into_no_syn(half_open: int) -> None:
    talk = Talk(attacked(half_open=half_open))
    answered = talk.begin()
    (syn,) = talk.send(Packet(100, answered.sequence + 1 & MASK, ACK, 9, b"", b"QUIT\r\n"))
    assert isinstance(syn, Packet)
    assert (syn.flags, syn.payload) == (SYN, b"")


def test_a_cookie_of_another_client_is_none() -> None:
    engine = attacked(half_open=NO_ROOM)
    answered = Talk(engine).begin()
    for other in ((CLIENT[0], 40001), (bytes([192, 0, 2, 2]), 40000)):
        assert Talk(engine, other).acknowledge(answered) is DropReason.NO_CONNECTION


def test_without_a_cookie_in_flight_none_is_looked_for() -> None:
    engine = attacked(half_open=NO_ROOM)
    talk = Talk(engine)
    answered = talk.begin()
    talk.now += 2 * PERIOD
    assert talk.acknowledge(answered) is DropReason.NO_CONNECTION
    assert engine._core.proxy.cookies.in_flight(talk.now) == 0


def test_the_servers_options_are_told_and_the_clients_own_passed_on() -> None:
    talk = Talk(attacked())
    answered = talk.begin(options=b"\2\4\3\xe8\4\2\x08\x0a" + bytes(8) + b"\1\3\3\5")
    assert answered.options == b"\2\4\5\xb4\1\1\4\2\1\3\3\7"  # no timestamps
    syn = talk.acknowledge(answered)
    assert isinstance(syn, Packet)
    assert syn.options == b"\2\4\3\xe8\1\1\4\2\1\3\3\5"


def test_with_a_cookie_neither_scale_is_told() -> None:
    talk = Talk(attacked(half_open=NO_ROOM))
    answered = talk.begin(options=b"\2\4\5\xb0\4\2\1\1\1\3\3\5")
    assert answered.options == b"\2\4\5\xb4\1\1\4\2"
    syn = talk.acknowledge(answered)
    assert isinstance(syn, Packet)
    assert syn.options == b"\2\4\5\x64\1\1\4\2"  # 1380, the next below 1456


def test_a_client_that_resets_is_forgotten() -> None:
    talk = Talk(attacked())
    answered = talk.begin()
    assert talk.send(Packet(5, 0, RST, 0)) == [DropReason.INTERCEPTED]
    assert talk.engine._core.proxy.half_open
    assert talk.send(Packet(100, 0, RST, 0)) == [DropReason.INTERCEPTED]
    assert not talk.engine._core.proxy.half_open
    assert talk.acknowledge(answered) is DropReason.NO_CONNECTION


def test_a_client_that_resets_before_the_server_has_answered_resets_that() -> None:
    talk = Talk(attacked())
    answered = talk.begin()
    talk.acknowledge(answered)
    (reset,) = talk.send(Packet(100, answered.sequence + 1 & MASK, RST | ACK, 0))
    assert isinstance(reset, Packet)
    assert (reset.sequence, reset.flags) == (100, RST)
    assert not talk.engine._core.proxy.translated


def test_a_repeated_syn_gets_the_same_answer_and_another_one_another() -> None:
    talk = Talk(attacked())
    assert talk.begin() == talk.begin()
    assert talk.begin(5).sequence != talk.begin().sequence


def test_half_open_ones_are_bounded_and_further_ones_get_cookies() -> None:
    engine = attacked(half_open=3)
    for port in range(1000, 1100):
        Talk(engine, (CLIENT[0], port)).begin()
    proxy = engine._core.proxy
    assert (len(proxy.half_open), proxy.answered, proxy.with_cookies) == (3, 100, 97)
    assert len(proxy.timers) == 3


def test_before_the_server_has_answered_a_syn_none_is_answered() -> None:
    engine = attacked()
    engine.interceptions._known.clear()
    assert Talk(engine).send(Packet(1, 0, SYN, 9)) == [DropReason.INTERCEPTED]


def test_a_frame_that_cannot_be_answered_passes() -> None:
    engine = attacked()
    datagram = CLIENT_PATH.build(Packet(1, 0, SYN, 9))
    strange = arrival(1, datagram, START + 1, 0)
    strange.link_source = bytes(6)
    assert any(isinstance(action, Accept) for action in engine.arrive(strange))


def passes(engine: Engine, host: int, port: int, packet: Packet) -> bool:
    (passed,) = Talk(engine, (bytes([192, 0, 2, host]), port)).send(packet)
    return passed == packet


def test_intercept_lasts_until_half_of_the_limit_is_left() -> None:
    engine = attacked(limit=4)
    for port in (2, 3, 4):
        assert passes(engine, 99, port, Packet(1, 0, SYN, 9))
    honest = [Talk(engine, (CLIENT[0], port)) for port in (5, 6)]
    honest[0].begin()
    assert len(engine.interceptions.here) == 1
    assert passes(engine, 99, 2, Packet(2, 0, RST, 0))
    honest[1].begin()  # below the limit
    assert passes(engine, 99, 3, Packet(2, 0, RST, 0))
    for each in honest:  # who would be embryonic, too
        assert engine.interceptions.here
        each.send(Packet(100, 0, RST, 0))
    assert not engine.interceptions.here
    assert passes(engine, 99, 7, Packet(1, 0, SYN, 9))


def test_cookies_count_until_they_are_void() -> None:
    engine = attacked(half_open=NO_ROOM)
    talk = Talk(engine)
    talk.begin()
    assert passes(engine, 99, 1, Packet(2, 0, RST, 0))
    while engine.interceptions.here:
        deadline = engine.deadline()
        assert deadline is not None
        engine.tick(deadline)
    assert talk.now + PERIOD <= deadline <= talk.now + 2 * PERIOD


def test_a_client_that_is_one_too_many_is_reset() -> None:
    engine = attacked(more="conn-max 2")
    first, second = Talk(engine), Talk(engine, (CLIENT[0], 5))
    answers = first.begin(), second.begin()
    assert isinstance(first.acknowledge(answers[0]), Packet)
    reason, reset = second.send(Packet(100, answers[1].sequence + 1 & MASK, ACK, 1000))
    assert reason is DropReason.CONNECTION_LIMIT
    assert isinstance(reset, Packet)
    assert (reset.sequence, reset.flags) == (answers[1].sequence + 1 & MASK, RST)


def test_a_new_connection_on_the_same_ports_is_not_translated() -> None:
    engine = attacked()
    talk = Bridged(engine).run()
    assert talk.complete
    flooded = Talk(engine, (bytes([192, 0, 2, 99]), 1))
    flooded.send(Packet(2, 0, RST, 0))
    again = Talk(engine)
    again.now = talk.now
    syn = Packet(talk.client.nxt + 1000 & MASK, 0, SYN, 9)
    assert again.send(syn) == [syn]
    assert not engine._core.proxy.translated
    answer = Packet(5, syn.sequence + 1 & MASK, SYN | ACK, 9)
    assert again.send(answer, 1) == [answer]


def test_when_the_filter_ends_both_ends_are_told() -> None:
    engine = attacked()
    talk = Bridged(engine)
    talk.stops_at = START + 0.2
    talk.run()
    assert talk.client.reset
    assert talk.server.reset


def test_a_packet_of_the_server_from_the_clients_side_is_refused() -> None:
    talk = Talk(attacked())
    answered = talk.begin()
    talk.acknowledge(answered)
    forged = Packet(5, 100, SYN | ACK, 9)
    actions = talk.engine.arrive(arrival(7, talk.paths[1].build(forged), talk.now, 0))
    assert [each.reason for each in actions if isinstance(each, Drop)] == [DropReason.WRONG_SIDE]


def test_forged_syn_acks_do_not_tell_the_servers_numbers() -> None:
    talk = Talk(attacked())
    talk.acknowledge(talk.begin())
    for forged in (Packet(5, 101, SYN | ACK, 9), Packet(5, 100, SYN | ACK, 9, b"", b"x")):
        assert talk.send(forged, 1)[0] is DropReason.BAD_SYN_ACK
    opened, acknowledgment = talk.send(Packet(5, 100, SYN | ACK, 9), 1)
    assert isinstance(opened, Packet)
    assert isinstance(acknowledgment, Packet)
    assert opened.flags == ACK
    assert (acknowledgment.sequence, acknowledgment.acknowledgment) == (100, 6)
