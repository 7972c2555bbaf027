"""Random mails, maps and segmentations: mostly what the streaming evaluator could get wrong."""

from __future__ import annotations

from random import Random

from nfinspect.events import ClauseAction
from nfinspect.policy.conditions import Above, Condition, Expression, Matches, Not, OneOf
from nfinspect.policy.criteria import CRITERIA, Criterion, Kind, Scope
from nfinspect.policy.model import Clause, InspectionMap

OF_MESSAGES = [
    criterion
    for criterion, row in CRITERIA.items()
    if row.scope in (Scope.HEADER, Scope.MAIL) and criterion is not Criterion.RECIPIENT_COUNT
]
PATTERNS = (r"\.exe$", "^text/", "^application/pdf$", "x", r"^a", "=", "zip|EXE", r"^$")

_ENDINGS = (b"\r\n",) * 12 + (b"\n", b"\n", b"\r\r\n")
_HEADER = (
    *(b"Subject: x", b"To: a@b", b"to: a@b, c@d", b"To : ", b"Cc: a@b, c@d", b"X-To: e@f", b"To"),
    *(b"MIME-Version: 1.0", b"no field", b": no name", b"Content-Type", b"Content-Ty"),
    b"Content-Type: multipart/mixed; boundary=b",
    b'Content-Type: multipart/digest;\n\tboundary="b c"',
    b"Content-Type: text/plain; name=a.exe",
    b"CONTENT-TYPE : application/PDF;\n name*0=long;\n name*1=er.exe",
    b"Content-Type: message/rfc822",
    b"Content-Type:\n (x) message/rfc822",
    b"Content-Disposition: attachment; filename=a.exe",
    b'content-disposition: inline;\n filename="=?utf-8?q?x=2Ezip?="',
    b"Content-Disposition: attachment;\n. filename*=utf-16le''%65%00%78%00%65%00",
    b"Content-Disposition: inline",
    b"Content-Transfer-Encoding: base64",
    b"Content-Transfer-Encoding:\n 7BIT (c)",
    b"Content-Transfer-Encoding: x-odd",
    b'To: "x, y" <a@b>,\n (c, d) e@f;\n\tg@h',
)
_BODY = (
    *(b"--b", b"--b--", b"--bb", b"--", b"-", b"-- ", b"- -b", b"--b c"),
    *(
        b"text",
        b"a longer line of text",
        b"Content-Type: text/html",
        b".",
        b"..",
        b".x",
        b"\r",
        b" ",
    ),
)


def message(chance: Random) -> bytes:
    """A message with its final dot, as it comes after the 354."""
    lines: list[bytes] = []
    for _ in range(chance.choice((0, 1, 3, 6))):
        lines.append(_line(chance, _HEADER))
    for _ in range(chance.choice((0, 0, 1, 2, 4))):
        lines.append(b"")
        for _ in range(chance.choice((0, 1, 2, 5))):
            lines.append(_line(chance, _BODY if chance.random() < 0.6 else _HEADER))
        if chance.random() < 0.05:  # data of more than 4 KiB is searched in another way
            lines += chance.choices((b"a-b.c", b"y" * 70, b"-", b"..", b"-- "), k=150)
    text = b""
    for line in lines:
        for piece in line.split(b"\n"):
            stuffed = b"." + piece if piece.startswith(b".") or chance.random() < 0.03 else piece
            text += stuffed + chance.choice(_ENDINGS)
    if text and not text.endswith(b"\r\n"):
        text += b"\r\n"
    return text + b".\r\n"


def _line(chance: Random, choices: tuple[bytes, ...]) -> bytes:
    roll = chance.random()
    if roll < 0.75:
        return chance.choice(choices)
    if roll < 0.9:
        return bytes([chance.choice(b"xyz:. ")]) * chance.randrange(1, 40)
    return bytes(chance.choices(b"ab-.:\r \t=;\xff\0", k=chance.randrange(12)))


def inspection_map(chance: Random, criteria: list[Criterion] = OF_MESSAGES) -> InspectionMap:
    clauses = []
    for position in range(1, chance.choice((1, 3, 6, 12)) + 1):
        criterion = chance.choice(criteria)
        action = ClauseAction.LOG
        if chance.random() < 0.15:
            action = chance.choice((ClauseAction.DROP_CONNECTION, ClauseAction.RESET))
        clauses.append(Clause(position, criterion, condition(chance, criterion), action, True))
    return InspectionMap("m", clauses=tuple(clauses))


def condition(chance: Random, criterion: Criterion) -> Condition:
    row = CRITERIA[criterion]
    inner: Above | OneOf | Matches
    if row.kind is Kind.WORDS:
        inner = OneOf(tuple(chance.sample(row.words, chance.randrange(1, 4))))
    elif row.kind is Kind.EXPRESSION:
        patterns = chance.sample(PATTERNS, chance.randrange(1, 3))
        inner = Matches("r", tuple(Expression(each, each, each) for each in patterns))
    elif row.kind is Kind.COUNT:
        inner = Above(chance.randrange(1, 5))
    elif chance.random() < 0.3:
        inner = Above(chance.randrange(1, 300))
    else:
        inner = Above(chance.randrange(1, 40))
    return Not(inner) if chance.random() < 0.3 else inner


def cuts(chance: Random, length: int) -> list[int]:
    """Where packets end."""
    roll = chance.random()
    if roll < 0.1:
        return [length]
    if roll < 0.3:
        return list(range(1, length + 1))
    if roll < 0.6:
        size = chance.randrange(2, 20)
        return [*range(size, length, size), length]
    count = min(chance.randrange(1, 5), length - 1)
    return [*sorted(chance.sample(range(1, length), count)), length]
