"""Events to the appliance's syslog lines, exactly (docs/appliance.md, sections 7 and 10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from nfinspect import events
from nfinspect.audit.text import address, escaped
from nfinspect.events import ClauseAction, Connection, Direction, Endpoint, Event

FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
"""The words of 106015, from the lowest bit of the flags byte (RFC 9293 section 3.1). ECE and CWR
have none."""

DID = {
    ClauseAction.DROP_CONNECTION: "Dropped connection for",
    ClauseAction.MASK: "Masked header flags for",
}
"""What 108004 says about the action of a clause."""


def render(event: Event) -> str | None:
    """Return the line of *event*, from ``%ASA-``, or None if it has none."""
    for prefix, applies, text in _ROWS.get(type(event), ()):
        if applies is None or applies(event):
            return prefix + text(event)
    return None


def _end(endpoint: Endpoint) -> str:
    return f"{endpoint.interface}:{address(endpoint.address)}/{endpoint.port}"


def _from_to(connection: Connection, direction: Direction) -> str:
    source = _end(connection.sender(direction))
    return f"from {source} to {_end(connection.sender(direction.opposite))}"


def _duration(seconds: float) -> str:
    """``H:MM:SS``; what is less than a second is cut off."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


# The client's side has the lower security until interfaces are configured, so it stands first and
# every connection is inbound (section 9). Nothing translates addresses: mapped is real.


def _built(event: events.ConnectionBuilt) -> str:
    connection = event.connection
    client, server = connection.client, connection.server
    real, behind = _end(client), _end(server)
    return (
        f"Built inbound TCP connection {connection.number}"
        f" for {real} ({real[len(client.interface) + 1 :]})"
        f" to {behind} ({behind[len(server.interface) + 1 :]})"
    )


def _torn_down(event: events.ConnectionTornDown) -> str:
    connection = event.connection
    return (
        f"Teardown TCP connection {connection.number}"
        f" for {_end(connection.client)} to {_end(connection.server)}"
        f" duration {_duration(event.duration)} bytes {event.bytes_passed} {event.reason.value}"
    )


def _denied(event: events.DeniedNoConnection) -> str:
    source, destination = event.source, event.destination
    flags = " ".join(word for bit, word in enumerate(FLAGS) if event.flags >> bit & 1)
    return (
        f"Deny TCP (no connection) from {address(source.address)}/{source.port}"
        f" to {address(destination.address)}/{destination.port}"
        f" flags {flags}  on interface {source.interface}"
    )


def _duplicate_syn(event: events.DuplicateSyn) -> str:
    ends = _from_to(event.connection, Direction.REQUEST)
    return f"Duplicate TCP SYN {ends} with different initial sequence number"


def _table_full(event: events.TableFull) -> str:
    return "Disallowing new connections."


def _clause_acted(event: events.ClauseMatched) -> str:
    return f"ESMTP Classification: {DID[event.action]} {_matched(event)}"


def _clause_logged(event: events.ClauseMatched) -> str:
    return f"ESMTP Classification: Received {_matched(event)}"


def _matched(event: events.ClauseMatched) -> str:
    ends = _from_to(event.connection, event.direction)
    message = event.direction.value
    return f"ESMTP {message} {ends}; matched Class {event.position}: {event.criterion}"


def _character_replaced(event: events.CharacterReplaced) -> str:
    client, server = event.connection.client, event.connection.server
    return (
        f"SMTP replaced {event.character}: out {address(client.address)}"
        f" in {address(server.address)} data: {escaped(event.line)}"
    )


def _malicious_address(event: events.MaliciousAddress) -> str:
    return (
        "Terminating ESMTP connection; malicious pattern detected in the mail address"
        f" {_from_to(event.connection, Direction.REQUEST)}."
        f" Mail Address:{escaped(event.address)}"
    )


def _tls_started(event: events.TlsStarted) -> str:
    client, server = event.connection.client, event.connection.server
    return f"TLS started on ESMTP session between client {_end(client)} and server {_end(server)}"


def _inspection_closed(event: events.InspectionClosed) -> str:
    return (
        f"tcp flow {_from_to(event.connection, event.direction)} terminated by inspection engine,"
        " reason - inspector disconnected, dropped packet."
    )


class Message(NamedTuple):
    """One syslog message: when it is written, and its text."""

    severity: int
    number: int
    event: type
    text: Callable[[Any], str]
    applies: Callable[[Any], bool] | None = None
    """None: to every event of the type."""


MESSAGES = (
    Message(2, 108002, events.CharacterReplaced, _character_replaced),
    Message(2, 108003, events.MaliciousAddress, _malicious_address),
    Message(
        4,
        108004,
        events.ClauseMatched,
        _clause_acted,
        lambda event: event.log and event.action is not ClauseAction.LOG,
    ),
    Message(6, 108005, events.ClauseMatched, _clause_logged, lambda event: event.log),
    Message(6, 108007, events.TlsStarted, _tls_started, lambda event: event.log),
    Message(6, 106015, events.DeniedNoConnection, _denied),
    Message(3, 201008, events.TableFull, _table_full),
    Message(6, 302013, events.ConnectionBuilt, _built),
    Message(6, 302014, events.ConnectionTornDown, _torn_down),
    Message(4, 419002, events.DuplicateSyn, _duplicate_syn),
    Message(4, 507003, events.InspectionClosed, _inspection_closed),
)
"""Every message. Of several for one event the first that applies is written."""

_ROWS = {
    kind: tuple(
        (f"%ASA-{m.severity}-{m.number}: ", m.applies, m.text) for m in MESSAGES if m.event is kind
    )
    for kind in {m.event for m in MESSAGES}
}
