"""The texts of the show commands (docs/appliance.md, section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nfinspect.audit.catalogue import DROPPED_BECAUSE
from nfinspect.audit.counters import InspectionCounts

NOTHING_INSPECTED = "The policy inspects nothing: all mail passes uninspected\n"


ONLY_WATCHES = "Monitor mode: packets pass unchanged; counted is what the filter would have done"


def service_policy(inspections: Iterable[InspectionCounts], *, only_watches: bool = False) -> str:
    """Return the text of ``show service-policy inspect esmtp``."""
    note = f"{ONLY_WATCHES}\n" if only_watches else ""
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
        lines += [f"        {line}, count {count}" for line, count in counts.parameters]
        for clause, packets in counts.clauses:
            lines.append(f"        match {clause.words}")
            lines.append(f"          {clause.action_words}, packet {packets}")
    return note + ("".join(line + "\n" for line in lines) or NOTHING_INSPECTED)


@dataclass(slots=True)
class QueueState:
    """One queue of the running filter: the kernel's counters and the worker's."""

    number: int
    only_watches: bool = False
    """Monitor mode: ``dropped`` is what would have been."""
    waiting: int = 0
    """Packets in the kernel's queue without a verdict, including held ones."""
    held: int = 0
    """Packets that the engine holds."""
    copy_range: int = 0
    """Bytes of a packet that the kernel copies, at most."""
    replies_awaited: int = 0
    """Waits for a reply that were reported (`events.ReplyAwaited`)."""
    replies_awaited_now: int = 0
    """Those of them that last."""
    unended_lines: int = 0
    """Unfinished lines that were reported (`events.LineUnended`)."""
    unended_lines_now: int = 0
    """Those of them that are still unfinished."""
    uninspected: Mapping[str, int] = field(default_factory=dict)
    """Connections that passed, or pass, without inspection, by cause."""
    kernel_dropped: int = 0
    """Packets that the kernel dropped because the queue was full (``queue_dropped``)."""
    user_dropped: int = 0
    """Packets that the kernel dropped because the socket's buffer was full
    (``queue_user_dropped``)."""
    enobufs: int = 0
    """How often the socket reported an overrun (ENOBUFS)."""
    syn_queue: int = 0
    """The number of the queue for SYNs, and the same of it."""
    syns_waiting: int = 0
    syns_received: int = 0
    syns_lost: int = 0
    """SYNs that the kernel dropped because their queue was full."""
    received: int = 0
    gso: int = 0
    """GSO packets among the received ones."""
    waiting_lines: int = 0
    """Lines that stdout has not taken yet."""
    lost_lines: int = 0
    """Lines that never reached stdout."""
    suppressed_lines: int = 0
    """Lines that were not written because there were too many of their message."""
    intercepted: Mapping[str, int] = field(default_factory=dict)
    """TCP intercept on a bridge: clients that the filter itself has answered (`Engine.intercepted`)."""
    verdicts: Mapping[str, int] = field(default_factory=dict)
    """Packets by kind: accepted, rewritten, dropped, injected."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Packets that the filter dropped, by reason."""


def queue(state: QueueState) -> str:
    """Return the text of ``show queue`` for one queue."""
    lines = [
        f"Queue {state.number}:",
        f"  received {state.received}, gso {state.gso}, waiting {state.waiting},"
        f" held {state.held}, copy range {state.copy_range}",
        f"  silent: reply awaited {state.replies_awaited_now} now, {state.replies_awaited} in all;"
        f" line unended {state.unended_lines_now} now, {state.unended_lines} in all",
        f"  lost: kernel dropped {state.kernel_dropped}, user dropped {state.user_dropped},"
        f" ENOBUFS {state.enobufs}",
        f"  SYNs: queue {state.syn_queue}, received {state.syns_received},"
        f" waiting {state.syns_waiting}, lost {state.syns_lost}",
        f"  lines: waiting {state.waiting_lines}, lost {state.lost_lines},"
        f" suppressed {state.suppressed_lines}",
    ]
    if state.only_watches:
        lines.insert(1, f"  {ONLY_WATCHES}")
    if state.uninspected:
        causes = ", ".join(f"{cause} {count}" for cause, count in sorted(state.uninspected.items()))
        lines.append(f"  connections not inspected: {causes}")
    if state.intercepted.get("answered"):
        counts = ", ".join(f"{words} {count}" for words, count in state.intercepted.items())
        lines.append(f"  TCP intercept on a bridge: {counts}")
    if state.verdicts:
        verdicts = ", ".join(f"{kind} {count}" for kind, count in state.verdicts.items())
        lines.append(f"  verdicts: {verdicts}")
    dropped = "would drop" if state.only_watches else "dropped"
    for reason, count in sorted(state.dropped.items()):
        lines.append(f"    {dropped} {reason}, packet {count}")
        if reason in DROPPED_BECAUSE:
            lines.append(f"      {DROPPED_BECAUSE[reason]}")
    return "".join(line + "\n" for line in lines)
