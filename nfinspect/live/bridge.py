"""Applying and removing what a bridge needs besides the iptables rules; see
`nfinspect.rules.bridge`.

The previous settings are saved in a file until they are restored. The file is in /run, so a reboot
removes it along with the settings, and its name contains the network namespace.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from pathlib import Path
from struct import Struct

from nfinspect.live.iptables import RulesError, execute
from nfinspect.rules import bridge

SETTINGS = Path("/proc/sys/net/bridge")
"""The settings of this process's network namespace; exists only with br_netfilter."""

RUN = Path("/run")

SO_NETNS_COOKIE = 71  # asm-generic/socket.h, since Linux 5.14
_COOKIE = Struct("=Q")


def apply() -> bool:
    """Apply settings and guard; returns whether the previous settings were saved just now.

    Raises RulesError; nothing is changed then.
    """
    _require_nft()
    kept = _kept()
    fresh = not kept.exists()
    before = _load()
    if fresh:
        _keep(kept, before)
    try:
        _set(bridge.SETTINGS)
        _nft("-f", "-", text=bridge.guard())
    except RulesError:
        if fresh:
            _put_back(kept)
        raise
    return fresh


def remove() -> bool:
    """Remove the guard and restore the settings; returns whether there was anything to do.

    Raises RulesError.
    """
    kept = _kept()
    guarded = shutil.which("nft") is not None and _is_guarded()
    if guarded:
        _nft("-f", "-", text=bridge.removal())
    known = kept.exists()
    if known:
        _put_back(kept)
    return guarded or known


def in_place() -> bool:
    """Whether the guard is there, or the settings are ours."""
    return _kept().exists() or (shutil.which("nft") is not None and _is_guarded())


def _require_nft() -> None:
    if shutil.which("nft") is None:
        raise RulesError("nft is not installed (apt-get install nftables), or not in PATH")


def _load() -> dict[str, int]:
    """Load br_netfilter if necessary; returns the previous settings."""
    if SETTINGS.exists():
        return _read(bridge.SETTINGS)
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(["modprobe", "br_netfilter"], capture_output=True, timeout=30)
    if not SETTINGS.exists():
        raise RulesError("br_netfilter is not available ('modprobe br_netfilter' fails)")
    return _read(bridge.SETTINGS) | bridge.AS_WITHOUT_THE_MODULE


def _read(names: dict[str, int]) -> dict[str, int]:
    try:
        return {name: int((SETTINGS / name).read_text()) for name in names}
    except (OSError, ValueError) as error:
        raise RulesError(f"cannot read the settings of br_netfilter: {error}") from error


def _set(values: dict[str, int]) -> None:
    for name, value in values.items():
        try:
            (SETTINGS / name).write_text(str(value))
        except OSError as error:
            raise RulesError(f"cannot set net.bridge.{name}: {error.strerror}") from error


def _is_guarded() -> bool:
    return execute(["nft", "list", "table", "bridge", bridge.TABLE]).returncode == 0


def _nft(*arguments: str, text: str) -> None:
    done = execute(["nft", *arguments], text)
    if done.returncode != 0:
        raise RulesError(f"nft: {done.stderr.strip() or f'exit status {done.returncode}'}")


# ---- the previous settings


def _kept() -> Path:
    return RUN / f"nfinspect-bridge-{namespace()}.conf"


def namespace() -> int:
    """Return a number that no other network namespace gets, at least as long as this one exists."""
    with socket.socket(socket.AF_UNIX) as any_socket:
        try:
            value = any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, _COOKIE.size)
            return int(_COOKIE.unpack(value)[0])
        except OSError:  # an older kernel: the inode is unique while the namespace exists
            return Path("/proc/self/ns/net").stat().st_ino


def _keep(file: Path, values: dict[str, int]) -> None:
    lines = ["# The settings before 'nfinspect rules --bridge --apply'; --remove restores them."]
    lines += [f"net.bridge.{name} = {value}" for name, value in values.items()]
    unfinished = file.with_suffix(".new")
    try:
        unfinished.write_text("\n".join([*lines, ""]))
        unfinished.rename(file)
    except OSError as error:
        raise RulesError(f"cannot write {file}: {error.strerror}") from error


def _put_back(file: Path) -> None:
    values = {}
    for line in file.read_text().splitlines():
        name, equals, value = line.removeprefix("net.bridge.").partition(" = ")
        if equals and "/" not in name:
            values[name] = int(value)
    if SETTINGS.exists():
        _set(values)
    file.unlink()
