"""Events as JSON objects, for machines; `schema` describes them.

Field names are those of the events. A connection becomes ``connection`` (its number), ``client``,
``server`` and their interfaces. Addresses are ``ip:port`` or ``[ip]:port``, enum members their
value, bytes text as from `text.escaped`, times ISO 8601 in UTC.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
from datetime import UTC, datetime
from typing import Any

from nfinspect.audit.suppression import LinesSuppressed
from nfinspect.audit.text import address, escaped, ip_port
from nfinspect.events import Connection, Endpoint, Event, Evidence, Mail, Mapped, Translated

VERSION = 1
"""Of the schema: it changes when a field changes its name or meaning, or is gone; not when one is
added."""


def kind_of(event: Event) -> str:
    """Return the kind of *event*, as in ``event``: ``clause-matched`` for ClauseMatched."""
    event_type: type = type(event)
    return _shape(event_type)[0]


def name_of(kind: type) -> str:
    """Return the same for a type of event."""
    return _shape(kind)[0]


def to_json(event: Event | LinesSuppressed, time: float | None = None) -> dict[str, Any]:
    """Return *event* as an object of JSON types; ``event`` is its kind.

    ``time`` is when it happened, if *time* (seconds since 1970) is given; ``schema`` is then the
    version of the schema.
    """
    event_type: type = type(event)
    kind, fields = _shape(event_type)
    result: dict[str, Any] = {"event": kind}
    if time is not None:
        result |= {"schema": VERSION, "time": iso(time)}
    for field in fields:
        value = getattr(event, field)
        match value:
            case Connection():
                result[field] = value.number
                result |= _end("client", value.client) | _end("server", value.server)
            case Endpoint():
                result |= _end(field, value)
            case _:
                result[field] = _plain(value)
    return result


def _plain(value: Any) -> Any:
    """A field's value in JSON types."""
    match value:
        case enum.Enum():
            return value.value
        case bytes():
            return escaped(value)
        case tuple():
            return [_plain(each) for each in value]
        case Mapped():
            return ip_port(value)
        case Translated():
            mapped = address(value.address) if value.address else ""
            return {
                "address": mapped,
                "embryonic": value.embryonic,
                "old_lines": value.old_lines,
            }
        case Evidence() | Mail():
            kind: type = type(value)
            return {name: _plain(getattr(value, name)) for name in _shape(kind)[1]}
        case _:
            return value


def iso(time: float) -> str:
    """Return a time (seconds since 1970) as ISO 8601 in UTC, to the microsecond."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds")


def _end(name: str, endpoint: Endpoint) -> dict[str, str]:
    return {name: ip_port(endpoint), f"{name}_interface": endpoint.interface}


@functools.cache
def _shape(kind: type) -> tuple[str, tuple[str, ...]]:
    """The name of the kind (``clause-matched`` for ClauseMatched) and its fields."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__).lower()
    return name, tuple(field.name for field in dataclasses.fields(kind))
