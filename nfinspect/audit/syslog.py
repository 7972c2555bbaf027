"""Events as the appliance's syslog lines, exactly (docs/appliance.md, sections 7 and 10).

`MESSAGES` is the table of all messages; it reads like the appliance's own message guide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from nfinspect import events
from nfinspect.audit.suppression import LinesSuppressed
from nfinspect.audit.text import address, duration, escaped
from nfinspect.events import ClauseAction, Connection, Direction, Endpoint, Event, LimitKind

FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
"""The names of the flags in 106015, from the lowest bit (RFC 9293 section 3.1). ECE and CWR have
none."""


def render(event: Event) -> str | None:
    """Return the line for *event*, from ``%ASA-`` on; None if it has none."""
    for message, fill in _ROWS.get(type(event), ()):
        if message.applies is None or message.applies(event):
            return fill(message.facts(event))
    return None


def number(event: Event) -> str | None:
    """Return the number of the message that `render` writes for *event*; None if none."""
    for message, _ in _ROWS.get(type(event), ()):
        if message.applies is None or message.applies(event):
            return str(message.number)
    return None


def summary(suppressed: LinesSuppressed) -> str:
    """Return the line that stands for suppressed ones. The appliance has no such message."""
    return (
        f"%NFINSPECT-4-SUPPRESSED: {suppressed.count} lines of message {suppressed.message}"
        f" were suppressed in {suppressed.duration:.1f} seconds"
    )


# The values of a template's fields. An end is ``interface:address/port``. The side of lower security
# comes first; until interfaces are configured that is the client's, and every connection is inbound
# (section 9). Mapped equals real unless a static of the configuration translates the end.

Facts = dict[str, Any]


def _end(endpoint: Endpoint) -> str:
    return f"{endpoint.interface}:{address(endpoint.address)}/{endpoint.port}"


def _address_port(end: Endpoint | events.Mapped) -> str:
    return f"{address(end.address)}/{end.port}"


def _from_to(connection: Connection, direction: Direction) -> Facts:
    return {
        "source": _end(connection.sender(direction)),
        "destination": _end(connection.sender(direction.opposite)),
    }


def _built(event: events.ConnectionBuilt) -> Facts:
    connection = event.connection
    lower, higher = connection.sides
    mapped = event.client_mapped, event.server_mapped
    lower_mapped, higher_mapped = reversed(mapped) if connection.outbound else mapped
    return {
        "direction": "outbound" if connection.outbound else "inbound",
        "number": connection.number,
        "lower": _end(lower),
        "lower_mapped": _address_port(lower_mapped or lower),
        "higher": _end(higher),
        "higher_mapped": _address_port(higher_mapped or higher),
    }


def _torn_down(event: events.ConnectionTornDown) -> Facts:
    connection = event.connection
    return {
        "number": connection.number,
        "lower": _end(connection.sides[0]),
        "higher": _end(connection.sides[1]),
        "duration": duration(event.duration),
        "bytes": event.bytes_passed,
        "reason": event.reason.value,
    }


def _denied(event: events.DeniedNoConnection) -> Facts:
    source, destination = event.source, event.destination
    return {
        "source": f"{address(source.address)}/{source.port}",
        "destination": f"{address(destination.address)}/{destination.port}",
        "flags": " ".join(word for bit, word in enumerate(FLAGS) if event.flags >> bit & 1),
        "interface": source.interface,
    }


def _duplicate_syn(event: events.DuplicateSyn) -> Facts:
    return _from_to(event.connection, Direction.REQUEST)


def _table_full(event: events.TableFull) -> Facts:
    return {}


def _limit_reached(event: events.LimitReached) -> Facts:
    source, destination, static = event.source, event.destination, event.translated
    mapped = event.interface
    if static is not None and static.address:
        mapped = address(static.address)
    return {
        "count": event.count,
        "allowed": event.allowed,
        "bound": "outbound" if event.outbound else "inbound",
        "put": "input" if event.interface == source.interface else "output",
        "source": f"{address(source.address)}/{source.port}",
        "destination": f"{address(destination.address)}/{destination.port}",
        "server": address(destination.address),
        "port": destination.port,
        "server_interface": destination.interface,
        "arrives": source.interface,
        "interface": event.interface,
        "mapped": mapped,
        "embryonic": static.embryonic if static is not None else 0,
    }


def _reached(limit: LimitKind, *, of_static: bool | None = None) -> Callable[[Any], bool]:
    """Applies to a limit of a class and of a static, or of one of them alone."""

    def applies(event: events.LimitReached) -> bool:
        static = event.translated is not None
        return event.limit is limit and event.log and of_static in (None, static)

    return applies


def _of_old_static(event: events.LimitReached) -> bool:
    static = event.translated
    return event.limit is LimitKind.CONNECTIONS and static is not None and static.old_lines


def _clause_matched(event: events.ClauseMatched) -> Facts:
    return {
        **_from_to(event.connection, event.direction),
        "message": event.direction.value,
        "position": event.position,
        "criterion": event.criterion,
    }


_INFORMATION = {
    "mail-relay": "mail-relay: No Mail Relay allowed",
    "special-character": "special-character: Special character in a mail address",
    "bare-newline": "bare-newline: Bare newline in the mail data",
}


def _parameter_matched(event: events.ParameterMatched) -> Facts:
    return {
        **_from_to(event.connection, event.direction),
        "message": event.direction.value,
        "information": _INFORMATION[event.parameter],
    }


def _size_exceeded(event: events.SizeExceeded) -> Facts:
    return {
        **_from_to(event.connection, Direction.REQUEST),
        "declared": event.declared,
        "actual": event.actual,
    }


def _character_replaced(event: events.CharacterReplaced) -> Facts:
    return {
        "character": event.character,
        "client": address(event.connection.client.address),
        "server": address(event.connection.server.address),
        "line": escaped(event.line),
    }


def _malicious_address(event: events.MaliciousAddress) -> Facts:
    return {
        **_from_to(event.connection, Direction.REQUEST),
        "argument": escaped(event.address),
    }


def _tls_started(event: events.TlsStarted) -> Facts:
    return {"client": _end(event.connection.client), "server": _end(event.connection.server)}


def _inspection_closed(event: events.InspectionClosed) -> Facts:
    return _from_to(event.connection, event.direction)


class Message(NamedTuple):
    """A syslog message: its template, the template's fields, and when it applies."""

    severity: int
    number: int
    template: str
    event: type
    facts: Callable[[Any], Facts]
    """From an event to the fields of the template."""
    applies: Callable[[Any], bool] | None = None
    """None: the message applies to every event of the type."""


_DONE = {
    ClauseAction.DROP_CONNECTION: "Dropped connection for",
    ClauseAction.RESET: "Reset connection for",
    ClauseAction.MASK: "Masked header flags for",
}
"""What 108004 says of each action."""


def _logs(action: ClauseAction) -> Callable[[Any], bool]:
    return lambda event: event.log and event.action is action


def _of_matches(
    subject: str, end: str, kind: type[Event], facts: Callable[[Any], Facts]
) -> list[Message]:
    """108004 and 108005 about a clause or a parameter, as *subject* says."""
    rest = "ESMTP {message} from {source} to {destination}; " + end
    received = f"ESMTP {subject}: Received {rest}"
    return [
        *(
            Message(4, 108004, f"ESMTP {subject}: {done} {rest}", kind, facts, _logs(action))
            for action, done in _DONE.items()
        ),
        Message(6, 108005, received, kind, facts, _logs(ClauseAction.LOG)),
    ]


MESSAGES = (
    Message(
        2, 108002, "SMTP replaced {character}: out {client} in {server} data: {line}",
        events.CharacterReplaced, _character_replaced,
    ),
    Message(
        2, 108003, "Terminating ESMTP connection; malicious pattern detected in the mail address"
        " from {source} to {destination}. Mail Address:{argument}",
        events.MaliciousAddress, _malicious_address,
    ),
    *_of_matches(
        "Classification",
        "matched Class {position}: {criterion}",
        events.ClauseMatched,
        _clause_matched,
    ),
    *_of_matches("Parameter", "{information}", events.ParameterMatched, _parameter_matched),
    Message(
        7, 108006, "Detected ESMTP size violation from {source} to {destination};"
        " declared size is: {declared}, actual size is {actual}",
        events.SizeExceeded, _size_exceeded,
    ),
    Message(
        6, 108007, "TLS started on ESMTP session between client {client} and server {server}",
        events.TlsStarted, _tls_started, lambda event: event.log,
    ),
    Message(
        6, 106015, "Deny TCP (no connection) from {source} to {destination}"
        " flags {flags}  on interface {interface}",
        events.DeniedNoConnection, _denied,
    ),
    Message(
        3, 201008, "Disallowing new connections.",
        events.TableFull, _table_full,
    ),
    Message(
        3, 201002, "Too many TCP connections on static {mapped}! {embryonic} {allowed}",
        events.LimitReached, _limit_reached,
        lambda event: _of_old_static(event) and bool(event.translated.address),
    ),
    Message(
        3, 201009, "TCP connection limit of {allowed} for host {server} on {server_interface} exceeded",
        events.LimitReached, _limit_reached, _of_old_static,
    ),
    Message(
        3, 201011, "Connection limit exceeded {count}/{allowed} for {bound} packet"
        " from {source} to {destination} on interface {arrives}",
        events.LimitReached, _limit_reached, _reached(LimitKind.CONNECTIONS),
    ),
    Message(
        4, 407002, "Embryonic limit for through connections exceeded {count}/{allowed}."
        " {source} to {mapped}({server})/{port} on interface {interface}",
        events.LimitReached, _limit_reached,
        lambda event: event.begins and _reached(LimitKind.EMBRYONIC, of_static=True)(event),
    ),
    Message(
        2, 201003, "Embryonic limit exceeded {count}/{allowed}"
        " for {source} to {server}({mapped})/{port} on interface {interface}",
        events.LimitReached, _limit_reached, _reached(LimitKind.EMBRYONIC, of_static=True),
    ),
    Message(
        6, 201010, "Embryonic connection limit exceeded {count}/{allowed} for {put} packet"
        " from {source} to {destination} on interface {interface}",
        events.LimitReached, _limit_reached, _reached(LimitKind.EMBRYONIC),
    ),
    Message(
        6, 201012, "Per-client embryonic connection limit exceeded {count}/{allowed} for {put} packet"
        " from {source} to {destination} on interface {interface}",
        events.LimitReached, _limit_reached, _reached(LimitKind.PER_CLIENT_EMBRYONIC),
    ),
    Message(
        3, 201013, "Per-client connection limit exceeded {count}/{allowed} for {put} packet"
        " from {source} to {destination} on interface {interface}",
        events.LimitReached, _limit_reached, _reached(LimitKind.PER_CLIENT),
    ),
    Message(
        6, 302013, "Built {direction} TCP connection {number}"
        " for {lower} ({lower_mapped}) to {higher} ({higher_mapped})",
        events.ConnectionBuilt, _built,
    ),
    Message(
        6, 302014, "Teardown TCP connection {number} for {lower} to {higher}"
        " duration {duration} bytes {bytes} {reason}",
        events.ConnectionTornDown, _torn_down,
    ),
    Message(
        4, 419002, "Duplicate TCP SYN from {source} to {destination}"
        " with different initial sequence number",
        events.DuplicateSyn, _duplicate_syn,
    ),
    Message(
        4, 507003, "tcp flow from {source} to {destination} terminated by inspection engine,"
        " reason - inspector disconnected, dropped packet.",
        events.InspectionClosed, _inspection_closed, lambda event: not event.reset,
    ),
    Message(
        4, 507003, "tcp flow from {source} to {destination} terminated by inspection engine,"
        " reason - inspector drop reset.",
        events.InspectionClosed, _inspection_closed, lambda event: event.reset,
    ),
)  # fmt: skip
"""All messages. If an event has several, the first that applies is written."""

_ROWS = {
    kind: tuple(
        (m, f"%ASA-{m.severity}-{m.number}: {m.template}".format_map)
        for m in MESSAGES
        if m.event is kind
    )
    for kind in {m.event for m in MESSAGES}
}
