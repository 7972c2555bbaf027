"""Servers and clients that keep to no rules: see ``tests/fuzz/replies.py`` and docs/fuzzing.md.

A failure names the command that prints the session packet by packet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from nfinspect.actions import Accept, Action, Drop, DropReason, Replace
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.esmtp.dialogue import Dialogue
from tests.fuzz.replies import CommandError, Tally, failure, run_many, shrink
from tests.fuzz.script import FORBIDDEN, Answer, Group, How, Script, draw, harmless

TOTAL, BATCH = 4_000, 1_000
FEW = 500


@pytest.mark.parametrize("first", range(0, TOTAL, BATCH))
def test_no_way_in_and_no_standstill_whatever_the_server_says(first: int) -> None:
    tally = Tally()
    failures = run_many(range(first, first + BATCH), tally)
    assert not failures, "\n\n".join(failures)
    # The sessions are indeed strange, and go on all the same.
    assert tally.sessions == BATCH
    assert tally.steps > 40 * BATCH
    assert tally.commands > 3 * BATCH
    assert tally.finished > BATCH / 3
    assert tally.anomalies > BATCH / 4
    assert min(tally.closed, tally.left, tally.owed, tally.uninspected) > BATCH / 60


# A fuzz that never fails would prove nothing.


@pytest.mark.pure
@pytest.mark.parametrize(
    ("method", "nothing"),
    [("_leave", False), ("settle", 0), ("end_doubtful", None)],
)
def test_a_dialogue_that_lacks_a_rule_is_found_out(
    method: str, nothing: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dialogue, method, lambda *arguments: nothing)
    assert run_many(range(FEW), Tally(), most=1)


def unmasked(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """Rewritten packets pass unchanged."""
    return [Accept(a.token) if isinstance(a, Replace) else a for a in actions]


def closed_continues(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """A closed connection continues."""
    return [
        Accept(a.token) if isinstance(a, Drop) and a.reason is DropReason.CLOSED_CONNECTION else a
        for a in actions
    ]


def held_passes(arrival: Arrival, actions: list[Action]) -> list[Action]:
    """What is to be held passes."""
    return actions or [Accept(arrival.token)]


@pytest.mark.parametrize("fault", [unmasked, closed_continues, held_passes])
def test_a_faulty_filter_is_found_out(
    fault: Callable[[Arrival, list[Action]], list[Action]], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Engine.arrive
    monkeypatch.setattr(
        Engine, "arrive", lambda engine, arrival: fault(arrival, honest(engine, arrival))
    )
    assert run_many(range(FEW), Tally(), most=1)


@pytest.mark.parametrize(
    "line", [*FORBIDDEN, b"NO", b"EXPNXXXX", b"XCLIENT\0", b"xclient", b"XHELO"]
)
def test_what_counts_as_a_command_that_must_not_arrive(line: bytes) -> None:
    assert harmless(line + b"\r\n", False) == (line == b"NO")


@pytest.mark.parametrize(
    "line", [b"noop", b"XXXX", b"", b"EXXX", b"HELOXX", b"MAIL FROM:<a@b>", b"X"]
)
def test_what_may_arrive(line: bytes) -> None:
    assert harmless(line + b"\r\n", False)


@pytest.mark.pure
def test_failure_shrinks_to_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dialogue, "_leave", lambda dialogue: False)
    seed = next(seed for seed in range(TOTAL) if isinstance(failure(draw(seed)), CommandError))
    small = shrink(draw(seed))
    assert isinstance(failure(small), CommandError)
    assert len(small.groups) <= 4
    for at in range(len(small.groups)):
        smaller = replace(small, groups=small.groups[:at] + small.groups[at + 1 :])
        assert not isinstance(failure(smaller), CommandError)


# Scripts that once failed, by name.


@pytest.mark.parametrize(
    ("groups", "answers"),
    [
        pytest.param(
            (
                Group(b"HELO c\r\n"),
                Group(b"STARTTLS\r\n"),
                Group(b"EXPN root\r\n"),
            ),
            (Answer(), Answer(How.TWICE, b"454")),
            id="TLS, and then none",
        ),
        pytest.param(
            (
                Group(b"\r\n", awaits=0),
                Group(b"AUTH LOGIN\r\n"),
                Group(b"AUTH LOGIN\r\n"),
                Group(b"EXPN root\r\n"),
                Group(b"EXPN root\r\n"),
            ),
            (Answer(piece=1), Answer(piece=1)),
            id="the challenge to the first AUTH comes late",
        ),
        pytest.param(
            (
                Group(b"BDAT 12\r\n", patience=0.0),
                Group(b"\r\n0123456789\r\n", awaits=2),
                Group(b"QUIT\r\n"),
            ),
            (),
            id="an empty line in a chunk",
        ),
        pytest.param(
            (Group(b"\r\r\n", patience=1.0), Group(b"QUIT\r\n")), (), id="an empty line with a CR"
        ),
    ],
)
@pytest.mark.parametrize("answers_blank", [True, False])
def test_script_that_once_failed(
    groups: tuple[Group, ...], answers: tuple[Answer, ...], answers_blank: bool
) -> None:
    script = Script("allow-tls", groups, Answer(), answers, answers_blank=answers_blank)
    assert failure(script) is None
