"""Mails that Python's email package writes and reads: what it says of their parts (types, names,
encodings) the streaming evaluator must say, too, and nothing else."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from email.message import EmailMessage
from random import Random

from nfinspect.esmtp.clauses import compile_map
from nfinspect.events import ClauseAction
from nfinspect.policy.conditions import Above, Condition, Expression, Matches, OneOf
from nfinspect.policy.criteria import ENCODINGS, Criterion
from nfinspect.policy.model import Clause, InspectionMap
from tests.differential import drawing, session

POLICY = email.policy.SMTP

_NAMES = (
    *("a.exe", "figures.ods", "Größe.pdf", "два.zip", "three words.txt", "a;b=c.txt", "日本.exe"),
    *('quote".txt', "back\\slash.doc", "comma,colon:.txt", "per%cent'.txt", "x" * 90 + ".long"),
    "Ünïcödé " * 12 + ".exe",
)
_TYPES = ("application/pdf", "application/x-msdownload", "image/png", "text/csv", "audio/ogg")
_TEXTS = ("short\n", "Grüße\n" * 3, "x" * 1200 + "\n", ".\n..\n.x\n", "a -- b\n--\nc\n")


def written(chance: Random) -> bytes:
    """A mail as it is sent after the 354, with dots stuffed and the final dot."""
    text = _message(chance, depth=0).as_bytes(policy=POLICY)
    lines = text.split(b"\r\n")
    if lines[-1] == b"":
        lines.pop()
    return b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in lines) + b".\r\n"


def _message(chance: Random, depth: int) -> EmailMessage:
    mail = EmailMessage(policy=POLICY)
    mail["To"] = ", ".join(f"r{n}@example.net" for n in range(chance.randrange(1, 4)))
    mail["Subject"] = chance.choice(("plain", "Größe", "x" * 200))
    mail.set_content(chance.choice(_TEXTS), cte=chance.choice((None, "base64", "quoted-printable")))
    if chance.random() < 0.3:
        mail.add_alternative(f"<p>{chance.choice(_TEXTS)}</p>", subtype="html")
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        if depth < 3 and chance.random() < 0.3:
            mail.add_attachment(_message(chance, depth + 1))
            continue
        kind, _, subkind = chance.choice(_TYPES).partition("/")
        mail.add_attachment(
            bytes(chance.choices(range(256), k=chance.randrange(200))),
            maintype=kind,
            subtype=subkind,
            filename=chance.choice(_NAMES) if chance.random() < 0.8 else None,
        )
    return mail


def read(text: bytes) -> tuple[set[str], set[bytes], set[str], int]:
    """Types, names, encodings and addresses, as Python's email package reads them."""
    lines = text.removesuffix(b".\r\n").split(b"\r\n")
    mail = email.message_from_bytes(
        b"\r\n".join(line.removeprefix(b".") for line in lines), policy=POLICY
    )
    types, names, encodings = set(), set(), set()
    for part in mail.walk():
        if "content-type" in part:
            types.add(part.get_content_type())
        name = part.get_filename()
        if name is not None:
            names.add(name.encode("utf-8", "surrogateescape"))
        if "content-transfer-encoding" in part:
            encodings.add(str(part["content-transfer-encoding"]).lower())
    return types, names, encodings, len(mail["to"].addresses)


def clauses_for(
    types: set[str], names: set[bytes], count: int
) -> list[tuple[Criterion, Condition]]:
    """Clauses of which each should match but the last of a kind."""
    longest = max(map(len, names), default=0)
    rows: list[tuple[Criterion, Condition]] = [
        *((Criterion.MIME_ENCODING, OneOf((word,))) for word in ENCODINGS),
        *(
            (Criterion.MIME_FILETYPE, _exactly(re.escape(each).encode()))
            for each in sorted({*types, *(kind for kind in _TYPES)})
        ),
        *((Criterion.MIME_FILETYPE, _exactly(re.escape(name.decode("latin-1")).encode("latin-1")))
          for name in sorted({*names, *(name.encode() for name in _NAMES)})),
        (Criterion.MIME_FILENAME_LENGTH, Above(max(longest, 1))),
        (Criterion.TO_FIELDS, Above(count)),
    ]  # fmt: skip
    if longest > 1:
        rows.append((Criterion.MIME_FILENAME_LENGTH, Above(longest - 1)))
    if count > 1:
        rows.append((Criterion.TO_FIELDS, Above(count - 1)))
    return rows


def _exactly(pattern: bytes) -> Matches:
    text = f"^{pattern.decode('latin-1')}$"
    return Matches("r", (Expression("r", text, text),))


def misread(mails: int, seed: int) -> Iterator[str]:
    """Descriptions of the mails about which the two do not agree."""
    for number in range(mails):
        chance = Random(f"{seed} written {number}")
        text = written(chance)
        types, names, encodings, count = read(text)
        longest = max(map(len, names), default=0)
        rows = clauses_for(types, names, count)
        inspection_map = InspectionMap(
            "m",
            clauses=tuple(
                Clause(position, criterion, condition, ClauseAction.LOG, True)
                for position, (criterion, condition) in enumerate(rows, 1)
            ),
        )
        expected = set()
        values = [*(each.encode() for each in types), *names]
        for position, (_, condition) in enumerate(rows, 1):
            if isinstance(condition, OneOf):
                met = condition.choices[0] in encodings
            elif isinstance(condition, Matches):
                pattern = condition.expressions[0].pattern.encode("latin-1")
                met = any(re.search(pattern, value) for value in values)
            else:
                assert isinstance(condition, Above)
                met = condition.limit < (
                    longest if rows[position - 1][0] is Criterion.MIME_FILENAME_LENGTH else count
                )
            if met:
                expected.add(position)
        got = session.outcome(compile_map(inspection_map), text, drawing.cuts(chance, len(text)))
        found = {position for _, position in got.matches}
        if found != expected:
            odd = [str(inspection_map.clauses[each - 1].words) for each in found ^ expected]
            yield f"mail {number}: {odd}\n{text.decode('latin-1')}"
