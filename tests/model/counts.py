"""What admission must have counted, by the connections that are open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from nfinspect.engine import Engine
from nfinspect.tcp.connection import CLOSED, ESTABLISHED, OpenConnection


def check_counts(engine: Engine, connections: Iterable[OpenConnection]) -> None:
    """Every count is what *connections* make it; those that inspection has closed count no more."""
    wanted: Counter[bytes] = Counter()
    for connection in connections:
        if connection.phase is CLOSED:
            continue
        ends = connection.identity
        for scope in connection.plan.scopes:
            server, client = ends.server.address, ends.client.address
            embryonic = connection.phase < ESTABLISHED
            wanted[b"s" + scope.key + server] += 1
            wanted[b"S" + scope.key + server] += embryonic
            wanted[b"c" + scope.key + client] += bool(scope.limits.per_client)
            per_client = bool(scope.limits.per_client_embryonic)
            wanted[b"C" + scope.key + client] += embryonic and per_client
    admission = engine._core.table.admission
    assert admission._counts._counts == +wanted
    assert admission._above <= set(+wanted)
