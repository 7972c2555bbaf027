"""Segments forged by somebody who knows addresses and ports but guesses the sequence numbers: the
filter learns nothing from them.

Half of all sequence numbers are old ones, so every second guess is an old one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from nfinspect.actions import DropReason
from nfinspect.engine import EngineOptions
from nfinspect.events import ConnectionBuilt
from nfinspect.flow import opening
from nfinspect.packet.options import timestamps_in
from nfinspect.policy.model import Plan, Policy
from tests.model.inspector import SwapCase
from tests.model.talk import ACK, FIN, PSH, RST, SYN, Talk
from tests.model.wire import read

pytestmark = pytest.mark.pure

MSS = b"\2\4\5\xb4"
OLD = (-50, -(10**6), -(2**30))
"""Offsets far below the next sequence number."""


@pytest.fixture(autouse=True)
def swap_case(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(opening, "Inspector", SwapCase)
    yield
    SwapCase.instances.clear()


def stamps(value: int, echo: int = 1) -> bytes:
    return b"\1\1\x08\x0a" + struct.pack("!LL", value, echo)


def with_timestamps() -> Talk:
    """The client is at 1,000, the server at 9; each has acknowledged five bytes of the other."""
    talk = Talk()
    talk.client(flags=SYN, at=-1, options=MSS + stamps(1000, 0)[2:])
    talk.server(flags=SYN | ACK, at=-1, ack=0, options=MSS + stamps(9, 1000)[2:])
    talk.client(b"hello", options=stamps(1000))
    talk.server(b"there", options=stamps(9))
    talk.client(flags=ACK, options=stamps(1000))
    talk.injected.clear()
    return talk


def uninspected(window: int = 1000) -> Talk:
    """Each side has acknowledged five bytes of the other."""
    talk = Talk(Policy({25: Plan(inspection=None)}, ()))
    talk.client(flags=SYN, at=-1, window=window)
    talk.server(flags=SYN | ACK, at=-1, ack=0, window=window)
    talk.client(b"hello", window=window)
    talk.server(b"there", window=window)
    talk.client(flags=ACK, window=window)
    return talk


def injected_timestamps(talk: Talk) -> list[int]:
    """The timestamps of the packets that the filter has injected."""
    packets = [read(datagram) for datagram in talk.injected]
    found = [timestamps_in(packet.options) for packet in packets if packet is not None]
    return [each[0] for each in found if each is not None]


# ---- old sequence numbers ----------------------------------------------------------------------


@pytest.mark.parametrize("at", OLD)
@pytest.mark.parametrize("payload", [b"", b"zz"])
def test_old_segment_with_a_future_timestamp_does_not_get_it_into_a_probe(
    at: int, payload: bytes
) -> None:
    """The server would accept it, and drop the client's own segments from then on (PAWS)."""
    talk = with_timestamps()
    talk.client(b"again", options=stamps(1001))
    talk.client(payload, at=at, flags=ACK, options=stamps(2**30))
    talk.client(b"later", at=20, options=stamps(1002))
    assert injected_timestamps(talk) == [1001]


@pytest.mark.parametrize("at", OLD)
@pytest.mark.parametrize("payload", [b"", b"zz"])
def test_old_segment_with_a_future_timestamp_does_not_get_it_into_an_injected_ack(
    at: int, payload: bytes
) -> None:
    talk = with_timestamps()
    talk.server(payload, at=at, flags=ACK, options=stamps(2**30))
    talk.client(b"later", at=20, options=stamps(1002))
    assert injected_timestamps(talk) == [9]


@pytest.mark.parametrize("at", OLD)
def test_old_segment_with_a_future_timestamp_does_not_get_it_into_held_packets(
    at: int,
) -> None:
    talk = with_timestamps()
    talk.client(b"world", at=10, options=stamps(1002))
    talk.client(b"zz", at=at, options=stamps(2**30))
    assert talk.client(b"again", at=5, options=stamps(1003)) == b"AGAIN"
    assert list(talk.late.values()) == [b"WORLD"]
    assert [timestamps_in(packet.options) for packet in talk.passed[-2:]] == [(1003, 1)] * 2


@pytest.mark.parametrize("at", OLD)
@pytest.mark.parametrize("payload", [b"", b"zz"])
def test_old_segment_with_a_large_window_does_not_open_the_window(at: int, payload: bytes) -> None:
    talk = Talk()
    talk.client(flags=SYN, at=-1)
    talk.server(flags=SYN | ACK, at=-1, ack=0, window=1000)
    talk.client(flags=ACK)
    talk.server(b"there", window=1000)
    talk.client(flags=ACK)
    talk.server(payload, at=at, flags=ACK, window=60000)
    assert talk.client(b"far away", at=1001) is DropReason.OUT_OF_WINDOW


@pytest.mark.parametrize("at", OLD)
@pytest.mark.parametrize("payload", [b"", b"zz"])
def test_bytes_acknowledged_by_an_old_segment_are_not_forgotten(at: int, payload: bytes) -> None:
    """Otherwise a retransmission of what the server lacks would arrive as X."""
    talk = with_timestamps()
    talk.client(b"again", options=stamps(1001))
    talk.server(payload, at=at, flags=ACK, options=stamps(9))
    assert talk.client(b"again", at=5, options=stamps(1002)) == b"AGAIN"
    assert talk.engine.ledger.memory_bytes == 5


def test_acknowledgement_of_a_segment_that_repeats_only_the_last_byte_counts() -> None:
    """A BSD keep-alive: the receiver accepts its acknowledgement."""
    talk = with_timestamps()
    talk.client(b"again", options=stamps(1001))
    talk.server(b"e", at=4, flags=ACK, options=stamps(9))
    assert talk.engine.ledger.memory_bytes == 0


@pytest.mark.parametrize("at", [*OLD, 1006, 2**30])
@pytest.mark.parametrize("payload", [b"", b"zz"])
def test_segment_outside_the_window_does_not_lower_the_ttl_of_an_uninspected_connection(
    at: int, payload: bytes
) -> None:
    talk = uninspected()
    talk.client(payload, at=at, flags=ACK, hop_limit=1)
    assert talk.client(b"again") == b"again"
    assert talk.last.hop_limit == 64
    talk.client(b"", flags=ACK, hop_limit=3)
    assert talk.client(b"again") == b"again"
    assert talk.last.hop_limit == 3


@pytest.mark.parametrize(
    "forged",
    [{"at": -50}, {"at": -(2**30)}, {"ack": -1996, "window": 65535}],
    ids=["old", "very old", "old acknowledgement"],
)
def test_segment_that_no_endpoint_accepts_opens_no_window_of_an_uninspected_connection(
    forged: dict[str, int],
) -> None:
    """An RST is accepted only within the window."""
    talk = uninspected()
    assert talk.client(flags=RST, at=2000) is DropReason.BAD_RST
    talk.server(flags=ACK, **{"window": 60000, **forged})
    assert talk.client(flags=RST, at=2000) is DropReason.BAD_RST
    talk.server(flags=ACK, window=60000)
    assert talk.client(flags=RST, at=2000) == b""


@pytest.mark.parametrize("flags", [RST, RST | ACK])
def test_rst_in_the_window_that_ends_nothing_does_not_lower_the_ttl(flags: int) -> None:
    """RFC 5961 section 3: a blind attacker easily hits the window, but hardly ever the exact number."""
    talk = with_timestamps()
    assert talk.client(flags=flags, at=100, hop_limit=1) == b""
    assert talk.client(b"again") == b"AGAIN"
    assert talk.last.hop_limit == 64


@pytest.mark.parametrize("ack", [-1996, -(2**30), 70_000, 2**30])
def test_wrong_acknowledgement_in_the_window_does_not_lower_the_ttl_of_an_uninspected_connection(
    ack: int,
) -> None:
    talk = uninspected()
    talk.client(b"z", at=5, ack=ack, hop_limit=1)
    assert talk.client(b"again") == b"again"
    assert talk.last.hop_limit == 64


def test_challenge_ack_to_a_syn_does_not_lower_the_ttl_of_the_syn_ack() -> None:
    talk = Talk()
    talk.client(flags=SYN, at=-1)
    for number in (5000, -(2**30), 2**30):
        assert talk.server(flags=ACK, at=number, ack=number, hop_limit=1) == b""
    assert talk.server(flags=SYN | ACK, at=-1, ack=0) == b""
    assert talk.last.hop_limit == 64


# ---- old acknowledgements ----------------------------------------------------------------------


@pytest.fixture
def advanced() -> Talk:
    """The client's window is 100; it has acknowledged 250 bytes."""
    talk = Talk()
    talk.client(flags=SYN, at=-1)
    talk.server(flags=SYN | ACK, at=-1, ack=0)
    talk.client(flags=ACK, window=100)
    for _ in range(5):
        talk.server(b"x" * 50)
        talk.client(flags=ACK, window=70)
    return talk


@pytest.mark.parametrize(("at", "taken"), [(0, b"EVIL"), (10, None)], ids=["in order", "gap"])
def test_acknowledgement_older_than_the_largest_window_is_dropped_and_a_newer_one_passes(
    advanced: Talk, at: int, taken: bytes | None
) -> None:
    """RFC 5961 section 5. Otherwise any sequence number in the window would be enough."""
    for ack in (149, 0, -(2**30)):
        assert advanced.client(b"evil", at=at, ack=ack) is DropReason.INVALID_ACK
    assert advanced.engine.held == 0
    assert advanced.client(b"evil", at=at, ack=150) == taken
    assert advanced.engine.held == (taken is None)


def test_segment_with_an_acknowledgement_older_than_the_largest_window_changes_nothing(
    advanced: Talk,
) -> None:
    advanced.client(flags=ACK, ack=149, window=65535, hop_limit=1)
    assert advanced.server(b"far", at=400) is DropReason.OUT_OF_WINDOW
    assert advanced.client(b"hello") == b"HELLO"
    assert advanced.last.hop_limit == 64


@pytest.mark.parametrize("ack", [149, 0, -(2**30)])
def test_reply_with_an_old_acknowledgement_does_not_answer_a_closed_connection(ack: int) -> None:
    """Replies to commands that had passed still pass; a forged one would take their place."""
    talk = Talk()
    talk.client(flags=SYN, at=-1)
    talk.server(flags=SYN | ACK, at=-1, ack=0)
    talk.client(flags=ACK)
    for _ in range(5):
        talk.client(b"x" * 50)
        talk.server(flags=ACK, window=100)
    talk.client(b"?", at=250)
    assert talk.client(b"#", at=251) is DropReason.INSPECTION
    assert talk.server(b"evil", at=0, ack=ack) is DropReason.CLOSED_CONNECTION
    assert talk.server(b"ok+", at=0, ack=251) == b"OK+"


# ---- the opening -------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [10.0, 1000.0], ids=["picking up", "later"])
@pytest.mark.parametrize(
    ("port", "side"),
    [(25, "client"), (25, "server"), (40000, "server")],
    ids=["port 25 to port 25", "reverse", "in the server's name"],
)
def test_syn_from_an_inspected_port_is_dropped(now: float, port: int, side: str) -> None:
    talk = Talk(now=now, client=(bytes([192, 0, 2, 1]), port))
    for flags in (SYN, SYN | PSH):
        assert talk.send(side, flags=flags, at=-1) is DropReason.BAD_SYN
        assert talk.send(side, b"HELO x\r\n", flags=flags, at=-1) is DropReason.BAD_SYN
    assert talk.emitted(ConnectionBuilt) == []
    assert talk.engine.connections == 0


def test_finished_connection_is_not_reopened_in_the_servers_name() -> None:
    talk = Talk(now=10.0).open()
    talk.server(b"220")
    talk.client(flags=RST)
    assert talk.server(flags=SYN, at=5000) is DropReason.BAD_SYN
    assert talk.client(flags=SYN | ACK, at=-1, ack=5001) is DropReason.NO_CONNECTION
    assert talk.client(b"evil", at=0) is DropReason.NO_CONNECTION


@pytest.mark.parametrize("acknowledged", [False, True])
@pytest.mark.parametrize("between", [(), (5000,), (5000, -5000)])
def test_syn_ack_of_a_connection_that_a_reset_has_ended_does_not_open_another(
    acknowledged: bool, between: tuple[int, ...]
) -> None:
    """The RST expires after the filter. If inspection restarted at the same number, the server would
    get the beginning of what was approved before, followed by the end of what is approved then."""
    talk = Talk()
    talk.client(flags=SYN, at=-1)
    talk.server(flags=SYN | ACK, at=-1, ack=0)
    assert talk.client(flags=SYN, at=-1) == b""  # the server will answer this too
    assert talk.client(b"hello", at=0, ack=0) == b"HELLO"
    if acknowledged:
        talk.server(flags=ACK, at=0, ack=5)
    assert talk.client(flags=RST, at=5, hop_limit=1) == b""
    for number in between:  # other connections that come to nothing
        assert talk.client(flags=SYN, at=number, hop_limit=1) == b""
        assert talk.client(flags=RST, at=number + 1, hop_limit=1) == b""
    assert talk.client(flags=SYN, at=-1, hop_limit=1) is DropReason.BAD_SYN
    assert talk.server(flags=SYN | ACK, at=-1, ack=0) is DropReason.NO_CONNECTION
    assert talk.client(b"?????evil", at=0, ack=0) is DropReason.NO_CONNECTION
    assert talk.client(flags=SYN, at=5000) == b""
    assert talk.server(flags=SYN | ACK, at=-1, ack=0) is DropReason.BAD_SYN_ACK
    talk.wait(61)
    assert talk.client(flags=SYN, at=-1) == b""


@pytest.mark.parametrize("at", [-1, 1, 5, -(2**30), 2**30])
def test_clients_first_ack_at_another_number_is_dropped(at: int) -> None:
    """A SYN cookie encodes the number in a few bits only: the server's stream would start there."""
    talk = Talk()
    talk.client(flags=SYN, at=-1)
    talk.server(flags=SYN | ACK, at=-1, ack=0)
    assert talk.client(flags=ACK, at=at) is DropReason.OUT_OF_WINDOW
    assert talk.client(b"hello", at=at) is DropReason.OUT_OF_WINDOW
    assert talk.server(b"220", at=0) is DropReason.NOT_ESTABLISHED
    assert talk.client(b"hello", at=0) == b"HELLO"


@pytest.mark.parametrize("payload", [b"", b"there"])
def test_first_ack_in_a_capture_may_be_a_later_one(payload: bytes) -> None:
    talk = Talk(options=EngineOptions(recorded=True))
    talk.client(flags=SYN, at=-1)
    talk.server(flags=SYN | ACK, at=-1, ack=0)
    assert talk.client(payload, at=5) == (None if payload else b"")
    assert talk.client(b"hello", at=0) == b"HELLO"
    assert list(talk.late.values()) == ([b"THERE"] if payload else [])


# ---- FIN ---------------------------------------------------------------------------------------


def test_old_fin_does_not_half_close_an_uninspected_connection() -> None:
    talk = uninspected()
    for at in OLD:
        talk.client(flags=FIN | ACK, at=at)
    talk.client(flags=FIN | ACK, at=5, ack=-1996)
    talk.wait(601)
    assert talk.engine.connections == 1
