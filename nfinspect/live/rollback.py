"""The way back from rules that were applied: the set before them is kept, and put back if somebody
asks for it, or if nobody confirms in time.

The wait is a process of its own, in its own session: it survives the command that began it, also if
that is killed, and the terminal. It begins before the rules are applied. It does not survive SIGKILL or
a reboot, which takes the rules away too; what is kept is in a file in /run/nfinspect, so `roll_back` still
works.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import sys
import syslog
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nfinspect.live import bridge, iptables
from nfinspect.live.closed_file import DIRECTORY
from nfinspect.live.iptables import RulesError
from nfinspect.rules.diversion import Diversion
from nfinspect.rules.kept import Kept

PAUSE = 0.5
"""Seconds between two looks whether somebody has confirmed."""

ATTEMPTS = 30
"""To roll back, if the kernel or another iptables is in the way; a second apart."""


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What nfinspect has in place."""

    rules: dict[str, Kept]
    """By address family."""
    bridge: bool = False
    """With the guard and the settings of a bridge."""


@dataclass(slots=True)
class History:
    """What the file says."""

    before: RuleSet | None = None
    """The set before the one in place; None if none was applied since the boot, or it was put back."""
    token: str = ""
    """Whoever waits for the confirmation has it; empty if nobody waits."""
    expired: bool = False
    """The last set was not confirmed, and was rolled back."""


def apply(
    diversion: Diversion,
    *,
    bridged: bool = False,
    confirm: float = 0.0,
    wait: Callable[[str, float], None] | None = None,
) -> list[str]:
    """Apply the rules, those for a bridge first if *bridged*, and keep the way back. If *confirm* is
    not 0, they are rolled back in so many seconds unless `confirmed` is called. Another application
    without it ends such a wait.

    Returns warnings. Raises RulesError; then nothing has been changed, as `iptables.apply` says.
    """
    with _history() as history:
        before = _in_place()
        kept = history.before
        if not history.token:  # else the set before is the last one that was confirmed
            history.before = before
        history.token = secrets.token_hex(8) if confirm else ""
        history.expired = False
        if history.token:
            _write(history)
            (wait or _wait_in_the_background)(history.token, confirm)
        fresh = False
        try:
            fresh = bridged and bridge.apply()
            warnings = iptables.apply(diversion)
        except RulesError:
            if fresh:
                with contextlib.suppress(RulesError):
                    bridge.remove()
            history.before, history.token = kept, ""
            raise
        if history.before == _in_place():  # nothing was changed
            history.before = kept
        return warnings


def remove() -> bool:
    """Remove what is in place, and the way back; returns whether there was anything.

    Raises RulesError.
    """
    with _history() as history:
        removed = iptables.remove() | bridge.remove()
        history.before, history.token, history.expired = None, "", False
        return removed


def confirmed() -> None:
    """End the wait: the rules in place stay.

    Raises RulesError if nobody waits.
    """
    with _history() as history:
        if not history.token:
            if history.expired:
                raise RulesError("too late: they were rolled back")
            raise RulesError("no rules wait for that")
        history.token = ""


def roll_back() -> bool:
    """Put the set back that was in place before; returns whether that changed anything.

    Raises RulesError.
    """
    with _history() as history:
        if history.before is None:
            raise RulesError("no earlier set is known")
        changed = _put_back(history.before)
        history.before, history.token = None, ""
        return changed


def _in_place() -> RuleSet:
    return RuleSet(iptables.keep(), bridge.in_place())


def _put_back(before: RuleSet) -> bool:
    if before.bridge and not bridge.in_place():
        bridge.apply()
    changed = iptables.put_back(before.rules)
    if not before.bridge:
        changed |= bridge.remove()
    return changed


# The wait.


def _wait_in_the_background(token: str, seconds: float) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        os.chdir("/")
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        os.closerange(3, 1024)
        wait(token, seconds)
    finally:
        os._exit(0)


def wait(token: str, seconds: float) -> None:
    """Wait for the confirmation, and roll back without it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(PAUSE)
        if _read(_file()).token != token:
            return
    for _ in range(ATTEMPTS):
        try:
            with _history() as history:
                if history.token != token or history.before is None:
                    return
                _put_back(history.before)
                history.before, history.token, history.expired = None, "", True
            syslog.syslog(syslog.LOG_WARNING, "nfinspect: rules not confirmed: rolled back")
            return
        except (RulesError, OSError) as error:
            syslog.syslog(syslog.LOG_ERR, f"nfinspect: cannot roll the rules back: {error}")
            time.sleep(1)


# The file.


def _file() -> Path:
    return DIRECTORY / f"rules-{bridge.namespace()}.json"


@contextlib.contextmanager
def _history() -> Iterator[History]:
    """The file's contents, for one process at a time; what is changed is written."""
    file = _file()
    try:
        DIRECTORY.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RulesError(f"cannot use {DIRECTORY}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        history = _read(file)
        try:
            yield history
        finally:
            if history == History():
                file.unlink(missing_ok=True)
            else:
                _write(history)
    finally:
        os.close(lock)


def _read(file: Path) -> History:
    """Return what the file says; a damaged one says nothing."""
    try:
        found: dict[str, Any] = json.loads(file.read_text())
        before = found["before"]
        return History(
            None if before is None else RuleSet(before["rules"], before["bridge"]),
            found["token"],
            found["expired"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return History()


def _write(history: History) -> None:
    file = _file()
    unfinished = file.with_suffix(".new")
    try:
        unfinished.touch(0o600)
        unfinished.write_text(json.dumps(asdict(history)))
        unfinished.rename(file)
    except OSError as error:
        raise RulesError(f"cannot write {file}: {error.strerror}") from error
