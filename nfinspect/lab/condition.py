"""What labs there are on this machine, and what runs in them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from nfinspect.lab import place, topology
from nfinspect.lab.standing import Files
from nfinspect.lab.topology import CABLES, NAMESPACES, Shape

SHELL_WORDS = 10
"""Of a command line, shown at most."""


class State(StrEnum):
    """Of a lab."""

    UP = "up"
    IN_USE = "in use"
    """By a command, which also takes it down."""
    LEFT_BEHIND = "left behind"
    """By a command that was killed."""


@dataclass(frozen=True, slots=True)
class Process:
    """A running program."""

    pid: int
    command: str


@dataclass(frozen=True, slots=True)
class NamespaceCondition:
    """One of the three."""

    name: str
    """As `ip netns` knows it."""
    exists: bool
    interfaces: dict[str, tuple[str, ...]]
    """With their addresses."""
    processes: list[Process]


@dataclass(frozen=True, slots=True)
class Condition:
    """A lab."""

    prefix: str
    state: State
    about: str
    """What kind of lab it is, in words."""
    bare: bool
    """`lab up` started nothing in it."""
    namespaces: dict[str, NamespaceCondition]
    files: dict[str, str]
    """What is to be found where, by what it is."""
    controls: tuple[Path, ...]
    """The sockets of filters."""


def describe(prefix: str) -> str:
    """The lab in a few words: ``nfinspect (routed, default policy)``."""
    return f"{prefix} ({_about(place.read(prefix))})"


def _about(record: place.Record | None) -> str:
    if record is None:
        return "in parts"
    words = ["bridged" if record.bridge else "routed"]
    words += ["translated"] * record.nat + ["IPv6 names"] * record.ipv6
    if record.keeper is None:  # else its command knows
        words.append("bare" if record.bare else record.config or "default policy")
    return ", ".join(words)


def condition(prefix: str) -> Condition:
    """What there is of the lab."""
    record = place.read(prefix)
    shape = Shape()
    if record is not None:
        shape = Shape(bridge=record.bridge, nat=record.nat, ipv6=record.ipv6)
    state = State.UP
    if place.is_left_behind(prefix):
        state = State.LEFT_BEHIND
    elif place.is_kept(prefix):
        state = State.IN_USE
    files = Files(prefix)
    known = {
        "mail": files.mail,
        "mail log": files.mail_log,
        "syslog": files.syslog,
        "messages": files.messages,
        "policy": files.policy,
    }
    return Condition(
        prefix,
        state,
        _about(record),
        record is None or record.bare,
        {name: _namespace(prefix, name, shape) for name in NAMESPACES},
        {
            word: str(path)
            for word, path in known.items()
            if path.exists() or (word == "mail" and files.mail_log.exists())
        },
        tuple(
            path
            for path in (files.control, place.directory(prefix) / "control")
            if path.is_socket()
        ),
    )


def _namespace(prefix: str, name: str, shape: Shape) -> NamespaceCondition:
    ends = [end for cable in CABLES for end in cable if end.namespace == name]
    return NamespaceCondition(
        topology.full_name(prefix, name),
        topology.exists(prefix, name),
        {end.name: topology.addresses(end, shape) for end in ends},
        [Process(pid, _command(pid)) for pid in topology.processes(prefix, name)],
    )


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it has just ended
        return ""
    return " ".join(words[:SHELL_WORDS]).strip()
