"""Sessions and packets in words, for people who look for what went wrong."""

from __future__ import annotations

from dataclasses import fields

from tests.fuzz.packets import ACK, FLAGS, Packet
from tests.model.stack import Stack, near


def unusual(settings: object) -> str:
    """The fields of a dataclass that are not as by default."""
    ordinary = type(settings)()
    return ", ".join(
        f"{field.name} {getattr(settings, field.name)}"
        for field in fields(settings)  # type: ignore[arg-type]
        if getattr(settings, field.name) != getattr(ordinary, field.name)
    )


def state(end: Stack) -> str:
    """How far an end has come."""
    return (
        f"state {end.state}, una +{end.una - end.base} of {len(end.stream)}, "
        f"closing {end.closing}, gave up {end.gave_up}, reset {end.reset}, "
        f"unread {len(end.unread)}, peer's FIN {end.peer_fin}"
    )


def numbers(packet: Packet) -> str:
    """As on the wire, short."""
    return f"{packet.sequence} +{len(packet.payload)} {_flags(packet)}"


def offsets(packet: Packet, sender: Stack, receiver: Stack) -> str:
    """With places in the streams instead of numbers."""
    start = near(packet.sequence, sender.base) - sender.base
    text = f"{start}..{start + len(packet.payload)} {_flags(packet)}"
    if packet.flags & ACK:
        text += f" ack {near(packet.acknowledgment, receiver.base) - receiver.base}"
    text += f" win {packet.window}"
    if packet.options:
        text += f" opt {packet.options.hex()}"
    if packet.payload:
        shown = packet.payload if len(packet.payload) <= 60 else packet.payload[:57] + b"..."
        text += f" {shown!r}"
    return text


def _flags(packet: Packet) -> str:
    return " ".join(name for bit, name in enumerate(FLAGS) if packet.flags >> bit & 1)
