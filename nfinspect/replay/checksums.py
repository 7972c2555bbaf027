"""Which wrong checksums of a capture mean damage, and which mean nothing.

A capture made on the sending host shows checksums that its network card was still to fill in.
Usually the field holds the sum of the pseudo-header (``packet.checksum.offloaded``), but some
drivers leave anything there. So any other wrong checksum is judged by its sender: if most checksums
of that address are wrong, they say nothing; if most are right, the packet was damaged.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Any

from nfinspect.packet.checksum import ip_header_valid, offloaded, tcp_checksum_valid
from nfinspect.packet.segment import Segment, parse

MAX_SENDERS = 4096
"""Senders remembered; then the oldest is forgotten, and judged anew when it is seen again."""
ENOUGH = 16
"""Packets from which a sender is known: without them, its next ones are looked at as well."""


class ChecksumUse(enum.Enum):
    """``replay --checksums``."""

    AUTO = "auto"
    """A wrong checksum drops the packet, unless its sender's are all like that."""
    VERIFY = "verify"
    """A wrong checksum drops the packet, unless it is what transmit offload leaves behind."""
    IGNORE = "ignore"
    """Checksums are not looked at."""


class Sender:
    """What the checksums of one address have been like."""

    __slots__ = ("note", "right", "verified", "wrong")

    def __init__(self, *, verified: bool) -> None:
        self.verified = verified
        """Whether its checksums are looked at."""
        self.right = 0
        self.wrong = 0
        self.note: dict[str, Any] | None = None
        """The note about it, which counts its packets."""


class Checksums:
    """The senders of a capture."""

    def __init__(self, use: ChecksumUse) -> None:
        self._use = use
        self._senders: OrderedDict[bytes, Sender] = OrderedDict()

    def sender(self, address: bytes) -> Sender:
        """The sender with this address."""
        sender = self._senders.get(address)
        if sender is None:
            sender = Sender(verified=self._use is not ChecksumUse.IGNORE)
            self._senders[address] = sender
            if len(self._senders) > MAX_SENDERS:
                self._senders.popitem(last=False)
        return sender

    def left_to_the_card(
        self, sender: Sender, datagram: bytes, captured_length: int | None
    ) -> bool:
        """Whether a wrong checksum is what transmit offload usually leaves behind."""
        segment = parse(datagram, captured_length)
        if not (isinstance(segment, Segment) and ip_header_valid(datagram) and offloaded(segment)):
            return False
        sender.wrong += 1
        if self._use is ChecksumUse.AUTO and sender.wrong >= ENOUGH and not sender.right:
            sender.verified = False
        return True

    def mean_nothing(self, sender: Sender, ahead: Iterable[bytes]) -> bool:
        """Whether the checksums of *sender*, whose packet has a wrong one, are all like that.
        *ahead*: datagrams that it sends next."""
        sender.wrong += 1
        if self._use is not ChecksumUse.AUTO:
            return False
        right, wrong = sender.right, sender.wrong
        if right < ENOUGH:
            for datagram in islice(ahead, ENOUGH):
                valid = _valid(datagram)
                right += valid
                wrong += not valid
        sender.verified = right >= wrong
        return not sender.verified


def _valid(datagram: bytes) -> bool:
    segment = parse(datagram, len(datagram))
    return isinstance(segment, Segment) and (
        ip_header_valid(datagram) and tcp_checksum_valid(segment)
    )
