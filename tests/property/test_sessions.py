"""Twenty thousand hostile sessions against the oracle; see ``tests/fuzz`` and docs/fuzzing.md.

A failure names the command that shows the session packet by packet.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nfinspect.actions import Accept, Action, Drop, DropReason, Emit, Replace
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.events import ConflictingBytes
from tests.fuzz.corpus import SESSIONS
from tests.fuzz.session import Session, Tally, run_many

SESSIONS_IN_ALL, BATCH = 20_000, 1_000


@pytest.mark.parametrize("first", range(0, SESSIONS_IN_ALL, BATCH))
def test_hostile_sessions_agree_with_the_oracle(first: int) -> None:
    tally = Tally()
    failures = run_many(range(first, first + BATCH), tally)
    assert not failures, f"{len(failures)} differences\n" + "\n\n".join(failures)
    assert tally.sessions == BATCH
    # They are as hostile as they are said to be.
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
        DropReason.SHUT,
    }
    assert expected <= set(tally.drops)


@pytest.mark.parametrize(("seed", "what"), SESSIONS)
def test_session_that_once_differed(seed: int, what: str) -> None:
    Session(seed).run()


# A judge that lets everything pass would be no judge: each of these filters must be found out.


def _unmasked(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """What is rewritten passes as it came."""
    return [
        Accept(action.token)
        if isinstance(action, Replace) and action.token == arrival.token
        else action
        for action in actions
    ]


def _pardoned(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """The packet that violates passes."""
    return [
        Accept(action.token)
        if isinstance(action, Drop) and action.reason is DropReason.INSPECTION
        else action
        for action in actions
    ]


def _closed_not(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """A closed connection goes on."""
    return [
        Accept(action.token)
        if isinstance(action, Drop) and action.reason is DropReason.CLOSED_CONNECTION
        else action
        for action in actions
    ]


def _mute(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """Dropped packets never get a verdict."""
    return [action for action in actions if not isinstance(action, Drop)]


def _stammering(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """Some packets get two."""
    return actions + [action for action in actions if isinstance(action, Accept)]


def _silent(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """Conflicts are not told."""
    return [
        action
        for action in actions
        if not (isinstance(action, Emit) and isinstance(action.event, ConflictingBytes))
    ]


def _trusting(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """Damaged packets pass."""
    return [
        Accept(action.token)
        if isinstance(action, Drop) and action.reason is DropReason.BAD_CHECKSUM
        else action
        for action in actions
    ]


def _generous(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """What is held passes at once, on top of its later verdict."""
    return actions or [Accept(arrival.token)]


def _hospitable(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """What belongs to no connection passes."""
    return [
        Accept(action.token)
        if isinstance(action, Drop) and action.reason is DropReason.NO_CONNECTION
        else action
        for action in actions
    ]


def _reversible(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """A SYN from the servers' port passes."""
    return [
        Accept(action.token)
        if isinstance(action, Drop) and action.reason is DropReason.BAD_SYN
        else action
        for action in actions
    ]


def _credulous(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """A segment with a wrong acknowledgement passes."""
    return [
        Accept(action.token)
        if isinstance(action, Drop) and action.reason is DropReason.INVALID_ACK
        else action
        for action in actions
    ]


@pytest.mark.parametrize(
    "sabotage",
    [
        _unmasked,
        _pardoned,
        _closed_not,
        _mute,
        _stammering,
        _silent,
        _trusting,
        _generous,
        _hospitable,
        _reversible,
        _credulous,
    ],
)
def test_saboteur_is_found_out(
    sabotage: Callable[[Arrival, list[Action]], list[Action]], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Engine.arrive

    def arrive(engine: Engine, arrival: Arrival) -> list[Action]:
        return sabotage(arrival, honest(engine, arrival))

    monkeypatch.setattr(Engine, "arrive", arrive)
    assert run_many(range(300), Tally(), most=1), "nobody has noticed"
