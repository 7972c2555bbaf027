"""Why a queue cannot be had, in words that say what to do about it."""

from __future__ import annotations

from pathlib import Path

from nfinspect.live import queue_table

CAP_NET_ADMIN, CAP_NET_RAW = 12, 13  # linux/capability.h
NAMES = {CAP_NET_ADMIN: "CAP_NET_ADMIN", CAP_NET_RAW: "CAP_NET_RAW"}
STATUS = Path("/proc/self/status")


def has_capability(capability: int) -> bool:
    """Whether this process has a capability in effect."""
    for line in STATUS.read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False


def lacking(capability: int, purpose: str) -> str:
    """Return the message for a capability that is not there."""
    return f"{purpose} needs {NAMES[capability]}: run nfinspect as root, or give it that capability"


def of_queue(number: int) -> str:
    """Return why binding queue *number* has failed, as far as the system tells."""
    if not has_capability(CAP_NET_ADMIN):
        return lacking(CAP_NET_ADMIN, f"taking packets from queue {number}")
    if not queue_table.TABLE.exists():
        return (
            "this kernel offers no NFQUEUE: the module nfnetlink_queue is not loaded"
            " (modprobe nfnetlink_queue)"
        )
    row = queue_table.read(number)
    if row is not None:
        return (
            f"queue {number} is taken by another process (netlink port {row.port},"
            f" most often its process id); stop it, or choose another with --queue-num"
        )
    return f"the kernel refuses queue {number}, and does not say why"
