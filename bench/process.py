"""Figures that the kernel has about a process: CPU time, memory, and the queues it serves."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time that the process has used (proc_pid_stat(5), in ticks of 10 ms)."""
    return parse_cpu_ticks(Path(f"/proc/{pid}/stat").read_text()) / _TICKS


def parse_cpu_ticks(stat: str) -> int:
    # The name, in parentheses, may contain anything; after it comes the third field.
    fields = stat.rpartition(")")[2].split()
    user, system = fields[14 - 3], fields[15 - 3]
    return int(user) + int(system)


def peak_memory(pid: int) -> int:
    """The peak memory of the process in bytes (VmHWM, proc_pid_status(5))."""
    return parse_peak_memory(Path(f"/proc/{pid}/status").read_text())


def parse_peak_memory(status: str) -> int:
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.removesuffix("kB")) * 1024
    raise ValueError("no VmHWM: the process has ended")


def queue_counters(pid: int) -> tuple[int, int]:
    """Packets queued, and packets lost before the queues, in the process's network namespace."""
    return parse_queue_counters(Path(f"/proc/{pid}/net/netfilter/nfnetlink_queue").read_text())


def parse_queue_counters(table: str) -> tuple[int, int]:
    # One line per queue: number, port, waiting, copy mode, copy range, lost because the queue was
    # full, lost because its socket was full, number of the last packet, 1.
    queued = lost = 0
    for line in table.splitlines():
        fields = [int(field) for field in line.split()]
        lost += fields[5] + fields[6]
        queued += fields[7]
    return queued, lost
