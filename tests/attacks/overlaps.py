"""Two segments that disagree, in each of the thirteen relations that two intervals can have.

The names of the relations are Allen's (1983). Each is played in three situations: the first segment
has been acknowledged, it has been lost after the filter, or both are held beyond a gap. The line that
they are part of is innocent; the second segment replaces a part of it with an evil line.
"""

from __future__ import annotations

from itertools import pairwise

from tests.attacks.script import HANDSHAKE, Attack, Expect, Fate, Script, Send
from tests.attacks.words import OLD

GREETING = (*HANDSHAKE, Expect(b"220"), Send(b"EHLO a\r\n"), Expect(b"250"), Expect(b"250"))
START = len(b"EHLO a\r\n")

INNOCENT = b"NOOP " + b"z" * 30 + b"\r\n"
EVIL = INNOCENT[:14] + b"\r\nXEVL b\r\n" + INNOCENT[24:]
SIZE = len(INNOCENT)
RELATIONS: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "before": ((6, 9), (12, 28)),
    "meets": ((6, 12), (12, 28)),
    "overlaps": ((6, 26), (12, 30)),
    "starts": ((12, 26), (12, 30)),
    "during": ((13, 26), (12, 30)),
    "finishes": ((13, 30), (12, 30)),
    "equals": ((12, 30), (12, 30)),
    "finished by": ((8, 30), (12, 30)),
    "contains": ((8, 31), (12, 30)),
    "started by": ((12, 30), (12, 26)),
    "overlapped by": ((13, 31), (10, 28)),
    "met by": ((28, 32), (12, 28)),
    "after": ((30, 33), (12, 28)),
}
"""The first and the second segment of each relation, as offsets in the line."""

Piece = tuple[int, bytes]


def pieces(situation: str, first: tuple[int, int], second: tuple[int, int]) -> list[Piece]:
    """The segments in the order in which they are sent."""
    (a, b), (c, d) = first, second
    original, later = (a, INNOCENT[a:b]), (c, EVIL[c:d])
    covered = sorted({0, 5, a, b, c, d, SIZE})
    rest = [
        (low, INNOCENT[low:high])
        for low, high in pairwise(covered)
        if not a <= low < b and not c <= low < d
    ]
    if situation == "beyond a gap":
        return [original, later, *rest[1:], rest[0]]
    preceding = [piece for piece in rest if piece[0] < a]
    if c < a:
        preceding = [(0, INNOCENT[:a])]
    following = [piece for piece in rest if piece[0] >= a]
    return [*preceding, original, later, *following]


def decided(sent: list[Piece]) -> bytes:
    """The stream according to docs/tcp.md: bytes are decided once and in order. Beyond a gap the
    lower sequence number comes first, and of two equal ones the older. A segment that adds nothing to
    a held one is dropped."""
    stream = bytearray()
    held: list[Piece] = []
    for start, data in sent:
        if start > len(stream):
            if not any(at <= start and start + len(data) <= at + len(old) for at, old in held):
                held.append((start, data))
                held.sort(key=lambda piece: piece[0])
            continue
        stream += data[len(stream) - start :]
        while held and held[0][0] <= len(stream):
            at, old = held.pop(0)
            stream += old[len(stream) - at :]
    return bytes(stream)


def masked(stream: bytes) -> bytes:
    """The stream as it may pass: NOOP lines unchanged, all others overwritten with X."""
    lines = stream.split(b"\r\n")
    return b"\r\n".join(line if line.startswith(b"NOOP") else b"X" * len(line) for line in lines)


def overlap(situation: str, relation: str) -> Script:
    first, second = RELATIONS[relation]
    sent = pieces(situation, first, second)
    lost = situation == "lost"
    steps = [
        # If it is to be lost, the server discards it because of its timestamp.
        Send(data, Fate.ANY, at=START + at, stamp=OLD)
        if lost and (at, data) == (first[0], INNOCENT[slice(*first)])
        else Send(data, Fate.ANY, at=START + at)
        for at, data in sent
    ]
    if lost:
        steps.append(Send(EVIL[slice(*first)], Fate.ANY, at=START + first[0]))
    received = masked(decided(sent))
    answers = [
        Expect(b"250" if line.startswith(b"NOOP") else b"500")
        for line in received.split(b"\r\n")[:-1]
    ]
    return Script(
        (*GREETING, *steps, *answers),
        (b"EHLO a\r\n" + received,),
        f"{relation}, {situation}",
        greeting=False,
        timestamps=lost,
    )


OVERLAPS = tuple(
    Attack(
        f"overlap-{name}",
        ("Ptacek and Newsham 1998", "Novak and Sturges 2007"),
        outcome,
        tuple(overlap(situation, relation) for relation in RELATIONS),
    )
    for name, situation, outcome in (
        (
            "of-what-was-acknowledged",
            "acknowledged",
            "in all thirteen relations: decided bytes pass as `X`, new ones are inspected",
        ),
        (
            "of-what-got-lost",
            "lost",
            "in all thirteen relations: decided bytes pass as before, new ones are inspected",
        ),
        (
            "beyond-a-gap",
            "beyond a gap",
            "in all thirteen relations: held; the segment with the lower sequence number is"
            " decided first, and every copy passes with the bytes decided",
        ),
    )
)
