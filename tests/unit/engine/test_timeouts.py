"""Timeouts from the configuration: when a connection ends, what its ends are told, and who is asked first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nfinspect.engine import EngineOptions
from nfinspect.events import ConnectionTornDown, Direction, IdleProbe, TeardownReason
from nfinspect.flow.permissions import RECORDED
from nfinspect.packet.options import timestamps_option
from nfinspect.policy import parse_policy
from tests.model.talk import ACK, FIN, START, SYN, Talk
from tests.model.wire import CLIENT, RST, SERVER, Packet, read

STAMPS = b"\1\1" + timestamps_option(7, 9)[-10:]


def talk_with(words: str, more: str = "", **options: object) -> Talk:
    text = f"policy-map global_policy\n class class-default\n  set connection timeout {words}\n"
    return Talk(parse_policy((text if words else "") + more, "a.cfg").policy, **options)


def ends(talk: Talk) -> list[TeardownReason]:
    return [event.reason for event in talk.emitted(ConnectionTornDown)]


def sent(talk: Talk) -> list[Packet]:
    found = [read(datagram) for datagram in talk.injected]
    talk.injected.clear()
    assert None not in found
    return found


@pytest.mark.parametrize(
    ("words", "more", "state", "seconds", "reason"),
    [
        ("embryonic 0:0:5", "", "embryonic", 5, TeardownReason.SYN_TIMEOUT),
        ("", "", "embryonic", 30, TeardownReason.SYN_TIMEOUT),
        ("half-closed 0:0:30", "", "half-closed", 30, TeardownReason.FIN_TIMEOUT),
        ("", "timeout half-closed 0:7:0\n", "half-closed", 420, TeardownReason.FIN_TIMEOUT),
        (
            "half-closed 0:0:40", "timeout half-closed 0:7:0\n", "half-closed", 40,
            TeardownReason.FIN_TIMEOUT,
        ),
        ("idle 0:0:1", "", "idle", 1, TeardownReason.CONNECTION_TIMEOUT),
        ("", "timeout conn 0:5:0\n", "idle", 300, TeardownReason.CONNECTION_TIMEOUT),
        ("idle 0:0:9", "timeout conn 0:5:0\n", "idle", 9, TeardownReason.CONNECTION_TIMEOUT),
        ("idle 0:0:9 reset", "", "idle", 9, TeardownReason.TIMED_OUT_WITH_RESET),
        ("idle 0:0:9 reset half-closed 0:1:0", "", "half-closed", 60, TeardownReason.FIN_TIMEOUT),
    ],
)  # fmt: skip
def test_connection_ends_at_its_timeout_and_not_before(
    words: str, more: str, state: str, seconds: int, reason: TeardownReason
) -> None:
    talk = talk_with(words, more)
    if state == "embryonic":
        talk.client(flags=SYN, at=-1)
    else:
        talk.open()
    if state == "half-closed":
        talk.client(flags=FIN | ACK)
        talk.server(flags=ACK)
    talk.wait(seconds - 0.5)
    assert ends(talk) == []
    talk.wait(1)
    assert ends(talk) == [reason]
    assert bool(talk.injected) == (reason is TeardownReason.TIMED_OUT_WITH_RESET)


@pytest.mark.parametrize("words", ["embryonic 0", "half-closed 0", "idle 0"])
def test_timeout_of_0_never_comes(words: str) -> None:
    talk = talk_with(words)
    if words.startswith("embryonic"):
        talk.client(flags=SYN, at=-1)
    else:
        talk.open()
    if words.startswith("half"):
        talk.client(flags=FIN | ACK)
    talk.wait(1_000_000)
    assert ends(talk) == []


def test_idle_timeout_with_reset_sends_both_ends_an_rst_that_they_believe() -> None:
    talk = talk_with("idle 0:1:0 reset").open()
    talk.server(b"220 x\r\n")
    talk.client(b"NOOP\r\n")
    talk.server(b"250 k\r\n")
    talk.client(flags=ACK)
    talk.wait(61)
    to_server, to_client = sent(talk)
    assert (to_client.source, to_client.destination) == (SERVER, CLIENT)
    assert (to_server.source, to_server.destination) == (CLIENT, SERVER)
    assert to_client.flags == to_server.flags == RST
    assert to_client.sequence == (START + 1 + 14) % 2**32
    assert to_server.sequence == (START + 1 + 6) % 2**32


def test_ends_of_an_idle_connection_are_asked_and_both_answers_keep_it() -> None:
    talk = talk_with("idle 0:10:0 dcd 0:0:20 3").open()
    talk.server(b"220 x\r\n", options=STAMPS)
    talk.client(flags=ACK, options=STAMPS)
    for _ in range(3):
        talk.wait(601)
        to_client, to_server = sent(talk)
        assert (to_client.flags, to_server.flags) == (ACK, ACK)
        assert to_client.payload == to_server.payload == b""
        assert to_client.options == to_server.options == timestamps_option(7, 9)
        # One before the next byte: not acceptable, so it is acknowledged at once.
        assert to_client.sequence == (START + 7) % 2**32
        assert to_client.acknowledgment == (START + 1) % 2**32
        assert to_server.sequence == START
        assert to_server.acknowledgment == (START + 8) % 2**32
        assert talk.client(flags=ACK, options=STAMPS) == b""
        talk.wait(5)
        assert talk.server(flags=ACK, options=STAMPS) == b""
    assert ends(talk) == []
    assert [event.direction for event in talk.emitted(IdleProbe)] == [
        Direction.REPLY, Direction.REQUEST,
    ] * 3  # fmt: skip
    assert not talk.engine._core.table._asked or talk.wait(600)


@pytest.mark.parametrize(
    ("reset", "reason"),
    [
        ("", TeardownReason.CONNECTION_TIMEOUT),
        (" reset", TeardownReason.TIMED_OUT_WITH_RESET),
    ],
)
def test_dead_end_is_asked_as_often_as_said_and_then_given_up(
    reset: str, reason: TeardownReason
) -> None:
    talk = talk_with(f"idle 0:10:0{reset} dcd 0:0:20 3").open()
    talk.wait(600)
    assert len(sent(talk)) == 2
    talk.client(flags=ACK)  # the server is dead
    for _ in range(2):
        talk.wait(20)
        (again,) = sent(talk)
        assert again.destination == SERVER
    assert ends(talk) == []
    talk.wait(20)
    assert ends(talk) == [reason]
    assert talk.engine._core.table._asked == {}


def test_end_that_has_forgotten_the_connection_resets_it() -> None:
    talk = talk_with("idle 0:10:0 dcd").open()
    talk.wait(600)
    probe = next(p for p in sent(talk) if p.destination == SERVER)
    at = probe.acknowledgment - START - 1
    talk.send("server", flags=RST, at=at % 2**32)
    assert ends(talk) == [TeardownReason.TCP_RESET_INSIDE]


def test_in_a_capture_nobody_is_asked_and_an_idle_connection_counts_as_alive() -> None:
    options = EngineOptions(permissions=replace(RECORDED, missing_side=False))
    talk = talk_with("idle 0:10:0 reset dcd", options=options).open()
    talk.wait(7200)
    assert talk.injected == []
    assert ends(talk) == []
    assert talk.server(b"220 x\r\n") == b"220 *\r\n"


def test_in_a_capture_no_reset_is_made() -> None:
    options = EngineOptions(permissions=replace(RECORDED, missing_side=False))
    talk = talk_with("idle 0:10:0 reset", options=options).open().wait(601)
    assert ends(talk) == [TeardownReason.TIMED_OUT_WITH_RESET]
    assert talk.injected == []


def test_idle_connections_cost_no_timer_each_minute() -> None:
    """With a thousand of them, an hour's ticks take up each of them a few times."""
    first = talk_with("idle 4:0:0").open()
    for port in range(1000, 1999):
        Talk(engine=first.engine, client=(b"\xc0\0\2\2", port)).open()
    table, taken = first.engine._core.table, 0
    timers = table._timers
    until = first.now + 3600
    while (deadline := timers.deadline()) is not None and deadline <= until:
        before = timers._number
        first.engine.tick(deadline)
        taken += timers._number - before
    assert taken <= 4 * 1000
