"""What the streaming evaluator says."""

from __future__ import annotations

from nfinspect.esmtp.clauses import Rules
from nfinspect.esmtp.inspector import Inspector
from nfinspect.events import ClauseMatched
from tests.differential.naive import Outcome
from tests.unit.esmtp.transcript import CONNECTION

OPENING = (
    (False, b"220 x\r\n"),
    (True, b"EHLO x\r\n"),
    (False, b"250 x\r\n"),
    (True, b"MAIL FROM:<a@b>\r\n"),
    (False, b"250 x\r\n"),
    (True, b"RCPT TO:<a@b>\r\n"),
    (False, b"250 x\r\n"),
    (True, b"DATA\r\n"),
    (False, b"354 x\r\n"),
)


def in_message(rules: Rules) -> Inspector:
    inspector = Inspector(CONNECTION, rules)
    for from_client, data in OPENING:
        if from_client:
            inspector.request(data, len(data), 10**6)
        else:
            inspector.reply(data)
    inspector.events.clear()
    return inspector


def outcome(rules: Rules, text: bytes, cuts: list[int]) -> Outcome:
    inspector = in_message(rules)
    matches = []
    start = 0
    logged: set[int] = set()
    for number, end in enumerate(cuts):
        data = text[start:end]
        start = end
        inspector.request(data, len(data), 10**6)
        for event in inspector.events:
            if isinstance(event, ClauseMatched):
                matches.append((number, event.position))
                assert event.log == (event.position not in logged), "108005 once a mail"
                logged.add(event.position)
        inspector.events.clear()
        if inspector.closing is not None:
            assert inspector.kept == 0
            return Outcome(tuple(matches), number)
    assert inspector.kept == 0
    assert inspector.replies_owed == 1, "the message has not ended"
    return Outcome(tuple(matches), None)
