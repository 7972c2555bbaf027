"""Policy-maps: what is done to the connections of a class, and where (docs/appliance.md, section 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nfinspect.policy.commands import normalizer
from nfinspect.policy.commands.inspection import is_taken
from nfinspect.policy.commands.timeouts import at_least, never_if_zero, time_words
from nfinspect.policy.grammar import (
    GLOBAL,
    Draft,
    Family,
    Meaning,
    Mode,
    Row,
    Skipped,
    nothing,
)
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import ClassPolicy, ConnectionLimits, DeadConnectionDetection, Settings
from nfinspect.policy.syntax import Statement, number

POLICY_MAP = Mode("policy-map")
CLASS = Mode("class")
RESOURCES = Mode("a class of resources")

READ = "docs/configuration.md#classes-and-policies"


@dataclass(slots=True)
class ClassDraft:
    """A ``class`` in a policy-map."""

    name: Word
    said: Word | None = None
    """The word ``esmtp`` in the last ``inspect`` or ``no inspect`` line of the class."""
    inspect: Word | None = None
    """The same word, if the class inspects."""
    map_name: Word | None = None
    """None: the default map."""
    removed: bool = False
    """Its ``no inspect`` line took away an ``inspect`` line that stands above it."""
    settings: dict[str, Any] = field(default_factory=dict)
    """By the keyword after ``set connection``."""
    settings_word: Word | None = None
    limits_word: Word | None = None
    """Of the first line that sets a limit."""

    @property
    def says_something(self) -> bool:
        """Whether it has a line of its own that matters here."""
        return self.said is not None or self.settings_word is not None


@dataclass(slots=True)
class PolicyMapDraft:
    name: Word
    classes: dict[str, ClassDraft] = field(default_factory=dict)


@dataclass(slots=True)
class PolicyMaps:
    """The policy-maps of a text, and where they are applied."""

    maps: dict[str, PolicyMapDraft] = field(default_factory=dict)
    applied: dict[str, Word] = field(default_factory=dict)
    """The policy-map's name, by interface; under an empty name the global one."""


def _begin(draft: Draft, _: None, statement: Statement[Any]) -> PolicyMapDraft:
    name = statement.word("name")
    if is_taken(draft, name, "policy"):
        return PolicyMapDraft(name)
    return draft[PolicyMaps].maps.setdefault(name.text, PolicyMapDraft(name))


def _class(draft: Draft, subject: PolicyMapDraft, statement: Statement[Any]) -> ClassDraft:
    name = statement.word("name")
    return subject.classes.setdefault(name.text, ClassDraft(name))


def _inspect(draft: Draft, subject: ClassDraft, statement: Statement[Any]) -> None:
    word = statement.word("engine")
    if subject.inspect is not None:
        line = subject.inspect.line.number
        draft.error(word, f"this class already has an inspect esmtp, in line {line}")
    if word.text.lower() == "smtp":
        _read_as_esmtp(draft, word)
    subject.said = subject.inspect = word
    subject.map_name = statement.word("name") if "name" in statement else None
    subject.removed = False


def _do_not_inspect(draft: Draft, subject: ClassDraft, statement: Statement[Any]) -> None:
    subject.said = statement.word("engine")
    subject.removed = subject.removed or subject.inspect is not None
    subject.inspect = subject.map_name = None


def _read_as_esmtp(draft: Draft, word: Word) -> None:
    draft.notice(word, "read as inspect esmtp", "inspect-smtp", READ)


def _set(draft: Draft, subject: ClassDraft, statement: Statement[Any]) -> None:
    subject.settings_word = statement.word("set")
    for label, value in statement.values.items():
        if label != "set":
            subject.settings[label] = value
            if label in LIMITS and value and subject.limits_word is None:
                subject.limits_word = statement.line.word(0)
    if statement.get("random") == "enable":
        draft.leave_out(
            statement.word("set"),
            "not done: initial sequence numbers stay as the servers choose them",
        )
    for label, what in NOT_DONE.items():
        if label in statement:
            draft.leave_out(statement.word("set"), f"not done: {what}")


def _set_in_old_words(notice: str) -> Meaning:
    """Return the meaning of ``set connection`` in words of older releases, or of the guides."""

    def meaning(draft: Draft, subject: ClassDraft, statement: Statement[Any]) -> None:
        draft.notice(statement.word("set"), notice, "old-words", READ)
        _set(draft, subject, statement)

    return meaning


def _other_set(draft: Draft, subject: ClassDraft, statement: Statement[Any]) -> None:
    draft.leave_out(statement.word(), "not done: write what shall hold, without no")


def _other_action(draft: Draft, subject: ClassDraft, statement: Statement[Any]) -> None:
    word = statement.word()
    draft.leave_out(word, f"not done: {word.quoted} does not act on the connections of the class")


def _apply(draft: Draft, _: None, statement: Statement[Any]) -> None:
    name = statement.word("name")
    where = statement.get("interface", "")
    applied = draft[PolicyMaps].applied
    if where in applied:
        line = applied[where].line.number
        what = f"service-policy for interface {where}" if where else "global service-policy"
        draft.error(name, f"there is already a {what}, in line {line}")
    applied[where] = name


NOT_DONE = {
    "ttl": "routing lowers the TTL, a bridge does not",
}
"""What is kept and shown, and has no effect, by label."""

LIMITS = {
    "conn-max": "connections",
    "embryonic-conn-max": "embryonic",
    "per-client-max": "per_client",
    "per-client-embryonic-max": "per_client_embryonic",
}

_INSPECTIONS = (
    "ctiqbe dcerpc diameter dns ftp gtp h323 http icmp ils im ip-options ipsec-pass-thru ipv6 lisp m3ua"
    " mgcp mmp netbios pptp radius-accounting rsh rtsp scansafe sctp sip skinny snmp sqlnet stun"
    " sunrpc tftp umbrella vxlan waas xdmcp cuseeme"
)

_TIMES = (
    "embryonic embryonic:EMBRYONIC_TIME | half-closed half-closed:CLOSING_TIME"
    " | idle idle:IDLE_TIME [reset:reset] | dcd:dcd [interval:DCD_TIME [retries:RETRIES]]"
)

FAMILY = Family(
    {
        GLOBAL: (
            Row("policy-map NAME", _begin, POLICY_MAP),
            Row(
                "service-policy NAME {global | interface INTERFACE} [fail-close]",
                _apply,
            ),
            Row("tcp-map name:NAME", normalizer.begin, normalizer.TCP_MAP),
            Row("class NAME", nothing, RESOURCES),
        ),
        POLICY_MAP: (
            Row("description TEXT", nothing),
            Row("class NAME", _class, CLASS),
        ),
        CLASS: (
            Row("inspect engine:{esmtp | smtp} [NAME]", _inspect),
            Row("no inspect engine:{esmtp | smtp} [NAME]", _do_not_inspect),
            Row(
                "set set:connection {conn-max conn-max:LIMIT"
                " | embryonic-conn-max embryonic-conn-max:LIMIT"
                " | per-client-max per-client-max:LIMIT"
                " | per-client-embryonic-max per-client-embryonic-max:LIMIT"
                " | {random-sequence-number | random-seq#} random:{enable | disable}"
                " | syn-cookie-mss mss:BYTES}...",
                _set,
            ),
            Row(f"set set:connection timeout {{{_TIMES}}}...", _set),
            Row(
                "set set:connection timeout tcp idle:IDLE_TIME [reset:reset]",
                _set_in_old_words("tcp is the older word for idle, and read so"),
            ),
            Row(
                "set set:connection {half-closed half-closed:CLOSING_TIME"
                " | idle idle:IDLE_TIME [reset:reset]"
                " | dcd:dcd [interval:DCD_TIME [retries:RETRIES]]}",
                _set_in_old_words(
                    "read as set connection timeout, which is what an appliance's listing says"
                ),
            ),
            Row("set set:connection ttl:decrement-ttl", _set),
            Row(
                "set set:connection advanced-options {bypass:tcp-state-bypass | tcp-map:NAME}",
                _set,
            ),
            Row("no set connection REST", _other_set),
            Row("{police | priority | shape | ips | csc | cxsc | sfr} [REST]", _other_action),
        ),
        RESOURCES: (Row("limit-resource REST", nothing),),
    },
    {
        "LIMIT": number(0, 2_000_000),
        "RETRIES": number(1, 255, rank=1),
        "EMBRYONIC_TIME": at_least(5),
        "IDLE_TIME": at_least(1),
        "DCD_TIME": at_least(15),
    },
    others={
        GLOBAL: {
            "policy-map type management": Skipped(frozenset({"class"})),
            "policy-map type control-plane": Skipped(frozenset({"class"})),
        },
        CLASS: {f"inspect {other}": None for other in _INSPECTIONS.split()}
        | dict.fromkeys(("user-statistics", "flow-export", "service-policy", "trust-sec", "exit")),
    },
)


# Resolving.


def settings(policy_class: ClassDraft) -> Settings | None:
    """Return what the ``set connection`` lines of a class say, or None if there are none."""
    said = policy_class.settings
    if not said.keys() - {"tcp-map", "bypass"}:
        return None
    limits = ConnectionLimits(**{LIMITS[k]: v for k, v in said.items() if k in LIMITS})
    dead = None
    if "dcd" in said:
        default = DeadConnectionDetection()
        dead = DeadConnectionDetection(
            float(said.get("interval", default.interval)), said.get("retries", default.retries)
        )

    def seconds(keyword: str) -> float | None:
        return never_if_zero(said[keyword]) if keyword in said else None

    return Settings(
        limits,
        seconds("embryonic"),
        seconds("half-closed"),
        seconds("idle"),
        "reset" in said,
        dead,
        said["random"] == "enable" if "random" in said else None,
        "ttl" in said,
        said.get("mss"),
    )


# Writing.


def lines(policy_map: PolicyMapDraft) -> Iterator[str]:
    """Yield the lines of a policy-map."""
    yield f"policy-map {policy_map.name.text}"
    for policy_class in policy_map.classes.values():
        yield f" class {policy_class.name.text}"
        if policy_class.inspect is not None:
            name = policy_class.map_name
            yield f"  inspect esmtp {name.text}" if name is not None else "  inspect esmtp"
        elif policy_class.said is not None:
            if policy_class.removed:
                yield "  inspect esmtp"
            yield "  no inspect esmtp"
        made = settings(policy_class)
        if made is not None:
            yield from (f"  set connection {words}" for words in settings_words(made))
        if "bypass" in policy_class.settings:
            yield "  set connection advanced-options tcp-state-bypass"
        if "tcp-map" in policy_class.settings:
            yield f"  set connection advanced-options {policy_class.settings['tcp-map']}"


def class_settings(said: ClassPolicy) -> list[str]:
    """Return the ``set connection`` lines of a class that is applied."""
    words = settings_words(said.settings) if said.settings is not None else []
    options = [said.tcp_map] if said.tcp_map else []
    options += ["tcp-state-bypass"] if said.state_bypass else []
    words += [f"advanced-options {option}" for option in options]
    return [f"set connection {line}" for line in words]


def settings_words(said: Settings) -> list[str]:
    """Return what stands behind ``set connection``, line by line."""
    limits = [
        f"{keyword} {getattr(said.limits, name)}"
        for keyword, name in LIMITS.items()
        if getattr(said.limits, name)
    ]
    if said.random_sequence_numbers is not None:
        word = "enable" if said.random_sequence_numbers else "disable"
        limits.append(f"random-sequence-number {word}")
    if said.syn_cookie_mss is not None:
        limits.append(f"syn-cookie-mss {said.syn_cookie_mss}")
    times = [
        f"{keyword} {time_words(seconds)}"
        for keyword, seconds in (("embryonic", said.embryonic), ("half-closed", said.half_closed))
        if seconds is not None
    ]
    if said.idle is not None:
        times.append(f"idle {time_words(said.idle)}{' reset' if said.idle_reset else ''}")
    if said.dead_connections is not None:
        dead = said.dead_connections
        times.append(f"dcd {time_words(dead.interval)} {dead.retries}")
    lines = [" ".join(limits)] if limits else []
    if times:
        lines.append(f"timeout {' '.join(times)}")
    if said.decrement_ttl:
        lines.append("decrement-ttl")
    # Limits of 0 alone are no limits, but a class that sets them decides about limits.
    return lines or ["conn-max 0"]
