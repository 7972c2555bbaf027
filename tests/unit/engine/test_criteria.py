"""Each criterion with each action that it takes, with and without ``not``: generated from the table of
`nfinspect.policy.criteria`, and played packet by packet through the engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from nfinspect.actions import DropReason
from nfinspect.audit.syslog import render
from nfinspect.events import REPLY, ClauseAction, ClauseMatched, CommandMasked, InspectionClosed
from nfinspect.policy.conditions import Above, Condition, Expression, Matches, Not, OneOf
from nfinspect.policy.criteria import CRITERIA, ROWS, Criterion, Scope
from tests.model.policy import policy_with
from tests.model.talk import RST, Talk
from tests.model.wire import read
from tests.unit.esmtp.transcript import map_with

Step = tuple[str, bytes]

EHLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<sender@client.example>\r\n"
RCPT = b"RCPT TO:<recipient@server.example>\r\n"
SHORT_MAIL = b"MAIL FROM:<a@b>\r\n"
OK = ("server", b"250 ok\r\n")
REFUSED = ("server", b"550 no\r\n")


def client(line: bytes) -> Step:
    return "client", line


def pattern(text: str) -> Condition:
    return Matches("r", (Expression("r", text, text),))


@dataclass(frozen=True)
class Case:
    """A condition, packets of which the last one meets it, and packets that do not. ``match not`` is
    tried with ``negated``, in whose place the condition itself may stand."""

    condition: Condition
    meets: tuple[Step, ...]
    misses: tuple[Step, ...]
    negated: Condition | None = None


def message(*packets: bytes) -> tuple[Step, ...]:
    return (
        *(client(MAIL), OK, client(RCPT), OK),
        *(client(b"DATA\r\n"), ("server", b"354 go\r\n")),
        *map(client, packets),
    )


def part(field: bytes) -> bytes:
    return b"Subject: s\r\n" + field + b"\r\n\r\ntext\r\n.\r\n"


HEADER = b"Subject: s\r\n"

CASES = {
    Criterion.COMMAND_VERB: Case(
        OneOf(("VRFY",)), (client(b"VRFY x\r\n"),), (client(b"NOOP\r\n"),), OneOf(("EHLO", "VRFY"))
    ),
    Criterion.COMMAND_LINE_LENGTH: Case(
        Above(40), (client(b"NOOP " + b"x" * 40 + b"\r\n"),), (client(b"NOOP\r\n"),), Above(12)
    ),
    Criterion.SENDER_LENGTH: Case(Above(10), (client(MAIL),), (client(SHORT_MAIL),)),
    Criterion.SENDER_ADDRESS: Case(
        pattern(r"@client\.example$"), (client(MAIL),), (client(SHORT_MAIL),)
    ),
    Criterion.RECIPIENT_COUNT: Case(
        Above(1),
        (client(MAIL), OK, client(RCPT), OK, client(RCPT)),
        (client(MAIL), OK, client(RCPT), OK, client(b"DATA\r\n")),
    ),
    Criterion.INVALID_RECIPIENTS: Case(
        Above(1),
        (client(MAIL), OK, client(RCPT), REFUSED, client(RCPT), REFUSED),
        (client(MAIL), OK, client(RCPT), REFUSED, client(b"DATA\r\n"), ("server", b"503 no\r\n")),
    ),
    Criterion.EHLO_REPLY_PARAMETER: Case(
        OneOf(("size",)),
        (client(EHLO), ("server", b"250-s\r\n250 SIZE 9\r\n")),
        (client(EHLO), ("server", b"250-s\r\n250 VRFY\r\n")),
    ),
    Criterion.HEADER_LENGTH: Case(
        Above(30), message(HEADER * 3 + b"\r\n"), message(HEADER + b"\r\n.\r\n")
    ),
    Criterion.HEADER_LINE_LENGTH: Case(
        Above(30), message(b"X-Long: " + b"x" * 40 + b"\r\n"), message(HEADER + b"\r\n.\r\n"),
    ),
    Criterion.TO_FIELDS: Case(
        Above(1), message(b"To: a@b\r\nTo: c@d\r\n\r\n.\r\n"), message(b"To: a@b\r\n\r\n.\r\n")
    ),
    Criterion.BODY_LENGTH: Case(
        Above(30), message(HEADER + b"\r\n" + b"text\r\n" * 9), message(HEADER + b"\r\nx\r\n.\r\n")
    ),
    Criterion.BODY_LINE_LENGTH: Case(
        Above(30), message(HEADER + b"\r\n" + b"x" * 40 + b"\r\n"), message(part(b"X: y"))
    ),
    Criterion.MIME_ENCODING: Case(
        OneOf(("base64",)),
        message(part(b"Content-Transfer-Encoding: base64")),
        message(part(b"Content-Transfer-Encoding: 7bit")),
    ),
    Criterion.MIME_FILENAME_LENGTH: Case(
        Above(10),
        message(part(b'Content-Disposition: attachment; filename="longer-name.exe"')),
        message(part(b'Content-Disposition: attachment; filename="a.exe"')),
    ),
    Criterion.MIME_FILETYPE: Case(
        pattern(r"\.exe$"),
        message(part(b'Content-Disposition: attachment; filename="a.exe"')),
        message(part(b'Content-Disposition: attachment; filename="a.txt"')),
    ),
}  # fmt: skip


def rows() -> Iterator[tuple[Criterion, bool, ClauseAction, bool]]:
    """Criterion, whether negated, action, and whether it logs."""
    for row in ROWS:
        for negated in (False, True):
            for action in row.actions:
                always = action in (ClauseAction.LOG, ClauseAction.RATE_LIMIT)
                for log in (action is ClauseAction.LOG,) if always else (False, True):
                    yield row.criterion, negated, action, log


def talk_with(criterion: Criterion, negated: bool, action: ClauseAction, log: bool) -> Talk:
    case = CASES[criterion]
    condition = case.condition
    if negated:
        condition = Not(case.negated or condition)
    inspection_map = map_with((criterion, action, log, condition))
    clauses = tuple(replace(each, rate=1) for each in inspection_map.clauses)
    talk = Talk(policy_with(replace(inspection_map, clauses=clauses))).open()
    talk.server(b"220 2\r\n")
    talk.client(EHLO)
    talk.server(b"250 s\r\n")
    assert not talk.emitted(ClauseMatched)
    return talk


def play(talk: Talk, steps: tuple[Step, ...]) -> bytes | DropReason | None:
    """The verdict of the last packet; those before it pass."""
    for side, payload in steps[:-1]:
        assert talk.send(side, payload) == payload
        assert not talk.emitted(ClauseMatched)
    return talk.send(*steps[-1])


def name(value: object) -> str:
    if isinstance(value, Criterion | ClauseAction):
        return value.value
    return "" if isinstance(value, bool) else str(value)


@pytest.mark.parametrize(("criterion", "negated", "action", "log"), [*rows()], ids=name)
def test_clause_acts_on_what_meets_it(
    criterion: Criterion, negated: bool, action: ClauseAction, log: bool
) -> None:
    case = CASES[criterion]
    talk = talk_with(criterion, negated, action, log)
    steps = case.misses if negated else case.meets
    verdict = play(talk, steps)
    payload = steps[-1][1]
    (event,) = talk.emitted(ClauseMatched)
    reply = CRITERIA[criterion].scope is Scope.REPLY
    assert (event.position, event.action, event.log) == (1, action, log)
    assert (event.direction is REPLY) is reply
    assert event.criterion.startswith(("not " if negated else "") + criterion.value)
    assert (render(event) is not None) is log
    closed = talk.emitted(InspectionClosed)
    (totals,) = talk.engine.totals.values()
    assert (totals.drop, totals.reset_drop) == (
        action is ClauseAction.DROP_CONNECTION,
        action is ClauseAction.RESET,
    )
    if action.closes:
        assert verdict is DropReason.INSPECTION
        assert [each.reset for each in closed] == [action is ClauseAction.RESET]
        resets = [read(datagram) for datagram in talk.injected]
        assert [each.flags for each in resets] == [RST] * (2 * closed[0].reset)
        assert talk.client(b"NOOP\r\n") is DropReason.CLOSED_CONNECTION
        return
    assert not closed
    if action is ClauseAction.MASK:
        assert isinstance(verdict, bytes)
        assert len(verdict) == len(payload)
        assert verdict.count(b"X") >= 3
    else:
        assert verdict == payload
    if action is ClauseAction.RATE_LIMIT:
        second(talk, steps[-1])


def second(talk: Talk, step: Step) -> None:
    """Another one at the same time must wait, and nothing is lost."""
    talk.server(b"250 ok\r\n")
    if step[1].startswith(b"MAIL"):
        talk.client(b"RSET\r\n")
        talk.server(b"250 ok\r\n")
    begin = talk.next["client"]
    assert talk.send(*step) is DropReason.RATE_LIMIT
    assert talk.send(*step, at=begin) is DropReason.RATE_LIMIT
    assert len(talk.emitted(ClauseMatched)) == 2
    talk.now += 0.5
    assert talk.send(*step, at=begin) is DropReason.RATE_LIMIT
    talk.now += 0.6
    assert talk.send(*step, at=begin) == step[1]
    assert len(talk.emitted(ClauseMatched)) == 2
    assert talk.server(b"250 ok\r\n") == b"250 ok\r\n"


@pytest.mark.parametrize(("criterion", "negated", "action", "log"), [*rows()], ids=name)
def test_clause_leaves_alone_what_does_not_meet_it(
    criterion: Criterion, negated: bool, action: ClauseAction, log: bool
) -> None:
    case = CASES[criterion]
    talk = talk_with(criterion, negated, action, log)
    steps = case.meets if negated else case.misses
    verdict = play(talk, steps)
    assert verdict == steps[-1][1]
    assert not talk.emitted(ClauseMatched)
    assert not talk.emitted(CommandMasked)


def test_each_criterion_has_a_case() -> None:
    assert set(CASES) == set(Criterion)
