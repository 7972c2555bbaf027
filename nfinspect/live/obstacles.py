"""Why a queue is not available, and what to do about it."""

from __future__ import annotations

from pathlib import Path

from nfinspect.live import queue_table

CAP_NET_ADMIN, CAP_NET_RAW = 12, 13  # linux/capability.h
NAMES = {CAP_NET_ADMIN: "CAP_NET_ADMIN", CAP_NET_RAW: "CAP_NET_RAW"}
STATUS = Path("/proc/self/status")


def has_capability(capability: int) -> bool:
    """Whether this process has an effective capability."""
    for line in STATUS.read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False


def lacking(capability: int, purpose: str) -> str:
    """Return the message for a missing capability."""
    return f"{purpose} needs {NAMES[capability]}: run nfinspect as root, or grant it the capability"


def of_queue(number: int) -> str:
    """Return why queue *number* could not be bound, as far as the system reveals it."""
    if not has_capability(CAP_NET_ADMIN):
        return lacking(CAP_NET_ADMIN, f"reading queue {number}")
    if not queue_table.TABLE.exists():
        return (
            "NFQUEUE is not available: the kernel module nfnetlink_queue is not loaded"
            " (modprobe nfnetlink_queue)"
        )
    row = queue_table.read(number)
    if row is not None:
        return (
            f"queue {number} is in use by another process (netlink port {row.port},"
            f" usually its process id); stop it, or choose another queue with --queue-num"
        )
    return f"the kernel refused queue {number} without giving a reason"
