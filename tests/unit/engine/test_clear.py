"""``clear conn``: connections end at an operator's word, and begin anew under the present policy."""

from __future__ import annotations

import pytest

from nfinspect.actions import Drop, DropReason, Emit
from nfinspect.events import ConnectionTornDown, DeniedNoConnection, TeardownReason
from nfinspect.tcp.limits import Ledger
from tests.model.talk import ACK, SYN, SwapTalk
from tests.model.wire import CLIENT, SERVER


@pytest.mark.parametrize("address", [None, CLIENT[0], SERVER[0]])
def test_cleared_connection_lets_nothing_pass_and_a_new_one_begins(address: bytes | None) -> None:
    talk = SwapTalk().open()
    talk.client(b"hello")
    assert talk.client(b"later", at=9) is None  # held beyond a gap
    actions = talk.engine.clear(talk.now, address)
    (end,) = [each.event for each in actions if isinstance(each, Emit)]
    assert isinstance(end, ConnectionTornDown)
    assert end.reason is TeardownReason.CLEARED
    assert [each.reason for each in actions if isinstance(each, Drop)] == [
        DropReason.CLOSED_CONNECTION
    ]
    assert talk.engine.connections == 0
    assert talk.engine.ledger == Ledger()

    assert talk.client(b"more", at=5) is DropReason.NO_CONNECTION
    assert talk.emitted(DeniedNoConnection)
    assert talk.client(flags=SYN, at=100) == b""
    assert talk.engine.connections == 1


def test_other_hosts_connections_go_on() -> None:
    talk = SwapTalk().open()
    assert talk.engine.clear(talk.now, bytes([198, 51, 100, 77])) == []
    assert talk.client(b"hello") == b"HELLO"


def test_cleared_connection_is_not_picked_up_as_older_than_the_filter() -> None:
    talk = SwapTalk(now=10.0).open()
    talk.engine.clear(talk.now)
    assert talk.client(b"more", at=0) is DropReason.NO_CONNECTION
    picked_up = SwapTalk(now=10.0)
    picked_up.client(b"old", at=0, flags=ACK)
    assert picked_up.engine.connections == 1
    picked_up.engine.clear(picked_up.now)
    assert picked_up.client(b"older", at=3, flags=ACK) is DropReason.NO_CONNECTION


def test_what_inspection_closed_stays_closed() -> None:
    talk = SwapTalk().open()
    talk.client(b"reply owed?")
    talk.client(b"#")
    assert talk.engine.connections == 1
    assert talk.engine.clear(talk.now) == []
    assert talk.client(flags=SYN, at=100) is DropReason.CLOSED_CONNECTION
