"""Two thousand hostile sessions in monitor mode: every packet passes at once, as it is."""

from __future__ import annotations

import pytest

from nfinspect.actions import DropReason
from nfinspect.events import Uninspected, UninspectedCause, WouldClose
from tests.fuzz.watching import WatchedSession

TOTAL, BATCH = 2_000, 500


@pytest.mark.parametrize("first", range(0, TOTAL, BATCH))
def test_monitor_accepts_every_packet_at_once_and_forgets_everything(first: int) -> None:
    sessions = [WatchedSession(seed).run() for seed in range(first, first + BATCH)]
    events = [event for session in sessions for event in session.events]
    assert sum(session.tokens for session in sessions) > 30 * BATCH
    assert sum(session.would for session in sessions) > BATCH
    assert sum(session.most_held > 0 for session in sessions) > BATCH / 10
    assert sum(isinstance(event, WouldClose) for event in events) > BATCH / 10
    causes = {event.cause for event in events if isinstance(event, Uninspected)}
    assert {UninspectedCause.WOULD_CLOSE, UninspectedCause.UNSEEN_DATA} <= causes
    reasons = {reason for session in sessions for reason in session.drops}
    assert {DropReason.INSPECTION, DropReason.BAD_CHECKSUM, DropReason.HOLD_BOUND} <= reasons
