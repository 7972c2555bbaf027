"""What goes into the engine: a datagram and its metadata from the kernel or the capture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Token: TypeAlias = object
"""The driver's own handle of a datagram (a queued packet, a packet number): the engine returns it in
the actions without looking at it."""


# Compiled, a constructor written out takes less than half the time of a dataclass's.
@dataclass(slots=True, init=False)
class Arrival:
    """One datagram waiting for its verdict."""

    token: Token
    datagram: bytes
    """From the first byte of the IP header; trailing link padding is tolerated."""
    now: float
    """Seconds on the driver's clock, never running backwards."""
    captured_length: int | None
    """The datagram's length when it was queued, if known (NFQA_CAP_LEN); if it exceeds
    ``len(datagram)``, the datagram arrived truncated. It stands in for a length field of 0."""
    checksum_ready: bool
    """False if hardware is still to fill in the TCP checksum (NFQA_SKB_CSUMNOTREADY)."""
    gso: bool
    """Whether the packet will leave as several segments (NFQA_SKB_GSO)."""
    ingress: str
    """The device it came in on; on a bridge the device that is a part of the bridge."""
    egress: str
    """The device it leaves by, likewise."""
    link_source: bytes
    """On a bridge: the link-layer source address; empty if the packet is routed. All zeros if it
    came in a kind of frame that the driver cannot send itself (a VLAN)."""

    def __init__(
        self,
        token: Token,
        datagram: bytes,
        now: float,
        captured_length: int | None = None,
        checksum_ready: bool = True,
        gso: bool = False,
        ingress: str = "",
        egress: str = "",
        link_source: bytes = b"",
    ) -> None:
        self.token = token
        self.datagram = datagram
        self.now = now
        self.captured_length = captured_length
        self.checksum_ready = checksum_ready
        self.gso = gso
        self.ingress = ingress
        self.egress = egress
        self.link_source = link_source
