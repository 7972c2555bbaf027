"""Segments of no open connection, and SYN, handshake and RST of open ones.

``admit`` refuses only when the table is full; connection limits and TCP intercept belong there.
"""

from __future__ import annotations

import enum
from dataclasses import replace

from nfinspect.actions import Action, Drop, DropReason, Emit
from nfinspect.arrival import Arrival
from nfinspect.esmtp.inspector import Inspector
from nfinspect.events import (
    Connection,
    ConnectionBuilt,
    DeniedNoConnection,
    Direction,
    DuplicateSyn,
    Endpoint,
    TableFull,
    TeardownReason,
    UninspectedCause,
)
from nfinspect.flow.core import Core
from nfinspect.flow.ending import end, may_reopen, repeats_finished, reset
from nfinspect.flow.uninspected import stop_inspecting
from nfinspect.flow.verdict import ENDING_FLAGS, pass_on
from nfinspect.packet.segment import ACK, FIN, RST, SYN, Segment
from nfinspect.policy.model import Plan
from nfinspect.tcp import handshake
from nfinspect.tcp.connection import LARGEST_WINDOW_SCALE, Half, Phase, TcpConnection


class Admission(enum.Enum):
    """What happens to a SYN that opens a new connection."""

    ADMIT = enum.auto()
    REFUSE = enum.auto()


def admit(core: Core) -> Admission:
    """Whether a new connection may enter the table; nothing is evicted to make room."""
    return Admission.REFUSE if core.table.full else Admission.ADMIT


def begin(core: Core, arrival: Arrival, segment: Segment, actions: list[Action]) -> Half | None:
    """A segment that belongs to no connection in the table: it opens one, belongs to one older than
    the filter, repeats a segment of one that is over, or is stray. None if it has been decided."""
    now, key = arrival.now, segment.key
    if key == segment.reverse_key:  # a socket connected to itself: its directions look the same
        actions.append(Drop(arrival.token, DropReason.MALFORMED))
        return None
    remembered = core.table.recall(key)
    if remembered is not None and remembered.closed_by_inspection:
        if not segment.flags & SYN:
            remembered.last_seen = now
        actions.append(Drop(arrival.token, DropReason.CLOSED_CONNECTION))
        return None
    found = core.table.find_finished(key, now)
    if found is not None:
        finished, client_key = found
        from_client = key == client_key
        if not may_reopen(finished, from_client, segment) and repeats_finished(
            finished, from_client, arrival, segment, actions
        ):
            return None
    if segment.flags & (SYN | ACK) == SYN:
        return _new_connection(core, arrival, segment, actions)
    recorded_answer = core.options.recorded and segment.flags & SYN
    if (
        remembered is None
        and (now < core.pickup_until or recorded_answer)
        and core.policy.concerns(segment.source_port, segment.destination_port)
    ):
        return _pick_up(core, arrival, segment, actions)
    source, destination = core.endpoints(arrival, segment)
    actions.append(Emit(DeniedNoConnection(source, destination, segment.flags), arrival.token))
    actions.append(Drop(arrival.token, DropReason.NO_CONNECTION))
    return None


def opening_or_reset(
    core: Core, half: Half, arrival: Arrival, segment: Segment, actions: list[Action]
) -> bool:
    """A segment with SYN or RST, without ACK, or before the handshake is complete. True if it is
    an ordinary segment, which ``established`` must still decide."""
    connection, flags = half.connection, segment.flags
    if flags & RST:
        _reset(core, half, arrival, segment, actions)
        return False
    if not flags & (SYN | ACK):
        actions.append(Drop(arrival.token, DropReason.BAD_FLAGS))
        return False
    if flags & (SYN | ACK) == SYN and _seen_from_one_side_only(half):
        end(core, connection, arrival.now, TeardownReason.UNKNOWN, actions, arrival.token)
        begun = _new_connection(core, arrival, segment, actions)
        if begun is None:
            return False
        half, connection = begun, begun.connection
    before = connection.phase
    reason = handshake.receive(half, segment, recorded=core.options.recorded)
    if reason is not None:
        if reason is DropReason.DUPLICATE_SYN:
            actions.append(Emit(DuplicateSyn(connection.name), arrival.token))
        actions.append(Drop(arrival.token, reason))
        return False
    half.last_seen = arrival.now
    if arrival.link_source:
        half.port, half.link_source = arrival.ingress, arrival.link_source
    if connection.phase is Phase.ESTABLISHED and not flags & SYN:
        if before is not Phase.ESTABLISHED:
            core.table.set_timer(connection)
        return True
    # The server would read TCP Fast Open data (RFC 7413) before it could be inspected.
    if segment.length:
        pass_on(half, arrival, segment, actions, b"", ENDING_FLAGS)
    else:
        pass_on(half, arrival, segment, actions)
    return False


def _seen_from_one_side_only(half: Half) -> bool:
    """Whether the connection was picked up, and only one side has been seen of it: a single forged
    segment suffices for that, and must not keep a client from connecting."""
    picked_up = half.initial is None and half.peer.initial is None
    return (
        picked_up
        and half.direction is Direction.REQUEST
        and (half.last_seen is None or half.peer.last_seen is None)
    )


def _reset(
    core: Core, half: Half, arrival: Arrival, segment: Segment, actions: list[Action]
) -> None:
    ends = handshake.resets(half, segment)
    if ends is None or segment.flags & SYN:
        actions.append(Drop(arrival.token, DropReason.BAD_RST))
        return
    pass_on(half, arrival, segment, actions, b"" if segment.length else None)
    if ends:
        reset(core, half, arrival.now, actions, arrival.token)


def _new_connection(
    core: Core, arrival: Arrival, segment: Segment, actions: list[Action]
) -> Half | None:
    if segment.flags & (FIN | RST):
        actions.append(Drop(arrival.token, DropReason.BAD_FLAGS))
        return None
    if core.policy.plan(segment.source_port) is not None:
        # No mail server opens connections from its port. A client that forges such a SYN would be
        # the "server" of its own uninspected connection.
        actions.append(Drop(arrival.token, DropReason.BAD_SYN))
        return None
    source, destination = core.endpoints(arrival, segment)
    if admit(core) is Admission.REFUSE:
        actions.append(Emit(TableFull(source, destination), arrival.token))
        actions.append(Drop(arrival.token, DropReason.TABLE_FULL))
        return None
    plan = core.plan(source, destination)
    for key in (segment.key, segment.reverse_key):
        core.table.forget(key)
    connection = _create(core, segment.key, source, destination, plan, arrival, actions)
    handshake.begin(connection.client, segment)
    connection.client.last_seen = arrival.now
    if arrival.ingress != arrival.egress:
        connection.server.barred_port = arrival.ingress
    return connection.client


def _pick_up(core: Core, arrival: Arrival, segment: Segment, actions: list[Action]) -> Half | None:
    """Track a connection older than the filter, without inspecting it."""
    if segment.flags & RST or core.table.full:
        cut = segment.flags & RST and segment.length
        pass_on(None, arrival, segment, actions, b"" if cut else None)
        return None
    source, destination = core.endpoints(arrival, segment)
    from_client = core.policy.plan(segment.destination_port) is not None
    client, server = (source, destination) if from_client else (destination, source)
    key = segment.key if from_client else segment.reverse_key
    plan = replace(core.plan(client, server), inspection=None)
    connection = _create(core, key, client, server, plan, arrival, actions)
    connection.phase = Phase.ESTABLISHED
    half = connection.client if from_client else connection.server
    syn = segment.flags & SYN
    half.next = half.acknowledged = segment.sequence + (1 if syn else 0)
    half.peer.next = half.peer.acknowledged = segment.acknowledgment
    half.scale = half.peer.scale = LARGEST_WINDOW_SCALE
    half.last_seen = arrival.now
    one_sided = core.options.recorded and syn
    cause = UninspectedCause.ONE_SIDED if one_sided else UninspectedCause.MIDSTREAM
    stop_inspecting(core, connection, cause, arrival, actions)
    core.table.set_timer(connection)
    if syn:
        pass_on(half, arrival, segment, actions, b"" if segment.length else None)
        return None
    return half


def _create(
    core: Core,
    key: bytes,
    client: Endpoint,
    server: Endpoint,
    plan: Plan,
    arrival: Arrival,
    actions: list[Action],
) -> TcpConnection:
    core.connection_number += 1
    outbound = core.is_outbound(client, server)
    name = Connection(core.connection_number, client, server, outbound)
    connection = TcpConnection(name, key, plan, arrival.now)
    connection.closed_quiet = core.options.limits.closed_quiet
    connection.recorded = core.options.recorded
    if plan.inspection is not None:
        connection.totals = core.totals[plan.inspection]
        connection.inspector = Inspector(
            name,
            plan.inspection.map,
            transcript=core.options.transcript,
            recorded=core.options.recorded,
        )
    core.table.add(connection)
    actions.append(Emit(ConnectionBuilt(name), arrival.token))
    return connection
