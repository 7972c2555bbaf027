"""Applying and removing rules with iptables and ip6tables, each table in one transaction."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from nfinspect.live import exempt_connections, ipsets
from nfinspect.rules.diversion import (
    NAT,
    RAW,
    TABLES,
    Diversion,
    application,
    are_others,
    our_chains,
    passes_marked,
    removal,
    translating,
    untracking,
)
from nfinspect.rules.interception import PROXY, SYNS, filling
from nfinspect.rules.kept import Kept, kept, restoring

TIMEOUT = 30.0
"""Seconds for one command; of these, up to 5 s wait for the lock of another iptables."""

IPV6_INTERFACES = Path("/proc/net/if_inet6")


class RulesError(Exception):
    """The rules cannot be applied or removed; the message says why."""


class AddressFamily(NamedTuple):
    """An IP version and its iptables program."""

    name: str
    program: str
    version: int


IPV4, IPV6 = AddressFamily("IPv4", "iptables", 4), AddressFamily("IPv6", "ip6tables", 6)


class Notice(str):
    """Said of rules that were applied, and no reason to worry."""


class _NoTableError(Exception):
    pass


def families() -> list[AddressFamily]:
    """Return the families that this kernel supports."""
    return [IPV4, IPV6] if IPV6_INTERFACES.exists() else [IPV4]


def apply(diversion: Diversion) -> list[str]:
    """Apply the rules in both families, replacing any earlier ones.

    Returns warnings. Raises RulesError; then nothing has been changed, unless the kernel rejects in
    the second family what it accepted in a test.
    """
    warnings = []
    texts = []
    named = False
    if diversion.intercepts:
        try:
            ipsets.create(each.version for each in families())
        except ipsets.SetsError as error:
            warnings.append(f"TCP intercept is not possible: {error}")
            diversion = replace(diversion, intercepts=False)
    for family in families():
        intercepted = family.version if diversion.intercepts else 0
        table, present = _best_table(family)
        if table != TABLES[0]:
            warnings.append(
                f"{family.name}: this kernel has no table {TABLES[0]}; the rules are at the end of"
                f" {table} FORWARD instead, ahead of the firewall's own rules"
            )
        open_ones = exempt_and_open(family, present, diversion.ports)
        if open_ones and are_others(present, diversion, family.version):
            warnings.append(
                Notice(
                    f"{family.name}: connections that are open and were exempt as they began stay so"
                    f" to their end: {open_ones}"
                )
            )
        text = application(diversion, table, family.version, present, keep_marked=bool(open_ones))
        try:
            raw = _list(family, RAW)
            named = named or _name_sets(raw)
            text += untracking(raw, intercepted)
        except _NoTableError:
            warnings.append(
                f"{family.name}: this kernel has no table {RAW}; on untracked connections, NAT may"
                f" change the packets that the filter sends"
            )
        nat = diversion.nat.get(family.version, ())
        try:
            text += translating(nat, _list(family, NAT), intercepted)
        except _NoTableError:
            if nat:
                warnings.append(
                    f"{family.name}: this kernel has no table {NAT}; addresses are not translated"
                )
        texts.append((family, text))
    for family, text in texts:
        _restore(family, text, "--test")
    for family, text in texts:
        _restore(family, text)
    if named and not diversion.intercepts:
        ipsets.destroy()
    return warnings


def exempt_and_open(family: AddressFamily, present: Sequence[str], ports: Sequence[int]) -> int:
    """Return how many open connections to servers' *ports* pass as exempt by the rules of a table."""
    if not passes_marked(present):
        return 0
    try:
        return exempt_connections.count(family.version, ports)
    except OSError:  # unknown: they would break if there are some
        return 1


def remove() -> bool:
    """Remove the rules from both families and all tables; returns whether there were any.

    Raises RulesError.
    """
    removed = named = False
    for family in families():
        for table, present in _all_tables(family):
            named = named or _name_sets(present)
            if text := removal(table, present):
                _restore(family, text)
                removed = True
    if named:
        ipsets.destroy()
    return removed


def _name_sets(present: Sequence[str]) -> bool:
    return f"-N {SYNS}" in present


def keep() -> dict[str, Kept]:
    """Return our rules as they are in place, by family, for `put_back`.

    Raises RulesError.
    """
    found = {}
    for family in families():
        tables = {table: kept(present) for table, present in _all_tables(family)}
        found[family.name] = {table: lines for table, lines in tables.items() if lines}
    return found


def put_back(before: Mapping[str, Kept]) -> bool:
    """Put the rules in place that `keep` has returned; returns whether they are others than those
    that are there.

    Raises RulesError; then nothing has been changed, unless the kernel rejects in the second family
    what it accepted in a test.
    """
    texts = []
    named = False
    for family in families():
        wanted = before.get(family.name, {})
        text = ""
        for table, present in _all_tables(family):
            named = named or _name_sets(present)
            text += restoring(table, wanted.get(table, []), present)
        if text:
            texts.append((family, text))
    if any("--match-set" in text for _, text in texts):
        try:
            ipsets.create(each.version for each in families())
        except ipsets.SetsError as error:
            raise RulesError(str(error)) from error
    for family, text in texts:
        _restore(family, text, "--test")
    for family, text in texts:
        _restore(family, text)
    if named:
        ipsets.destroy()  # those that no rule names any more
    return bool(texts)


def _all_tables(family: AddressFamily) -> Iterator[tuple[str, list[str]]]:
    for table in (*TABLES, RAW, NAT):
        with contextlib.suppress(_NoTableError):
            yield table, _list(family, table)


def fill(rules: Mapping[int, Sequence[str]]) -> bool:
    """Make these the rules of chain `PROXY`, by IP version; False if there is no such chain.

    Raises RulesError.
    """
    found = False
    for family in families():
        for table, present in listing(family).items():
            if f"-N {PROXY}" in present:
                found = True
                _restore(family, filling(table, rules.get(family.version, ())))
    return found


def listing(family: AddressFamily) -> dict[str, list[str]]:
    """Return the rules in each of `TABLES`, as ``iptables -S`` lists them, by table.

    Raises RulesError.
    """
    found = {}
    for table in TABLES:
        with contextlib.suppress(_NoTableError):
            found[table] = _list(family, table)
    return found


def in_place(family: AddressFamily) -> dict[str, list[str]]:
    """Return all rules of the tables that have rules of ours, by table.

    Raises RulesError.
    """
    if not any(our_chains(present) for present in listing(family).values()):
        return {}  # looking at further tables would load their modules
    return {table: present for table, present in _all_tables(family) if kept(present)}


def ours_in_place() -> bool:
    """Whether there are rules of nfinspect.

    Raises RulesError.
    """
    return any(our_chains(p) for family in families() for p in listing(family).values())


def others_in_place(diversion: Diversion) -> bool:
    """Whether there are rules of nfinspect that are not those of *diversion*, or of another version.

    Raises RulesError.
    """
    for family in families():
        for table in TABLES:
            with contextlib.suppress(_NoTableError):
                if are_others(_list(family, table), diversion, family.version):
                    return True
    return False


def _best_table(family: AddressFamily) -> tuple[str, list[str]]:
    for table in TABLES:
        try:
            return table, _list(family, table)
        except _NoTableError:
            continue
    raise RulesError(f"{family.name}: this kernel has neither table {' nor '.join(TABLES)}")


def _list(family: AddressFamily, table: str) -> list[str]:
    done = execute([family.program, "--wait", "5", "-t", table, "-S"])
    if "does not exist" in done.stderr:
        raise _NoTableError
    _check(family, done)
    return done.stdout.splitlines()


def _restore(family: AddressFamily, text: str, *options: str) -> None:
    program = f"{family.program}-restore"
    _check(family, execute([program, "--noflush", "--wait", "5", *options], text))


def execute(command: list[str], standard_input: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command; its exit status is not checked.

    Raises RulesError if it cannot be run.
    """
    try:
        return subprocess.run(
            command,
            input=standard_input,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            process_group=0,  # Ctrl-C is for nfinspect alone
        )
    except FileNotFoundError as error:
        raise RulesError(
            f"{command[0]} is not installed (apt-get install iptables), or not in PATH"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RulesError(f"cannot run {command[0]}: {error}") from error


def _check(family: AddressFamily, done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise RulesError(f"{family.name}: {said}")
