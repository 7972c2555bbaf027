"""What the rules that are in place divert: the listing of `iptables -S`, read back.

Only nfinspect's own chain is read, and the FORWARD that should call it. Rules that somebody else
made for the same queue are not recognised.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nfinspect.rules.diversion import CHAIN

REQUESTS, REPLIES = "requests to", "replies from"
DIRECTIONS = {"--dport": REQUESTS, "--sport": REPLIES}
SYNS = "SYNs of"
SYN_OPTIONS = {"--ports": SYNS}

DECIDING = ("ACCEPT", "RETURN", "NFQUEUE", "QUEUE")
"""Targets that end FORWARD of a table before a later rule is reached, and let the packet pass."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One rule of the chain."""

    direction: str
    """`REQUESTS`, `REPLIES`, or `SYNS`, which is both."""
    port: int
    first_queue: int
    last_queue: int
    fail_open: bool
    """What nobody reads passes uninspected."""


@dataclass(frozen=True, slots=True)
class FamilyRules:
    """The rules of one address family."""

    table: str = ""
    """Where the chain is; empty if there is none."""
    called: bool = False
    """FORWARD calls the chain."""
    flows: tuple[Flow, ...] = ()
    """The rules in the chain, without those for SYNs alone."""
    ahead: tuple[str, ...] = ()
    """Rules in FORWARD ahead of the call that may decide about mail."""
    syns: tuple[Flow, ...] = ()
    """The rules for SYNs alone."""

    @property
    def effective(self) -> tuple[Flow, ...]:
        """What is diverted."""
        return self.flows if self.called else ()


def read(tables: Mapping[str, Sequence[str]]) -> FamilyRules:
    """Return what the rules in *tables* (the lines of ``iptables -S`` by table) divert."""
    found = [_table(name, lines) for name, lines in tables.items() if f"-N {CHAIN}" in lines]
    # After a change of kernel a chain may be left in the other table.
    found.sort(key=lambda rules: bool(rules.effective))
    return found[-1] if found else FamilyRules()


def _table(name: str, lines: Sequence[str]) -> FamilyRules:
    forward = [line for line in lines if line.startswith("-A FORWARD ")]
    calls = [number for number, line in enumerate(forward) if _target(_words(line)) == CHAIN]
    ours = [_words(line) for line in lines if line.startswith(f"-A {CHAIN} ")]
    flows = tuple(flow for words in ours for flow in _flows(words, DIRECTIONS))
    syns = tuple(flow for words in ours for flow in _flows(words, SYN_OPTIONS))
    ports = {flow.port for flow in flows}
    before = forward[: calls[0]] if calls else []
    ahead = tuple(line for line in before if _may_decide(_words(line), ports))
    return FamilyRules(name, bool(calls), flows, ahead, syns)


def _flows(words: Sequence[str], directions: Mapping[str, str]) -> Iterator[Flow]:
    if _target(words) != "NFQUEUE":
        return
    first, _, last = (
        _value(words, "--queue-balance") or _value(words, "--queue-num") or "0"
    ).partition(":")
    for option, direction in directions.items():
        for port in _value(words, option).split(","):
            if port.isdecimal() and first.isdecimal():
                bypass = "--queue-bypass" in words
                yield Flow(direction, int(port), int(first), int(last or first), bypass)


def _may_decide(words: Sequence[str], ports: set[int]) -> bool:
    if _target(words) not in DECIDING:
        return False
    if _value(words, "-p") not in ("", "tcp") or "!" in words:
        return "!" in words
    named = [_value(words, option) for option in DIRECTIONS]
    single = [int(port) for port in named if port.isdecimal()]
    return not single or not ports.isdisjoint(single)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # an odd comment
        return line.split()


def _target(words: Sequence[str]) -> str:
    return _value(words, "-j") or _value(words, "-g")


def _value(words: Sequence[str], option: str) -> str:
    """The word after *option*; empty if it is not there."""
    for at, word in enumerate(words[:-1]):
        if word == option:
            return words[at + 1]
    return ""
