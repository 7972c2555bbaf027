"""Connections that the kernel passes by itself and that limits count: exempt ones, and those to ports that
are not diverted (`nfinspect.tcp.kernel_connection`).

Their opening packets come by, and pass unchanged if the limits let them. What becomes of them is told by the
driver, which asks connection tracking. A connection whose other packets come by, too, is not passed by
the kernel after all (the rules do not say of all exempt connections that they are), and is followed here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from nfinspect.actions import Accept
from nfinspect.arrival import Arrival
from nfinspect.events import (
    Connection,
    ConnectionBuilt,
    ConnectionTornDown,
    Endpoint,
    TableFull,
    TeardownReason,
)
from nfinspect.flow.core import INSIDE, OUTSIDE, Core
from nfinspect.packet.options import syn_options
from nfinspect.packet.segment import ACK, RST, SYN, Segment
from nfinspect.policy.model import Plan
from nfinspect.tcp.connection import ESTABLISHED, SYN_RECEIVED, TcpConnection
from nfinspect.tcp.kernel_connection import KernelConnection, Sighting, TrackedState
from nfinspect.tcp.stream import Stream


def passes(core: Core, plan: Plan, port: int) -> bool:
    """Whether the kernel alone passes the connections of this plan to a server's port: no rule diverts
    the port, or the class exempts them from inspection."""
    if not core.options.kernel_passes:
        return False
    if core.policy.plan(port) is None:
        return True
    return plan.inspection is None and bool(plan.decided_by) and not plan.state_bypass


def begin(core: Core, arrival: Arrival, segment: Segment, plan: Plan) -> None:
    """Count a connection from its SYN on, or if it is connected by TCP intercept, from the server's
    SYN-ACK."""
    source, destination = core.endpoints(arrival, segment)
    if segment.flags & ACK:
        connection = _create(core, segment.reverse_key, (destination, source), plan)
        connection.phase = SYN_RECEIVED
    else:
        connection = _create(core, segment.key, (source, destination), plan)
        connection.opened_with(segment.sequence)
    core.actions.append(Accept(arrival.token))


def another(
    core: Core, arrival: Arrival, segment: Segment, connection: KernelConnection
) -> Stream | None:
    """Another packet of one that is counted. None if it is decided, or if it begins a new connection,
    which the caller sees from the table; otherwise the connection is followed here from now on."""
    flags = segment.flags
    from_client = segment.key == connection.key
    if flags & (SYN | ACK) == SYN:
        if from_client and segment.sequence == connection.initial:
            core.actions.append(Accept(arrival.token))
        else:  # for connection tracking it is a new connection
            _end(core, connection, TeardownReason.UNKNOWN)
        return None
    if flags & SYN:
        if not from_client:
            server = connection.identity.server
            core.table.admission.interceptions.answers(
                server.address, server.port, syn_options(segment), arrival.link_source
            )
        core.actions.append(Accept(arrival.token))
        return None
    if flags & RST:
        core.actions.append(Accept(arrival.token))
        return None
    return _follow(core, segment, connection)


def _follow(core: Core, segment: Segment, known: KernelConnection) -> Stream:
    """It goes on as one that was picked up."""
    table = core.table
    table.remove_passed(known)
    connection = TcpConnection(known.identity, known.key, known.plan, known.created, core.ledger)
    connection.uninspected = True
    connection.closed_quiet = core.options.limits.closed_quiet
    table.add(connection)
    connection.phase = ESTABLISHED
    table.establish(connection)
    stream = connection.client if segment.key == connection.key else connection.server
    stream.pick_up_at(segment.sequence)
    stream.peer.pick_up_at(segment.acknowledgment)
    return stream


def told(core: Core, sighting: Sighting) -> None:
    """Connection tracking has told something of a connection."""
    state = sighting.state
    known = core.table.passed.get(sighting.key)
    if known is None:
        if state < TrackedState.FINISHED:
            _adopt(core, sighting)
        return
    if state < TrackedState.FINISHED:
        if known.sighted(sighting, core.now):
            core.table.establish_passed(known)
    elif known.number == sighting.number:  # else it is of an earlier connection of the same ends
        known.count(sighting)
        _end(core, known, _reason(known, state))


def looked(core: Core, sightings: Collection[Sighting], since: float) -> None:
    """The whole table of connection tracking was read, beginning at *since*: what is missing is over, and
    who has been quiet for too long is ended."""
    present = set()
    others = []
    for sighting in sightings:
        present.add(sighting.key)
        if sighting.key in core.table.passed:
            told(core, sighting)
        else:
            others.append(sighting)
    for known in list(core.table.passed.values()):
        if known.number and known.known_since < since and known.key not in present:
            _end(core, known, _reason(known, TrackedState.GONE))
        elif known.phase is ESTABLISHED:
            timeouts = known.plan.timeouts
            longest = timeouts.half_closed if known.half_closed else timeouts.idle
            if core.now - known.last_seen >= longest:
                timed_out(core, known)
    for sighting in others:  # now that there is room
        told(core, sighting)


def timed_out(core: Core, connection: KernelConnection) -> None:
    """End a connection that has timed out, in connection tracking too."""
    reason = TeardownReason.CONNECTION_TIMEOUT
    if connection.phase < ESTABLISHED:
        reason = TeardownReason.SYN_TIMEOUT
    elif connection.half_closed:
        reason = TeardownReason.FIN_TIMEOUT
    if connection.handle:
        core.forgotten.append(connection.handle)
    _end(core, connection, reason)


def clear(core: Core, connection: KernelConnection) -> None:
    """End the connection because an operator wants it; the driver makes connection tracking forget it."""
    _end(core, connection, TeardownReason.CLEARED)


def _adopt(core: Core, sighting: Sighting) -> None:
    """Count a connection of which no packet came by: it is older than the filter, or than the limit."""
    key, table = sighting.key, core.table
    half = (len(key) - 4) // 2
    ends = (
        Endpoint(OUTSIDE, key[:half], int.from_bytes(key[-4:-2])),
        Endpoint(INSIDE, key[half:-4], int.from_bytes(key[-2:])),
    )
    plan = core.plan(*ends)
    if not plan.scopes or key in table.streams:
        return
    if table.full:
        core.emit(TableFull(*ends))
        return
    if plan.inspection is not None:  # it began before the policy said so
        plan = replace(plan, inspection=None)
    connection = _create(core, key, ends, plan)
    if connection.sighted(sighting, core.now):
        table.establish_passed(connection)


def _create(
    core: Core, key: bytes, ends: tuple[Endpoint, Endpoint], plan: Plan
) -> KernelConnection:
    core.connection_number += 1
    identity = Connection(core.connection_number, *ends, core.is_outbound(*ends))
    connection = KernelConnection(identity, key, plan, core.now)
    core.table.add_passed(connection)
    client, server = ends
    core.emit(ConnectionBuilt(identity, core.mapped(client, server), core.mapped(server, client)))
    return connection


def _reason(connection: KernelConnection, state: TrackedState) -> TeardownReason:
    if state is TrackedState.FINISHED:
        return TeardownReason.TCP_FINS
    if state is TrackedState.GONE and connection.phase < ESTABLISHED:
        return TeardownReason.SYN_TIMEOUT
    if state is TrackedState.GONE and connection.half_closed:
        return TeardownReason.FIN_TIMEOUT
    return TeardownReason.UNKNOWN


def _end(core: Core, connection: KernelConnection, reason: TeardownReason) -> None:
    core.table.remove_passed(connection)
    lasted = core.now - connection.created
    core.emit(ConnectionTornDown(connection.identity, reason, lasted, connection.payload_bytes))
