"""Random dialogues, and what the clauses about commands and replies should say of them: the naive reading
has every line whole, and no state but a few counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from nfinspect.esmtp.clauses import compile_map
from nfinspect.esmtp.inspector import Inspector
from nfinspect.events import ClauseAction, ClauseMatched
from nfinspect.policy.conditions import Above, Matches, Not, OneOf
from nfinspect.policy.criteria import VERBS, Criterion
from nfinspect.policy.model import InspectionMap
from tests.differential import drawing
from tests.unit.esmtp.transcript import CONNECTION

OF_DIALOGUES = [
    Criterion.COMMAND_VERB,
    Criterion.COMMAND_LINE_LENGTH,
    Criterion.SENDER_LENGTH,
    Criterion.SENDER_ADDRESS,
    Criterion.RECIPIENT_COUNT,
    Criterion.INVALID_RECIPIENTS,
    Criterion.EHLO_REPLY_PARAMETER,
]
KEYWORDS = {
    b"SIZE 1000": "size",
    b"8BITMIME": "8bitmime",
    b"AUTH PLAIN": "auth",
    b"auth=LOGIN": "auth",
    b"DSN": "dsn",
    b"ENHANCEDSTATUSCODES": "ecode",
    b"VRFY": "vrfy",
    b"ETRN": "etrn",
    b"BINARYMIME": "binaryname",
    b"CHECKPOINT": "checkpoint",
    b"CHUNKING": "others",
    b"X": "others",
}
ADDRESSES = (b"", b"a@b.exe", b"x=y@example.net", b"=@zip", b"l" * 40 + b"@example.net")
OTHER = (b"NOOP", b"NOOP x", b"VRFY postmaster", b"HELP " + b"y" * 30, b"XUNKNOWN z", b"ETRN x")


@dataclass
class Dialogue:
    """Lines of the client, each with the reply to it; a message follows each 354."""

    keywords: list[bytes]
    lines: list[tuple[bytes, bytes]]


def dialogue(chance: Random) -> Dialogue:
    lines: list[tuple[bytes, bytes]] = []

    def say(line: bytes, reply: bytes) -> None:
        lines.append((line, reply))

    for _ in range(chance.choice((1, 2))):
        say(b"MAIL FROM:<" + chance.choice(ADDRESSES) + b">", b"250 ok")
        for _ in range(chance.randrange(6)):
            if chance.random() < 0.3:
                other = chance.choice(OTHER)
                say(other, b"500 what" if other.startswith(b"X") else b"250 ok")
            else:
                say(b"rcpt TO:<r@example.net>", chance.choice((b"250 ok", b"550 no", b"450 later")))
        say(b"DATA", chance.choice((b"354 go", b"354 go", b"554 no recipients")))
        if lines[-1][1].startswith(b"5"):
            say(b"RSET", b"250 ok")
    say(b"QUIT", b"221 bye")
    keywords = chance.sample(list(KEYWORDS), chance.randrange(6))
    return Dialogue(keywords, lines)


def inspection_map(chance: Random) -> InspectionMap:
    drawn = drawing.inspection_map(chance, OF_DIALOGUES)
    return replace(
        drawn, clauses=tuple(replace(each, action=ClauseAction.LOG) for each in drawn.clauses)
    )


def expected(inspection_map: InspectionMap, talk: Dialogue) -> set[int]:
    """The clauses that some line or reply meets."""
    met: set[int] = set()

    def judge(criterion: Criterion, *, word: str = "", number: int = 0, texts: tuple[bytes, ...] = (),
              certain: bool = True) -> None:  # fmt: skip
        for clause in inspection_map.clauses:
            if clause.criterion is not criterion:
                continue
            condition = clause.condition
            inner = condition.condition if isinstance(condition, Not) else condition
            if isinstance(inner, Above):
                meets = number > inner.limit
            elif isinstance(inner, OneOf):
                meets = word in inner.choices
            else:
                assert isinstance(inner, Matches)
                meets = any(
                    re.search(each.pattern.encode(), text)
                    for each in inner.expressions
                    for text in texts
                )
            if meets != isinstance(condition, Not) and (certain or not isinstance(condition, Not)):
                met.add(clause.position)

    for keyword in [b"PIPELINING", *talk.keywords]:
        judge(Criterion.EHLO_REPLY_PARAMETER, word=KEYWORDS.get(keyword, "pipelining"))
    recipients = refused = 0
    for line, reply in [(b"EHLO x", b"250 x"), *talk.lines]:
        verb = line.split(b" ")[0].upper().decode()
        judge(Criterion.COMMAND_VERB, word=verb if verb in VERBS else "")
        judge(Criterion.COMMAND_LINE_LENGTH, number=len(line) + 2)
        if verb == "MAIL":
            address = line[len(b"MAIL FROM:<") : -1]
            judge(Criterion.SENDER_LENGTH, number=len(address))
            judge(Criterion.SENDER_ADDRESS, texts=(address,))
            recipients = refused = 0
        elif verb == "RCPT":
            recipients += 1
            refused += reply.startswith(b"5")
            judge(Criterion.RECIPIENT_COUNT, number=recipients, certain=False)
            judge(Criterion.INVALID_RECIPIENTS, number=refused, certain=False)
        elif verb == "DATA":
            judge(Criterion.RECIPIENT_COUNT, number=recipients)
            judge(Criterion.INVALID_RECIPIENTS, number=refused)
    return met


def found(inspection_map: InspectionMap, talk: Dialogue, chance: Random) -> set[int]:
    """The clauses that the inspector says are met; commands are pipelined at random, and lines cut behind
    their verb."""
    inspector = Inspector(CONNECTION, compile_map(inspection_map))
    met: set[int] = set()

    def note() -> None:
        met.update(each.position for each in inspector.events if isinstance(each, ClauseMatched))
        inspector.events.clear()

    def client(data: bytes) -> None:
        assert len(inspector.request(data, len(data), 10**6)) == len(data)
        note()

    def server(data: bytes) -> None:
        size = chance.choice((1, 7, len(data)))
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            assert len(inspector.reply(piece)) == len(piece)
            note()

    def flush(lines: list[tuple[bytes, bytes]]) -> None:
        whole = b"".join(line + b"\r\n" for line, _ in lines)
        if chance.random() < 0.5 and b" " in lines[-1][0]:
            last = len(whole) - len(lines[-1][0]) - 2 + lines[-1][0].index(b" ")
            cut = chance.randrange(last, len(whole))
            client(whole[:cut])
            client(whole[cut:])
        else:
            client(whole)
        server(b"".join(reply + b"\r\n" for _, reply in lines))

    server(b"220 x\r\n")
    client(b"EHLO x\r\n")
    keywords = [b"x", b"PIPELINING", *talk.keywords]
    server(
        b"".join(b"250-" + each + b"\r\n" for each in keywords[:-1])
        + b"250 "
        + keywords[-1]
        + b"\r\n"
    )
    group: list[tuple[bytes, bytes]] = []
    for line, reply in talk.lines:
        group.append((line, reply))
        if line in (b"DATA", b"QUIT") or chance.random() < 0.4:
            flush(group)
            group = []
        if reply.startswith(b"354"):
            client(b"a: b\r\n\r\nc\r\n.\r\n")
            server(b"250 ok\r\n")
    return met


def differences(cases: int, seed: int) -> Iterator[str]:
    for number in range(cases):
        chance = Random(f"{seed} dialogue {number}")
        talk, drawn = dialogue(chance), inspection_map(chance)
        wanted, got = expected(drawn, talk), found(drawn, talk, chance)
        if wanted != got:
            clauses = [
                f"{each.position} {each.words}: {'not found' if each.position in wanted else 'found'}"
                for each in drawn.clauses
                if each.position in wanted ^ got
            ]
            yield f"dialogue {number}: {clauses}\n  {talk}"
