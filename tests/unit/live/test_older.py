"""Connections older than the filter: read from conntrack's answers, and told to the engine."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from nfinspect.live import older
from nfinspect.live.netlink import attribute, nested
from nfinspect.live.older import OlderConnections, read_entry
from nfinspect.packet.segment import reverse_key
from tests.unit.live.test_conntrack import key, tuple_of

CLIENT, SERVER, MAPPED = "192.0.2.9 4000", "10.0.0.25 25", "203.0.113.9 25"
HEADER = b"\2\0\0\0"


def entry(state: int, *, mark: int = 0, protocol: bytes = b"\6") -> bytes:
    """An entry of a connection whose server's address is translated."""
    original, reply = key(CLIENT, MAPPED), reverse_key(key(CLIENT, SERVER))
    tuples = (tuple_of(1, original) + tuple_of(2, reply)).replace(
        attribute(1, b"\6"), attribute(1, protocol)
    )
    information = nested(4, nested(1, attribute(1, bytes([state]))))
    return HEADER + tuples + information + attribute(8, mark.to_bytes(4))


@pytest.mark.parametrize("state", range(10))
def test_open_connections_are_read_as_the_queue_shows_them(state: int) -> None:
    wanted = key(CLIENT, SERVER) if state in (3, 4, 5) else None
    assert read_entry(entry(state)) == wanted


def test_what_the_kernel_lets_pass_itself_and_other_protocols_are_not() -> None:
    assert read_entry(entry(3, mark=0x0800_0000)) is None
    assert read_entry(entry(3, mark=0x0400_0001)) == key(CLIENT, SERVER)
    assert read_entry(entry(3, protocol=b"\x84")) is None
    assert read_entry(HEADER) is None
    with pytest.raises(ValueError, match="attribute"):
        read_entry(entry(3)[:-3])


class Engine:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.keys: set[bytes] = set()

    @property
    def expected(self) -> int:
        return len(self.keys)

    def expect(self, keys: Collection[bytes], now: float) -> None:
        self.keys |= set(keys)

    def keep_expected(self, keys: Collection[bytes], now: float) -> None:
        self.keys &= set(keys)


def test_engine_is_told_at_the_start_and_of_those_that_are_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [{b"a", b"b"}, {b"a", b"c"}, set()]
    engine, messages = Engine(), []
    found = OlderConnections(engine, lambda: answers.pop(0), messages.append)
    found.begin()
    assert engine.keys == {b"a", b"b"}
    found.serve()
    assert len(answers) == 2
    monkeypatch.setattr(older, "PERIOD", 0.0)
    found._next = 0.0
    while engine.keys:
        found.serve()
    assert answers == []
    found.serve()  # nothing is left to look for
    assert messages == []


def test_without_an_answer_the_operator_is_told() -> None:
    def fail() -> set[bytes]:
        raise OSError(1, "not permitted")

    engine, messages = Engine(), []
    OlderConnections(engine, fail, messages.append).begin()
    assert engine.keys == set()
    assert "limits do not count connections older than the filter" in messages[0]
