"""The machine and software on which a benchmark ran."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.forms import form

ROOT = Path(__file__).parents[1]


def facts() -> dict[str, str]:
    """What a reader needs to know about the machine, in the order in which it is printed."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "nfinspect": f"{version('nfinspect')}, {form()}, {commit()}",
        "processor": f"{os.cpu_count()} cores, {processor()}",
        "kernel": platform.release(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "NetfilterQueue": version("NetfilterQueue"),
        "Postfix (smtp-source, smtp-sink)": package_version("postfix"),
        "load average before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def processor() -> str:
    """The name of the CPU model, from the kernel."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def commit() -> str:
    """The commit of the checkout, and whether the code has been changed since."""
    described = _output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    changed = _output(
        "git", "-C", str(ROOT), "status", "--porcelain", "--", "nfinspect", "bench/*.py"
    )
    if not described:
        return "no git checkout"
    return f"commit {described}" + (" with changes" if changed else "")


def package_version(package: str) -> str:
    return _output("dpkg-query", "-W", "-f", "${Version}", package) or "unknown"


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""
