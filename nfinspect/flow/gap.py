"""Duplicate acknowledgements while segments behind a gap are held.

The receiver does not see them, so it cannot tell the sender that something is missing; its fast
retransmit would wait for a timeout. The filter says it in the receiver's place (RFC 5681 section
3.2, RFC 2018): one acknowledgement for each held segment, with the receiver's own last number, its
window and its timestamps, and SACK blocks where both sides permit them.

It is said only once the receiver has acknowledged everything that was passed. Before that its own
number would accuse bytes that are still on their way, and make the sender repeat them.
"""

from __future__ import annotations

from nfinspect.actions import Action, Inject
from nfinspect.events import Direction
from nfinspect.flow.core import Core
from nfinspect.packet.craft import craft_acknowledgment
from nfinspect.packet.options import sack_option, timestamps_in, timestamps_option
from nfinspect.packet.segment import reverse_key
from nfinspect.tcp.connection import Half, Held

BLOCKS_BESIDE_TIMESTAMPS, BLOCKS_ALONE = 3, 4
"""RFC 2018 section 3."""
MOST_AT_ONCE = 16
"""Acknowledgements that are sent together when the receiver has caught up. Three are enough for
fast retransmit; more only let the sender send more."""


def tell(core: Core, half: Half, held: Held | None, actions: list[Action]) -> None:
    """A segment of ``half`` is held (``held``), or the receiver has just acknowledged more (None):
    say so to the sender, now or when the receiver has caught up."""
    if core.options.recorded:
        return
    if not half.held or half.held[0].sequence <= half.next:
        half.untold = 0  # no gap: what is held waits for a reply
        return
    if held is not None:
        half.untold += _segments(half, held)
        half.latest_held = held.sequence
    if half.acknowledged != half.next or not half.untold:
        return
    receiver = half.peer
    key = half.connection.key
    if receiver.direction is Direction.REPLY:
        key = reverse_key(key)
    datagram = craft_acknowledgment(
        key,
        sequence=receiver.next & 0xFFFF_FFFF,
        acknowledgment=half.acknowledged & 0xFFFF_FFFF,
        window=receiver.window,
        options=_options(half, receiver),
        hop_limit=receiver.hop_limit,
    )
    action = Inject(datagram, receiver.direction, half.port, half.link_source, receiver.link_source)
    actions.extend([action] * min(half.untold, MOST_AT_ONCE))
    half.untold = 0


def _segments(half: Half, held: Held) -> int:
    """As how many segments it would have reached the receiver, which acknowledges each. SACK blocks
    tell as much in one acknowledgement."""
    if not held.arrival.gso or half.connection.sack_permitted:
        return 1
    return max(1, -(-held.segment.length // half.largest_segment))


def _options(half: Half, receiver: Half) -> bytes:
    stamps = timestamps_in(receiver.options)
    options = b"" if stamps is None else timestamps_option(*stamps)
    if half.connection.sack_permitted:
        room = BLOCKS_ALONE if stamps is None else BLOCKS_BESIDE_TIMESTAMPS
        options += sack_option(_blocks(half)[:room])
    return options


def _blocks(half: Half) -> list[tuple[int, int]]:
    """What is held, as (left edge, right edge), the block of the latest segment first."""
    blocks: list[list[int]] = []
    for held in half.held:
        if blocks and held.sequence <= blocks[-1][1]:
            blocks[-1][1] = max(blocks[-1][1], held.end)
        elif held.end > held.sequence:
            blocks.append([held.sequence, held.end])
    blocks.sort(key=lambda block: not block[0] <= half.latest_held < block[1])
    return [(left & 0xFFFF_FFFF, right & 0xFFFF_FFFF) for left, right in blocks]
