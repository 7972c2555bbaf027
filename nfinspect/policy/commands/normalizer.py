"""``tcp-map``: the settings of the TCP normalizer (docs/appliance.md, section 5). What the filter always does
needs no setting; what it does otherwise than a line says is not done, for the classes that use the map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nfinspect.policy.grammar import Draft, Family, Meaning, Mode, Row, nothing
from nfinspect.policy.lexer import Word
from nfinspect.policy.syntax import Statement, number

TCP_MAP = Mode("tcp-map")


@dataclass(slots=True)
class TcpMaps:
    """The tcp-maps of a text: by name, the lines that are not done, and what happens instead."""

    maps: dict[str, list[tuple[Word, str]]] = field(default_factory=dict)


def begin(draft: Draft, _: None, statement: Statement[Any]) -> list[tuple[Word, str]]:
    """``tcp-map NAME``; return where its lines are kept."""
    return draft[TcpMaps].maps.setdefault(statement.word("name").text, [])


def _otherwise(reason: str) -> Meaning:
    """Return the meaning of a line of which the filter does something else."""

    def meaning(draft: Draft, subject: list[tuple[Word, str]], statement: Statement[Any]) -> None:
        subject.append((statement.word(), f"not done: {reason}"))

    return meaning


def leave_out(draft: Draft, name: str) -> None:
    """Report what is not done of a map that a class uses."""
    for word, reason in draft[TcpMaps].maps.get(name, ()):
        draft.leave_out(word, reason)


_CLEARED = "options 6, 7 and 9 to 255 are cleared, and no others"
_ALWAYS = "it is always done, as a filter that edits cannot do without"

FAMILY = Family(
    {
        TCP_MAP: (
            Row("description TEXT", nothing),
            # As the filter does it.
            Row("check-retransmission", nothing),
            Row("checksum-verification", nothing),
            Row("exceed-mss allow", nothing),
            Row("invalid-ack drop", nothing),
            Row("reserved-bits allow", nothing),
            Row("seq-past-window drop", nothing),
            Row("synack-data drop", nothing),
            Row("ttl-evasion-protection", nothing),
            Row("urgent-flag clear", nothing),
            Row("window-variation allow-connection", nothing),
            Row("tcp-options {mss | selective-ack | timestamp | window-scale} allow", nothing),
            Row("tcp-options md5 clear", nothing),
            Row("tcp-options range OPTION_KIND OPTION_KIND clear", nothing),
            Row(
                "no {exceed-mss | invalid-ack | queue-limit | reserved-bits | seq-past-window | syn-data"
                " | synack-data | tcp-options | urgent-flag | window-variation} [REST]",
                nothing,
            ),
            # Otherwise.
            Row("no check-retransmission", _otherwise(_ALWAYS)),
            Row("no checksum-verification", _otherwise(_ALWAYS)),
            Row("exceed-mss drop", _otherwise("a segment larger than the receiver's MSS passes")),
            Row("invalid-ack allow", _otherwise("a segment with an invalid ACK is dropped")),
            Row(
                "queue-limit NORMALIZER_COUNT [timeout NORMALIZER_TIME]",
                _otherwise("up to 2,048 segments of a connection wait for a missing one"),
            ),
            Row("reserved-bits {clear | drop}", _otherwise("reserved bits pass as they are")),
            Row("seq-past-window allow", _otherwise("data beyond the window is dropped")),
            Row("syn-data {allow | drop}", _otherwise("data on a SYN is cut off, the SYN passes")),
            Row("synack-data allow", _otherwise("a SYN-ACK with data is dropped")),
            Row(
                "no ttl-evasion-protection",
                _otherwise("a TTL is lowered to the smallest of its connection"),
            ),
            Row("urgent-flag allow", _otherwise("the urgent flag and pointer are cleared")),
            Row(
                "window-variation drop-connection",
                _otherwise("a window that shrinks ends no connection"),
            ),
            Row(
                "tcp-options {mss | selective-ack | timestamp | window-scale | md5 | multiple} REST",
                _otherwise(_CLEARED),
            ),
            Row(
                "tcp-options range OPTION_KIND OPTION_KIND {allow | drop}",
                _otherwise(_CLEARED),
            ),
        ),
    },
    {
        "OPTION_KIND": number(6, 255),
        "NORMALIZER_TIME": number(0, 20),
        "NORMALIZER_COUNT": number(0, 250),
    },
)
