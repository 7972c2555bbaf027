"""The kernel's sets of those whom TCP intercept protects (`rules.interception`).

An entry lasts for `LIFETIME` and is renewed while it is wanted: if the filter is killed, intercept ends.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Collection, Iterable, Iterator
from time import sleep
from typing import Any

from nfinspect.packet.segment import TCP_PROTOCOL
from nfinspect.rules.interception import LIFETIME, kinds, pairs_set, servers_set
from nfinspect.tcp.interception import Target

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


ATTEMPTS, PAUSE = 10, 0.05
"""The kernel removes a rule a moment later, and its set is in use until then; seconds."""

IPSET_ERR_BUSY = 4102
"""linux/netfilter/ipset/ip_set.h: a rule names the set."""


class SetsError(Exception):
    """The sets cannot be used; the message says why."""

    def __init__(self, message: str, *, busy: bool = False) -> None:
        super().__init__(message)
        self.busy = busy
        """A rule names the set."""


@contextlib.contextmanager
def _opened() -> Iterator[Any]:
    from pyroute2.ipset import IPSet  # imported late, as it takes a while
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPSet() as sets:
            yield sets
    except NetlinkError as error:
        busy = error.code in (errno.EBUSY, IPSET_ERR_BUSY)
        raise SetsError(f"the kernel's sets (ip_set): {error}", busy=busy) from error
    except OSError as error:
        raise SetsError(f"this kernel has no sets (ip_set): {error}") from error


def create(versions: Iterable[int]) -> None:
    """Create the sets, unless they are there.

    Raises SetsError.
    """
    with _opened() as sets:
        for version in versions:
            for name, kind in kinds(version):
                sets.create(
                    name,
                    stype=kind,
                    family=FAMILIES[version],
                    exclusive=False,
                    timeout=LIFETIME,
                )


def destroy() -> None:
    """Destroy the sets, except those that rules name."""
    names = [each(version) for version in FAMILIES for each in (servers_set, pairs_set)]
    for _ in range(ATTEMPTS):
        for name in list(names):
            try:
                with _opened() as sets:
                    sets.destroy(name)
            except SetsError as error:
                if error.busy:
                    continue
            names.remove(name)
        if not names:
            return
        sleep(PAUSE)


def emptied() -> bool:
    """Empty the sets, and return whether they exist."""
    try:
        with _opened() as sets:
            sets.headers(servers_set(4))
        for version in FAMILIES:
            for name in (servers_set(version), pairs_set(version)):
                with contextlib.suppress(SetsError), _opened() as sets:  # no IPv6
                    sets.flush(name)
        return True
    except SetsError:
        return False


def renew(wanted: Collection[Target], gone: Collection[Target]) -> None:
    """Let SYNs of the *wanted* be intercepted from now on, and of the *gone* no more.

    Raises SetsError.
    """
    from pyroute2.netlink.exceptions import NetlinkError

    with _opened() as sets:
        for target in gone:
            name, kind, entry, family = _entry(target)
            try:
                sets.delete(name, entry, family=family, etype=kind)
            except NetlinkError as error:
                if error.code not in (errno.ENOENT, IPSET_ERR_EXIST):
                    raise
        for target in wanted:
            name, kind, entry, family = _entry(target)
            sets.add(name, entry, family=family, etype=kind, exclusive=False, timeout=LIFETIME)


IPSET_ERR_EXIST = 4103
"""linux/netfilter/ipset/ip_set.h: the entry is not there, or is there already."""


def _entry(target: Target) -> tuple[str, str, tuple[object, ...], int]:
    from pyroute2.ipset import PortEntry

    version = 4 if len(target.server) == 4 else 6
    family = FAMILIES[version]
    server = socket.inet_ntop(family, target.server)
    where = server, PortEntry(target.port, protocol=TCP_PROTOCOL)
    if not target.client:
        return servers_set(version), "ip,port", where, family
    client = socket.inet_ntop(family, target.client)
    return pairs_set(version), "ip,port,ip", (*where, client), family
