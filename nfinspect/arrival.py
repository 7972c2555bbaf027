"""What goes into the engine: one datagram, and what the kernel or the capture knows of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Arrival:
    """One datagram that waits for its verdict.

    ``token`` is the driver's own handle (a queued packet, a packet number); the engine hands it
    back in the actions and never looks at it.
    """

    token: object
    datagram: bytes
    """From the first byte of the IP header; link padding behind its end is tolerated."""
    now: float
    """Seconds on the driver's clock, never running backwards."""
    captured_length: int | None = None
    """Bytes the datagram had when it was queued, where the kernel or the capture tells
    (NFQA_CAP_LEN): larger than ``len(datagram)`` means that it arrived truncated."""
    checksum_ready: bool = True
    """False where the TCP checksum is still to be filled in by hardware (NFQA_SKB_CSUMNOTREADY)."""
    gso: bool = False
    """One queued packet that leaves as many segments (NFQA_SKB_GSO)."""
    ingress: str = ""
    """The port it came in on; on a bridge the physical port."""
    egress: str = ""
    link_source: bytes = b""
    """On a bridge: the link-layer source address; empty where the packet is routed. All zeros where
    it lies in a frame of a kind that the driver cannot make itself (a VLAN)."""
