"""Inspection as PIX 6 and older configure it: ``fixup protocol smtp``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nfinspect.policy.grammar import GLOBAL, Draft, Family, Row, not_done
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import InspectionMap, Match, Parameters
from nfinspect.policy.ranges import Range, Ranges
from nfinspect.policy.syntax import Argument, Statement, WordError

DEFAULT = (25, 25)
"""The ports that are inspected by default."""

CLASS = "fixup-smtp"
"""The name under which show lists the inspection."""

MAP = InspectionMap("fixup-smtp", "", Parameters(mask_banner=True), (), extended=False)
"""What it does: the seven verbs, and the banner; PIX 6 has no clauses."""


@dataclass(slots=True)
class Fixups:
    """The ``fixup protocol smtp`` lines of a text."""

    ports: list[Range] = field(default_factory=lambda: [DEFAULT])
    word: Word | None = None
    """Of the last of these lines."""
    old_version: bool = False
    """The text says that it is of PIX 6 or older."""


def _fixup(draft: Draft, _: None, statement: Statement[Any]) -> None:
    fixups = draft[Fixups]
    fixups.word = statement.word()
    ports = statement.get("ports", DEFAULT)
    if ports not in fixups.ports:
        fixups.ports.append(ports)


def _no_fixup(draft: Draft, _: None, statement: Statement[Any]) -> None:
    fixups = draft[Fixups]
    fixups.word = statement.word(1)
    if "ports" not in statement:
        fixups.ports = [DEFAULT]
    elif statement["ports"] in fixups.ports:
        fixups.ports.remove(statement["ports"])


def _version(draft: Draft, _: None, statement: Statement[Any]) -> None:
    major = statement["word"].partition(".")[0]
    draft[Fixups].old_version = major.isdigit() and int(major) < 7


def _port_range(text: str, _: object) -> Range:
    first, dash, last = text.partition("-")
    ends = (first, last if dash else first)
    if not all(e.isascii() and e.isdigit() and len(e) < 6 and 0 < int(e) < 65536 for e in ends):
        raise WordError("not a port or a range of ports")
    if int(ends[1]) < int(ends[0]):
        raise WordError("the range ends before it begins")
    return int(ends[0]), int(ends[1])


FAMILY = Family(
    {
        GLOBAL: (
            Row("fixup protocol smtp [ports:PORT_RANGE]", _fixup),
            Row("no fixup protocol smtp [ports:PORT_RANGE]", _no_fixup),
            Row(
                "mailhost REST",
                not_done("not done: mailhost; write it as static and fixup protocol smtp"),
            ),
            Row("pix version WORD [REST]", _version),
        ),
    },
    {"PORT_RANGE": Argument("a port, or a range as 25-26", _port_range)},
    others={
        GLOBAL: {
            f"fixup protocol {other}": None
            for other in (
                "ctiqbe dns esp-ike ftp h323 http icmp ils mgcp pptp rsh rtsp sip skinny snmp sqlnet"
                " tftp sunrpc rpc cuseeme domain"
            ).split()
        }
    },
)


# Resolving.


def applies(draft: Draft) -> bool:
    """Whether the text configures inspection as PIX 6 does."""
    fixups = draft[Fixups]
    return fixups.word is not None or fixups.old_version


def match(draft: Draft) -> Match:
    """Return the connections that are inspected."""
    return Match(Ranges.of(draft[Fixups].ports))


# Writing.


def lines(draft: Draft) -> Iterator[str]:
    """Yield the lines that lead to the ports which are inspected."""
    if not applies(draft):
        return
    ports = draft[Fixups].ports
    for first, last in ports:
        yield (
            f"fixup protocol smtp {first}"
            if first == last
            else (f"fixup protocol smtp {first}-{last}")
        )
    if DEFAULT not in ports:
        yield "no fixup protocol smtp 25"
