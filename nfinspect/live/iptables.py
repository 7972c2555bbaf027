"""Applying and removing rules with iptables and ip6tables, each table in one transaction."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from nfinspect.rules.diversion import RAW, TABLES, Diversion, application, removal, untracking

TIMEOUT = 30.0
"""Seconds for one command; the lock of another iptables is waited for 5 s."""

IPV6_INTERFACES = Path("/proc/net/if_inet6")


class RulesError(Exception):
    """The rules cannot be applied or removed; the message says why."""


class Family(NamedTuple):
    """One of the two programs that keep rules."""

    name: str
    program: str


IPV4, IPV6 = Family("IPv4", "iptables"), Family("IPv6", "ip6tables")


class _NoTableError(Exception):
    pass


def families() -> list[Family]:
    """Return the families that this kernel speaks."""
    return [IPV4, IPV6] if IPV6_INTERFACES.exists() else [IPV4]


def apply(diversion: Diversion) -> list[str]:
    """Put the rules in place in both families, instead of those that may be there already.

    Returns warnings. Raises RulesError; nothing is changed then, unless the kernel refuses in the
    second family what it has said it would take.
    """
    warnings = []
    texts = []
    for family in families():
        table, present = _best_table(family)
        if table != TABLES[0]:
            warnings.append(
                f"{family.name}: this kernel has no table {TABLES[0]}; the rules stand at the end"
                f" of {table} FORWARD, before the firewall's own decisions"
            )
        text = application(diversion, table, present)
        try:
            text += untracking(_list(family, RAW))
        except _NoTableError:
            warnings.append(
                f"{family.name}: this kernel has no table {RAW}; where connections are not tracked,"
                f" what the filter itself sends may be translated"
            )
        texts.append((family, text))
    for family, text in texts:
        _restore(family, text, "--test")
    for family, text in texts:
        _restore(family, text)
    return warnings


def remove() -> bool:
    """Take out, in both families and all tables, what `apply` put there; tell if there was any.

    Raises RulesError.
    """
    removed = False
    for family in families():
        for table in (*TABLES, RAW):
            try:
                text = removal(table, _list(family, table))
            except _NoTableError:
                continue
            if text:
                _restore(family, text)
                removed = True
    return removed


def _best_table(family: Family) -> tuple[str, list[str]]:
    for table in TABLES:
        try:
            return table, _list(family, table)
        except _NoTableError:
            continue
    raise RulesError(f"{family.name}: this kernel has neither table {' nor '.join(TABLES)}")


def _list(family: Family, table: str) -> list[str]:
    done = execute([family.program, "--wait", "5", "-t", table, "-S"])
    if "does not exist" in done.stderr:
        raise _NoTableError
    _check(family, done)
    return done.stdout.splitlines()


def _restore(family: Family, text: str, *options: str) -> None:
    program = f"{family.program}-restore"
    _check(family, execute([program, "--noflush", "--wait", "5", *options], text))


def execute(command: list[str], standard_input: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command, whatever it returns.

    Raises RulesError if it cannot be run.
    """
    try:
        return subprocess.run(
            command, input=standard_input, capture_output=True, text=True, timeout=TIMEOUT
        )
    except FileNotFoundError as error:
        raise RulesError(
            f"{command[0]} is not installed (apt-get install iptables), or not in PATH"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RulesError(f"{command[0]} cannot be run: {error}") from error


def _check(family: Family, done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise RulesError(f"{family.name}: {said}")
