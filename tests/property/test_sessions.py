"""Twenty thousand hostile sessions, checked by the oracle; see ``tests/fuzz`` and docs/fuzzing.md.

A failure names the command that prints the session packet by packet.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nfinspect.actions import Accept, Action, Drop, DropReason, Emit, Replace
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.events import ConflictingBytes
from tests.fuzz.corpus import SESSIONS
from tests.fuzz.interception import Intercepting
from tests.fuzz.session import Session, Tally, run_many

TOTAL, BATCH = 20_000, 1_000
INTERCEPTED = 4_000


@pytest.mark.parametrize("first", range(0, TOTAL, BATCH))
def test_hostile_sessions_agree_with_the_oracle(first: int) -> None:
    tally = Tally()
    failures = run_many(range(first, first + BATCH), tally)
    assert not failures, f"{len(failures)} differences\n" + "\n\n".join(failures)
    assert tally.sessions == BATCH
    # The sessions are indeed hostile.
    assert tally.segments > 40 * BATCH
    assert min(tally.held, tally.forged, tally.injected, tally.conflicts, tally.closed) > BATCH / 5
    assert tally.expired > BATCH / 5
    assert min(tally.sequels, tally.reopened) > BATCH / 50
    expected = {
        DropReason.BAD_CHECKSUM,
        DropReason.HOLD_BOUND,
        DropReason.MEMORY_BOUND,
        DropReason.GSO_CUT,
        DropReason.INVALID_ACK,
        DropReason.NO_CONNECTION,
        DropReason.PAST_FIN,
        DropReason.AWAITS_REPLY,
    }
    assert expected <= set(tally.drops)


@pytest.mark.parametrize("first", range(0, INTERCEPTED, BATCH))
def test_so_do_those_whose_connection_the_filter_has_intercepted(first: int) -> None:
    tally = Tally()
    failures = run_many(range(first, first + BATCH), tally, intercepted=True)
    assert not failures, f"{len(failures)} differences\n" + "\n\n".join(failures)
    assert min(tally.held, tally.forged, tally.injected, tally.conflicts, tally.closed) > BATCH / 5


def test_intercepted_ones_are_translated() -> None:
    session = Session(6, intercepted=True).run()
    assert isinstance(session.engine, Intercepting)
    assert session.engine.translated > 10


@pytest.mark.parametrize(("seed", "what"), SESSIONS)
def test_session_that_once_failed_agrees_with_the_oracle(seed: int, what: str) -> None:
    Session(seed).run()


# An oracle that never fails would prove nothing: it must detect each of these faults.


def unmasked(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """Rewritten packets pass unchanged."""
    return [
        Accept(action.token)
        if isinstance(action, Replace) and action.token == arrival.token
        else action
        for action in actions
    ]


def violation_passes(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """The packet that violates a rule passes."""
    return [
        Accept(action.token)
        if isinstance(action, Drop) and action.reason is DropReason.INSPECTION
        else action
        for action in actions
    ]


def closed_continues(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """A closed connection continues."""
    return [
        Accept(action.token)
        if isinstance(action, Drop) and action.reason is DropReason.CLOSED_CONNECTION
        else action
        for action in actions
    ]


def no_verdict(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """Dropped packets never get a verdict."""
    return [action for action in actions if not isinstance(action, Drop)]


def two_verdicts(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """Some packets get two verdicts."""
    return actions + [action for action in actions if isinstance(action, Accept)]


def no_report(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """Conflicting bytes are not reported."""
    return [
        action
        for action in actions
        if not (isinstance(action, Emit) and isinstance(action.event, ConflictingBytes))
    ]


def bad_checksum_passes(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """Damaged packets pass."""
    return [
        Accept(action.token)
        if isinstance(action, Drop) and action.reason is DropReason.BAD_CHECKSUM
        else action
        for action in actions
    ]


def held_passes(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """Held packets pass at once, in addition to their later verdict."""
    return actions or [Accept(arrival.token)]


def no_connection_passes(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """What belongs to no connection passes."""
    return [
        Accept(action.token)
        if isinstance(action, Drop) and action.reason is DropReason.NO_CONNECTION
        else action
        for action in actions
    ]


def server_syn_passes(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """A SYN from the server's port passes."""
    return [
        Accept(action.token)
        if isinstance(action, Drop) and action.reason is DropReason.BAD_SYN
        else action
        for action in actions
    ]


def invalid_ack_passes(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """A segment with a wrong acknowledgement passes."""
    return [
        Accept(action.token)
        if isinstance(action, Drop) and action.reason is DropReason.INVALID_ACK
        else action
        for action in actions
    ]


@pytest.mark.parametrize(
    "fault",
    [
        unmasked,
        violation_passes,
        closed_continues,
        no_verdict,
        two_verdicts,
        no_report,
        bad_checksum_passes,
        held_passes,
        no_connection_passes,
        server_syn_passes,
        invalid_ack_passes,
    ],
)
def test_oracle_detects_a_faulty_filter(
    fault: Callable[[Arrival, list[Action]], list[Action]], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Engine.arrive

    def arrive(engine: Engine, arrival: Arrival) -> list[Action]:
        return fault(arrival, honest(engine, arrival))

    monkeypatch.setattr(Engine, "arrive", arrive)
    assert run_many(range(300), Tally(), most=1), "the fault was not detected"
