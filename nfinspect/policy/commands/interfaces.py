"""Interfaces: their names, security levels and addresses, as an ASA and as a PIX 6 writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nfinspect.policy.grammar import GLOBAL, Draft, Family, Mode, Row, nothing
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import Interface
from nfinspect.policy.ranges import address_text, parse_address
from nfinspect.policy.syntax import Argument, Statement, WordError, name, number

INTERFACE = Mode("interface", has_other_lines=True)

INSIDE = "inside"
"""The name that has security level 100 by itself; every other one has 0."""


@dataclass(slots=True)
class InterfaceDraft:
    """One interface."""

    hardware: str
    word: Word | None = None
    """Of its name."""
    level: int | None = None
    address: tuple[int, int] | None = None
    """IP version and address."""


@dataclass(slots=True)
class Interfaces:
    """The interfaces of a text."""

    by_hardware: dict[str, InterfaceDraft] = field(default_factory=dict)
    by_name: dict[str, InterfaceDraft] = field(default_factory=dict)


def _interface(draft: Draft, _: None, statement: Statement[Any]) -> InterfaceDraft:
    hardware = statement["hardware"] + statement.get("unit", "")
    return draft[Interfaces].by_hardware.setdefault(hardware.lower(), InterfaceDraft(hardware))


def _name(draft: Draft, subject: InterfaceDraft, statement: Statement[Any]) -> None:
    word = statement.word("interface")
    by_name = draft[Interfaces].by_name
    if word.text in by_name and by_name[word.text] is not subject:
        other = by_name[word.text].word
        where = f" in line {other.line.number}" if other else ""
        draft.error(word, f"{word.quoted} is already the name of an interface{where}")
        return
    if subject.word is not None:
        by_name.pop(subject.word.text, None)
    subject.word = word
    by_name[word.text] = subject


def _no_name(draft: Draft, subject: InterfaceDraft, statement: Statement[Any]) -> None:
    if subject.word is not None:
        draft[Interfaces].by_name.pop(subject.word.text, None)
        subject.word = None


def _level(draft: Draft, subject: InterfaceDraft, statement: Statement[Any]) -> None:
    subject.level = statement["level"]


def _address(draft: Draft, subject: InterfaceDraft, statement: Statement[Any]) -> None:
    try:
        version, address = parse_address(statement["word"])
    except ValueError:  # dhcp, pppoe
        subject.address = None
    else:  # an IPv6 address has a command of its own
        subject.address = (version, address) if version == 4 else None


def _old_name(draft: Draft, _: None, statement: Statement[Any]) -> None:
    interfaces = draft[Interfaces]
    hardware = statement["hardware"]
    subject = interfaces.by_hardware.setdefault(hardware.lower(), InterfaceDraft(hardware))
    subject.level = statement["level"]
    _name(draft, subject, statement)


def _old_address(draft: Draft, _: None, statement: Statement[Any]) -> None:
    subject = draft[Interfaces].by_name.get(statement["interface"])
    if subject is not None:
        _address(draft, subject, statement)


def _security(text: str, _: object) -> int:
    digits = text.lower().removeprefix("security")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 4 and int(digits) <= 100):
        raise WordError("not a security level")
    return int(digits)


def _unit(text: str, _: object) -> str:
    if not text[:1].isdigit():
        raise WordError("not a unit")
    return text


def _vlan(text: str, _: object) -> str:
    if not text.lower().startswith("vlan"):
        raise WordError("")
    return text


_SPEEDS = (
    "auto | autoselect | 10baset | 10full | 100basetx | 100full | 1000auto | 1000full | 1000sxfull"
    " | 1000basesx | 1000basetx | bnc | aui | hardware-speed | 4mbps | 16mbps"
)

FAMILY = Family(
    {
        GLOBAL: (
            Row("interface HARDWARE [unit:UNIT]", _interface, INTERFACE),
            Row(
                f"interface HARDWARE {{{_SPEEDS} | shutdown | VLAN [logical | physical]}}"
                " [shutdown]",
                nothing,
            ),
            Row("nameif HARDWARE INTERFACE level:SECURITY", _old_name),
            Row("ip address INTERFACE WORD [REST]", _old_address),
        ),
        INTERFACE: (
            Row("nameif INTERFACE", _name),
            Row("no nameif", _no_name),
            Row("security-level level:SECURITY_LEVEL", _level),
            Row("no security-level", nothing),
            Row("ip address WORD [REST]", _address),
            Row("no ip address", nothing),
            Row("description REST", nothing),
        ),
    },
    {
        "HARDWARE": name(64),
        "UNIT": Argument("a unit", _unit, 0),
        "VLAN": Argument("a VLAN, as vlan50", _vlan, 1),
        "SECURITY_LEVEL": number(0, 100),
        "SECURITY": Argument("a security level, as security50", _security),
    },
    others={
        INTERFACE: dict.fromkeys(
            "shutdown speed duplex vlan switchport ip ipv6 ospf eigrp rip isis mac-address management"
            "-only delay channel-group bridge-group member-interface redundant lacp port-channel"
            " standby igmp pim mfib multicast dhcp dhcprelay pppoe authentication hello-interval"
            " allow-ssc-mgmt flowcontrol tunnel track cts hold-time split-horizon summary-address bfd"
            " zone-member policy-route nve-only segment-id default-information cluster"
            " hardware-speed nve traffic-forward mtu forward reset link redundant-interface no"
            " description".split()
        )
    },
)


# Resolving.


def resolve(draft: Draft, devices: Mapping[str, str]) -> tuple[Interface, ...]:
    """Return the named interfaces of the text and of *devices*, which has Linux interfaces by name.

    Without a name in *devices* the Linux interface has the appliance's name.
    """
    found = {}
    for given, interface in draft[Interfaces].by_name.items():
        level = default_level(given) if interface.level is None else interface.level
        found[given] = Interface(given, level, devices.get(given, given), interface.address)
    for given, device in devices.items():
        found.setdefault(given, Interface(given, default_level(given), device))
    return tuple(found.values())


def default_level(name: str) -> int:
    """Return the security level of an interface for which no line gives one."""
    return 100 if name == INSIDE else 0


# Writing.


def lines(draft: Draft) -> Iterator[str]:
    """Yield the named interfaces."""
    for given, interface in draft[Interfaces].by_name.items():
        yield f"interface {interface.hardware}"
        yield f" nameif {given}"
        level = default_level(given) if interface.level is None else interface.level
        yield f" security-level {level}"
        if interface.address is not None:
            version, value = interface.address
            if version == 4:
                yield f" ip address {address_text(version, value)} 255.255.255.255"
