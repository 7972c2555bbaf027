"""The bounds of everything that TCP reassembly keeps, and the ledger of the totals. (How many connections a
class may have is `admission`'s.)

Each bound says what happens when it is reached; docs/tcp.md says it for operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KIBIBYTE: Final = 1024
MEBIBYTE: Final = 1024 * KIBIBYTE

SHARE: Final = 8
"""One direction may use at most one eighth of the memory that is free, the last quarter excepted."""
LEAST: Final = 1 << 17
"""From the last quarter, each direction may use this fraction of the total: 2 KiB of 256 MiB."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    connections: int = 100_000
    """Connections in the table, and those remembered as closed by inspection. When full, new SYNs
    are refused; nothing is evicted."""
    half_open: int = 4096
    """TCP intercept on a bridge: clients whose answer to a SYN-ACK is awaited. Beyond it, they are not kept:
    SYN-ACKs with cookies go out once."""
    held_packets: int = 2048
    held_bytes: int = 4 * MEBIBYTE
    """Held packets and bytes per connection: a few windows of a fast, distant sender. At either
    bound a segment beyond a gap is dropped; TCP sends it again."""
    held_packets_total: int = 4096
    """At most a quarter of the queue's maximum length, or held packets would block the queue for
    all. At a total bound the direction that holds most gives up its farthest segment; among equals,
    one whose gap is stale."""
    held_bytes_total: int = 64 * MEBIBYTE
    memory_bytes: int = 16 * MEBIBYTE
    """Bytes passed and not yet acknowledged, per direction. Beyond this, or beyond an eighth of what
    is left of the total, new data is dropped (the sender slows down); nothing is forgotten to make
    room. The shrinking share, and 2 KiB each from the last quarter of the total, leave room for those
    who need little."""
    memory_bytes_total: int = 256 * MEBIBYTE
    kept_bytes_total: int = 64 * MEBIBYTE
    """Bytes of unfinished header fields that inspections keep. Beyond it, they keep little of a
    field, and take a longer one for too long to be known."""
    closed_quiet: float = 600.0
    """A connection that inspection closed is forgotten after so long without a packet."""
    closed_longest: float = 7200.0
    """The same, even if packets of the connection keep arriving."""
    reports: int = 2048
    """Held segments, per direction, whose report is due or not yet acknowledged. Beyond it, and the
    total, further ones are not reported: the sender hears of them from the receiver."""
    reports_total: int = 65_536
    linger: float = 60.0
    """For how long repeated FINs and ACKs of a finished connection still pass."""
    stale: float = 10.0
    """At a total bound, a direction whose gap has not moved for so long makes room for one that
    holds nothing."""

    def admits(self, more: int, own: int, all_together: int) -> bool:
        """Whether a direction with ``own`` unacknowledged bytes, while all directions have
        ``all_together``, may have ``more``."""
        total = self.memory_bytes_total
        share = max((total - total // 4 - all_together) // SHARE, total // LEAST)
        return own + more <= min(self.memory_bytes, share) and all_together + more <= total


@dataclass(slots=True)
class Ledger:
    """What all connections together hold and remember."""

    held_packets: int = 0
    held_bytes: int = 0
    memory_bytes: int = 0
    kept_bytes: int = 0
    """Of passed bytes, those that inspections keep until they can judge them: unfinished header
    fields."""
    reports: int = 0
