"""What the driver of an engine says about the packets that it brings."""

from __future__ import annotations

from dataclasses import dataclass, field

from nfinspect.policy.model import UnseenDataAction
from nfinspect.tcp.limits import Limits


@dataclass(frozen=True, slots=True)
class Permissions:
    """What may be taken for granted of a capture, or in monitor mode, and never of traffic that is
    filtered."""

    incomplete_handshake: bool = False
    """A segment of the handshake may be missing."""
    missing_side: bool = False
    """One direction may be missing altogether."""
    nobody_reacts: bool = False
    """The endpoints do not see what the filter does: nobody waits for a reply that is due, sends
    again what was cut off, or hears an ACK of the filter's own."""
    unfiltered: bool = False
    """No filter was in the path, so a server may have answered what would have been masked."""
    only_watches: bool = False
    """Whatever is decided, packets pass: a connection that inspection would close goes on
    uninspected."""
    unverified_checksums: bool = False
    """A checksum may be wrong, as a network card was to fill it in."""
    tokens_kept: bool = False
    """An event that comes much later still names its packet, which costs memory."""
    unseen_data: UnseenDataAction = UnseenDataAction.DROP_CONNECTION
    """What happens after bytes that bypassed the filter, if the configuration does not say it."""


LIVE = Permissions()
AS_LIVE = Permissions(tokens_kept=True)
"""A capture that is judged as if its packets were in the filter's path now."""
RECORDED = Permissions(
    incomplete_handshake=True,
    missing_side=True,
    nobody_reacts=True,
    unfiltered=True,
    unverified_checksums=True,
    tokens_kept=True,
    unseen_data=UnseenDataAction.UNINSPECTED,
)
"""A capture made without the filter."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    permissions: Permissions = LIVE
    transcript: bool = False
    """Emit every command and reply line (``CommandSeen``, ``ReplySeen``), and every
    end of a message (``MessageSeen``)."""
    limits: Limits = field(default_factory=Limits)
    kernel_passes: bool = False
    """The kernel passes exempt connections, and those to other ports, by itself: of these only the
    opening packets come, and the driver tells the rest (`Engine.tell`)."""
