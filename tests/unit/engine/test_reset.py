"""A clause with ``reset``: both ends get an RST that they accept, and nothing passes any more."""

from __future__ import annotations

import pytest

from nfinspect.actions import DropReason
from nfinspect.audit.syslog import render
from nfinspect.engine import RECORDED, EngineOptions
from nfinspect.events import (
    ClauseAction,
    ConnectionTornDown,
    InspectionClosed,
    TeardownReason,
    WouldClose,
)
from nfinspect.monitor import WATCHED, Monitor
from nfinspect.policy.criteria import Criterion
from nfinspect.policy.model import InspectionMap
from tests.model.policy import policy_with
from tests.model.talk import ACK, FIN, RST, START, SYN, Talk
from tests.model.wire import read
from tests.unit.esmtp.transcript import map_with

RESET = ClauseAction.RESET
LONG = b"NOOP 678901\r\n"
BY_LINE = map_with((Criterion.COMMAND_LINE_LENGTH, RESET, True, 10))
BY_KEYWORD = map_with((Criterion.EHLO_REPLY_PARAMETER, RESET, False, ("size",)))


def greeted(inspection_map: InspectionMap = BY_LINE, **options: object) -> Talk:
    talk = Talk(policy_with(inspection_map), **options).open()
    talk.server(b"220 2\r\n")
    talk.client(b"EHLO c\r\n")
    return talk


def resets(talk: Talk) -> list[tuple[int, int, int]]:
    """Destination port, sequence number as an offset, and flags, of what was injected."""
    packets = [read(datagram) for datagram in talk.injected]
    return [
        (packet.destination[1], (packet.sequence - START - 1) % 2**32, packet.flags)
        for packet in packets
    ]


def test_both_ends_get_an_rst_with_the_number_after_what_has_passed() -> None:
    talk = greeted()
    talk.server(b"250 s\r\n")
    asked, answered = talk.next["client"], talk.next["server"]
    assert talk.client(LONG) is DropReason.INSPECTION
    assert sorted(resets(talk)) == sorted([(25, asked, RST), (talk.client_end[1], answered, RST)])
    (closed,) = talk.emitted(InspectionClosed)
    (end,) = talk.emitted(ConnectionTornDown)
    assert closed.reset
    assert end.reason is TeardownReason.CLOSED_BY_INSPECTION
    assert render(closed).endswith("reason - inspector drop reset.")
    (totals,) = talk.engine.totals.values()
    assert (totals.drop, totals.reset_drop) == (0, 1)
    assert talk.engine.ledger.memory_bytes == 0


def test_reply_resets_too_and_the_reply_has_not_passed() -> None:
    talk = greeted(BY_KEYWORD)
    asked, answered = talk.next["client"], talk.next["server"]
    assert talk.server(b"250-s\r\n250 SIZE 9\r\n") is DropReason.INSPECTION
    assert sorted(resets(talk)) == sorted([(25, asked, RST), (talk.client_end[1], answered, RST)])


def test_what_still_comes_from_an_end_is_answered_with_the_number_that_it_acknowledges() -> None:
    talk = greeted()
    talk.server(b"250 s\r\n")
    read_by_client = talk.next["server"] - len(b"250 s\r\n")
    talk.client(LONG)
    talk.injected.clear()
    # The client has lost the reply, and so refuses the RST with a challenge.
    assert talk.client(b"", flags=ACK, ack=read_by_client) is DropReason.CLOSED_CONNECTION
    assert resets(talk) == [(talk.client_end[1], read_by_client, RST)]
    talk.injected.clear()
    assert talk.server(b"250 late\r\n", ack=3) is DropReason.CLOSED_CONNECTION
    assert resets(talk) == [(25, 3, RST)]


@pytest.mark.parametrize(("flags", "at"), [(RST, None), (RST | ACK, None), (SYN, -1)])
def test_rst_and_the_same_syn_are_dropped_and_not_answered(flags: int, at: int | None) -> None:
    talk = greeted()
    talk.server(b"250 s\r\n")
    talk.client(LONG)
    talk.injected.clear()
    where = {} if at is None else {"at": at}
    assert talk.client(b"", flags=flags, **where) is DropReason.CLOSED_CONNECTION
    assert not talk.injected


def test_syn_with_another_number_begins_anew_as_both_ends_are_free() -> None:
    talk = greeted()
    talk.server(b"250 s\r\n")
    talk.client(LONG)
    talk.next = {"client": 5001, "server": 7001}
    assert talk.client(flags=SYN, at=5000) == b""
    assert talk.server(flags=SYN | ACK, at=7000, ack=5001) == b""
    assert talk.client(flags=ACK) == b""
    assert talk.server(b"220 2\r\n") == b"220 2\r\n"
    assert talk.client(b"XYZZY\r\n") == b"XXXXX\r\n"
    assert talk.server(b"500 x\r\n") == b"500 x\r\n"
    assert talk.client(LONG) is DropReason.INSPECTION
    assert talk.engine.connections == 1


def test_after_drop_connection_no_syn_passes() -> None:
    """The server still has the old connection, and the client could go on with it."""
    talk = greeted(
        map_with((Criterion.COMMAND_LINE_LENGTH, ClauseAction.DROP_CONNECTION, True, 10))
    )
    talk.server(b"250 s\r\n")
    talk.client(LONG)
    assert talk.client(b"", flags=SYN, at=5000) is DropReason.CLOSED_CONNECTION


def test_forged_acknowledgement_of_what_never_passed_is_not_answered() -> None:
    talk = greeted()
    talk.server(b"250 s\r\n")
    talk.client(LONG)
    talk.injected.clear()
    assert talk.client(b"", flags=ACK, ack=10**6) is DropReason.CLOSED_CONNECTION
    assert not talk.injected


def test_connection_stays_closed_and_is_forgotten_when_it_has_been_quiet() -> None:
    talk = greeted()
    talk.server(b"250 s\r\n")
    talk.client(LONG)
    assert talk.client(b"NOOP\r\n") is DropReason.CLOSED_CONNECTION
    talk.wait(601)
    assert talk.engine.connections == 0
    assert talk.client(b"", flags=SYN, at=9000, ack=0) == b""


def test_what_was_held_is_dropped() -> None:
    talk = greeted()
    talk.server(b"250 s\r\n")
    at = talk.next["client"]
    assert talk.client(b"later\r\n", at=at + len(LONG)) is None
    talk.injected.clear()
    assert talk.client(LONG, at=at) is DropReason.INSPECTION
    assert list(talk.late.values()) == [DropReason.CLOSED_CONNECTION]
    assert talk.engine.held == 0
    assert [flags for _, _, flags in resets(talk)] == [RST, RST]


def test_numbers_are_those_that_each_end_knows_behind_a_device_that_translates() -> None:
    talk = greeted()
    talk.server(b"250 s\r\n")
    stream = talk.engine._core.table.connections()[0].server
    stream.translate(1000)
    answered = talk.next["server"]
    talk.client(LONG)
    assert (talk.client_end[1], (answered - 1000) % 2**32, RST) in resets(talk)


def test_capture_has_the_two_rsts_and_no_answers_to_what_its_endpoints_went_on_to_send() -> None:
    talk = greeted(options=EngineOptions(permissions=RECORDED))
    talk.server(b"250 s\r\n")
    talk.client(LONG)
    talk.server(b"250 ok\r\n")
    talk.client(b"QUIT\r\n")
    assert [flags for _, _, flags in resets(talk)] == [RST, RST]


def test_monitor_only_says_so() -> None:
    watching = Monitor(policy_with(BY_LINE), EngineOptions(permissions=WATCHED), started=0.0)
    actions = []
    talk = Talk(engine=watching)
    talk._verdict = lambda found, _token: actions.extend(found)
    for side, payload, flags in (
        ("client", b"", SYN),
        ("server", b"", SYN | ACK),
        ("client", b"", ACK),
        ("server", b"220 2\r\n", ACK),
        ("client", b"EHLO c\r\n", ACK),
        ("server", b"250 s\r\n", ACK),
        ("client", LONG, ACK),
        ("client", b"", ACK | FIN),
    ):
        at = -1 if flags & SYN else None
        talk.send(side, payload, flags=flags, at=at, ack=0 if flags & SYN else None)
    names = [type(getattr(action, "event", action)).__name__ for action in actions]
    assert "Inject" not in names
    (would,) = [a.event for a in actions if isinstance(getattr(a, "event", None), WouldClose)]
    assert would.reset
    (totals,) = watching.totals.values()
    assert (totals.drop, totals.reset_drop) == (0, 1)
