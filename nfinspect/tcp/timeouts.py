"""When a connection times out (docs/appliance.md, sections 5 and 9)."""

from __future__ import annotations

from nfinspect.tcp.connection import CLOSED, ESTABLISHED, TcpConnection


def expires(connection: TcpConnection) -> float:
    """When the connection times out without further packets.

    The direction that has been quiet for longer counts: a live peer acknowledges whatever the
    other sends. Otherwise a client could keep entries alive for connections that the server
    has long forgotten, or never had.
    """
    timeouts = connection.plan.timeouts
    client, server = connection.client, connection.server
    if connection.timed_by_either and connection.phase >= ESTABLISHED:
        quiet_since = connection.last_seen
    elif not client.heard_from or not server.heard_from or connection.phase < ESTABLISHED:
        return connection.created + timeouts.embryonic
    else:
        quiet_since = min(client.last_seen, server.last_seen)
    if connection.phase is CLOSED:
        return quiet_since + connection.closed_quiet
    return quiet_since + (timeouts.half_closed if connection.half_closed else timeouts.idle)
