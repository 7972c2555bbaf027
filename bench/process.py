"""Figures that the kernel has about a process: CPU time, memory, and the queues it serves."""

from __future__ import annotations

from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """User and system time that all threads of the process have used, from the scheduler's own figures
    in nanoseconds. A thread that has ended no longer counts."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(parse_run_time(thread.read_text()) for thread in threads) / 1e9


def parse_run_time(schedstat: str) -> int:
    # Nanoseconds on a processor, nanoseconds waiting for one, turns (sched-stats.rst).
    return int(schedstat.split()[0])


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
