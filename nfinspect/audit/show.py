"""The texts of the show commands (docs/appliance.md, section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nfinspect.audit.counters import InspectionCounts

NOTHING_INSPECTED = "The policy inspects nothing: all mail passes uninspected\n"


def service_policy(inspections: Iterable[InspectionCounts]) -> str:
    """Return ``show service-policy inspect esmtp``, as lines."""
    lines: list[str] = []
    heading: list[str] = []
    for counts in inspections:
        inspection = counts.inspection
        outer = ["Global policy:", f"  Service-policy: {inspection.service_policy}"]
        if outer != heading:
            heading = outer
            lines += heading
        lines += [
            f"    Class-map: {inspection.class_map}",
            f"      Inspect: esmtp {inspection.map.name}, packet {counts.packet},"
            f" drop {counts.drop}, reset-drop {counts.reset_drop}",
        ]
        if counts.mask_banner is not None:
            lines.append(f"        mask-banner, count {counts.mask_banner}")
        for clause, packets in counts.clauses:
            lines.append(f"        match {clause.words}")
            lines.append(f"          {clause.action_words}, packet {packets}")
    return "".join(line + "\n" for line in lines) or NOTHING_INSPECTED


@dataclass(slots=True)
class QueueState:
    """One queue of the running filter: the kernel's numbers and the worker's."""

    number: int
    waiting: int = 0
    """Packets in the kernel's queue, without a verdict yet; the held ones are among them."""
    held: int = 0
    """Packets that the engine holds."""
    copy_range: int = 0
    """Bytes of a packet that the kernel hands over."""
    kernel_dropped: int = 0
    """Packets the kernel dropped because the queue was full (``queue_dropped``)."""
    user_dropped: int = 0
    """Packets the kernel could not hand over: the socket's buffer was full
    (``queue_user_dropped``)."""
    enobufs: int = 0
    """Times the socket told of an overrun."""
    received: int = 0
    gso: int = 0
    """Of the received, packets that stand for several segments."""
    verdicts: Mapping[str, int] = field(default_factory=dict)
    """By kind: accepted, rewritten, dropped; and packets injected."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Packets by the reason for which the filter dropped them."""


def queue(state: QueueState) -> str:
    """Return ``show queue`` for one queue: lines."""
    lines = [
        f"Queue {state.number}:",
        f"  received {state.received}, gso {state.gso}, waiting {state.waiting},"
        f" held {state.held}, copy range {state.copy_range}",
        f"  lost: kernel dropped {state.kernel_dropped}, user dropped {state.user_dropped},"
        f" ENOBUFS {state.enobufs}",
    ]
    if state.verdicts:
        verdicts = ", ".join(f"{kind} {count}" for kind, count in state.verdicts.items())
        lines.append(f"  verdicts: {verdicts}")
    for reason, count in sorted(state.dropped.items()):
        lines.append(f"    dropped {reason}, packet {count}")
    return "".join(line + "\n" for line in lines)
