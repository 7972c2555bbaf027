"""The bounds of everything that TCP reassembly keeps, and the ledger of what it keeps in all.

What happens at each bound is said beside it; docs/tcp.md repeats it for operators.
"""

from __future__ import annotations

from dataclasses import dataclass

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    connections: int = 100_000
    """In the table, those included that inspection closed and that are remembered. When it is
    full, new SYNs are refused; nothing is evicted."""
    held_packets: int = 2048
    held_bytes: int = 4 * MEBIBYTE
    """Waiting for their verdict, per connection: a few windows of a fast sender far away. Beyond
    that a segment behind a gap is dropped and TCP sends it again."""
    held_packets_total: int = 4096
    """At most a quarter of the queue's maximum length, or held packets would fill everybody's
    queue. At the total bounds the connection that holds most gives up its farthest segment."""
    held_bytes_total: int = 64 * MEBIBYTE
    memory_bytes: int = 16 * MEBIBYTE
    """Passed and not acknowledged, per connection. At this bound and at the total, new data is
    not passed (the sender slows down); nothing is forgotten in order to pass."""
    memory_bytes_total: int = 256 * MEBIBYTE
    closed_quiet: float = 600.0
    """How long a connection that inspection closed must have been quiet to be forgotten."""
    linger: float = 60.0
    """How long repeated FINs and ACKs of a finished connection pass."""


@dataclass(slots=True)
class Ledger:
    """What all connections keep together."""

    held_packets: int = 0
    held_bytes: int = 0
    memory_bytes: int = 0
