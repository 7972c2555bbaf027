"""The JSON Schema of events (``docs/events.schema.json``), made of the events themselves.

A line of ``run --json`` has ``schema``, ``time``, and all that its event says. A note of ``replay
--json`` is the same without what its connection says already, with its ``packet`` instead.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import Any

from nfinspect import events
from nfinspect.audit.json_lines import VERSION, name_of
from nfinspect.audit.suppression import LinesSuppressed
from nfinspect.events import Connection, Endpoint, Mapped

IDENTITY = ("connection", "client", "client_interface", "server", "server_interface")
"""What identifies a connection."""

ADDED_BY_REPLAY: dict[str, Any] = {
    "packet": {"type": ["integer", "null"], "minimum": 1},
    "command": {"type": "string"},
    "reply_to": {"type": ["integer", "null"]},
}
"""What a note has besides."""

_TEXT = {"type": "string"}


def schema() -> dict[str, Any]:
    """The schema of a line of ``run --json``; ``$defs/note`` is that of a note of a replay."""
    kinds = [*typing.get_args(events.Event), LinesSuppressed]
    notes = [kind for kind in kinds if "connection" in typing.get_type_hints(kind)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"nfinspect events, version {VERSION}",
        "oneOf": [_line(kind) for kind in kinds],
        "$defs": {"note": {"oneOf": [_note(kind) for kind in notes]}},
    }


def _line(kind: type) -> dict[str, Any]:
    fields = {
        "event": {"const": name_of(kind)},
        "schema": {"const": VERSION},
        "time": {"type": "string", "format": "date-time"},
        **_fields(kind),
    }
    return _object(fields)


def _note(kind: type) -> dict[str, Any]:
    fields = {name: each for name, each in _fields(kind).items() if name not in IDENTITY}
    fields = {"event": {"const": name_of(kind)}, **fields}
    required = [*fields, "packet"]
    return _object(fields | ADDED_BY_REPLAY) | {"required": required}


def _fields(kind: type) -> dict[str, Any]:
    result: dict[str, Any] = {}
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if hint is Connection:
            result["connection"] = {"type": "integer", "minimum": 1}
            result |= _end("client") | _end("server")
        elif hint is Endpoint:
            result |= _end(field.name)
        else:
            result[field.name] = _value(hint)
    return result


def _value(hint: Any) -> dict[str, Any]:
    """The schema of a field's value."""
    if isinstance(hint, types.UnionType):
        return {"anyOf": [_value(each) for each in typing.get_args(hint)]}
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _value(typing.get_args(hint)[0])}
    if hint is types.NoneType:
        return {"type": "null"}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": [each.value for each in hint]}
    if hint is Mapped:
        return _TEXT
    if dataclasses.is_dataclass(hint):
        return _object(_fields(typing.cast(type, hint)))
    return {"type": {bool: "boolean", int: "integer", float: "number"}.get(hint, "string")}


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def _end(name: str) -> dict[str, Any]:
    return {name: _TEXT, f"{name}_interface": _TEXT}
