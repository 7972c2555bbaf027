"""Segments of no open connection, and SYN, handshake and RST of open ones."""

from __future__ import annotations

from dataclasses import replace

from nfinspect.actions import Accept, DropReason
from nfinspect.arrival import Arrival
from nfinspect.events import (
    REPLY,
    REQUEST,
    Connection,
    ConnectionBuilt,
    DeniedNoConnection,
    DuplicateSyn,
    Endpoint,
    LimitKind,
    LimitReached,
    TableFull,
    TeardownReason,
    Translated,
    UninspectedCause,
)
from nfinspect.flow import intercept, kernel
from nfinspect.flow.core import INSIDE, OUTSIDE, Core
from nfinspect.flow.ending import end, of_finished, reset
from nfinspect.flow.idle import ask
from nfinspect.flow.passage import ENDING_FLAGS, Passage, pass_stray
from nfinspect.flow.uninspected import stop_inspecting
from nfinspect.packet.edit import rewrite
from nfinspect.packet.options import syn_options, with_segment_size
from nfinspect.packet.segment import ACK, FIN, RST, SYN, Segment, parse
from nfinspect.policy.model import Plan, SegmentSizes
from nfinspect.tcp import handshake
from nfinspect.tcp.admission import Decision, Verdict
from nfinspect.tcp.connection import CLOSED, ESTABLISHED, TcpConnection
from nfinspect.tcp.interception import Target
from nfinspect.tcp.sequence import UNKNOWN
from nfinspect.tcp.stream import Stream


def begin(core: Core, arrival: Arrival, segment: Segment) -> Stream | None:
    """A segment that belongs to no connection in the table: it opens one, belongs to one older than
    the filter, repeats a segment of one that is over, or is stray. None if it has been decided."""
    now, key = arrival.now, segment.key
    if key == segment.reverse_key:  # a socket connected to itself: its directions look the same
        core.drop(arrival, DropReason.MALFORMED)
        return None
    passed = core.table.find_passed(key)
    if passed is not None:
        stream = kernel.another(core, arrival, segment, passed)
        if stream is not None or passed.key in core.table.passed:
            return stream
    remembered = core.table.recall(key)
    if remembered is not None and remembered.closed_by_inspection:
        if not segment.flags & SYN:
            remembered.heard(now)
        core.drop(arrival, DropReason.CLOSED_CONNECTION)
        return None
    if of_finished(core, arrival, segment):
        return None
    if segment.flags & (SYN | ACK) == SYN:
        return _new_connection(core, arrival, segment)
    if segment.flags & SYN and core.table.admission.interceptions.proven(
        segment.destination, segment.source, segment.source_port
    ):
        return _proxied(core, arrival, segment)
    refused = core.table.refused_for(key)
    if refused is not None:  # in a capture, and in monitor mode: its packets go on
        core.drop(arrival, refused)
        return None
    one_sided = core.permissions.missing_side and segment.flags & SYN
    if (
        remembered is None
        and (now < core.pickup_until or one_sided)
        and core.policy.concerns(segment.source_port, segment.destination_port)
    ):
        return _pick_up(core, arrival, segment)
    source, destination = core.endpoints(arrival, segment)
    core.emit(DeniedNoConnection(source, destination, segment.flags))
    core.drop(arrival, DropReason.NO_CONNECTION)
    return None


def opening(passage: Passage) -> Passage | None:
    """A segment with SYN or RST, without ACK, or before the handshake is complete. None if it has
    been decided; otherwise it is an ordinary segment, placed anew if the handshake has just told
    where the streams begin."""
    core, arrival, segment, stream = (
        passage.core,
        passage.arrival,
        passage.segment,
        passage.stream,
    )
    flags = segment.flags
    if flags & RST:
        _reset(passage)
        return None
    if not flags & (SYN | ACK):
        passage.drop(DropReason.BAD_FLAGS)
        return None
    closed = stream.connection.phase is CLOSED  # the ends got an RST, see `ending.may_reopen`
    if flags & (SYN | ACK) == SYN and (closed or _seen_from_one_side_only(stream)):
        end(core, stream.connection, None if closed else TeardownReason.UNKNOWN)
        begun = _new_connection(core, arrival, segment)
        if begun is None:
            return None
        stream = begun
    connection = stream.connection
    before = connection.phase
    arrived, sizes = segment, connection.plan.segment_sizes
    if flags & SYN and (sizes.largest or sizes.smallest):
        segment = _bounded(segment, sizes)
    reason = handshake.receive(stream, segment, incomplete=core.permissions.incomplete_handshake)
    if reason is not None:
        if reason is DropReason.DUPLICATE_SYN:
            core.emit(DuplicateSyn(connection.identity))
        core.drop(arrival, reason)
        if connection.awaits_offset and stream.direction is REPLY:
            ask(core, stream.peer)  # the server speaks already; it will do so again
        return None
    stream.heard(arrival.now)
    if arrival.link_source:
        stream.came_from(arrival.ingress, arrival.link_source)
    if before is not ESTABLISHED:
        passage = Passage(core, arrival, arrived, stream)
    passage.rewrite(segment)
    if connection.phase is ESTABLISHED and not flags & SYN:
        if before is not ESTABLISHED:
            core.table.establish(connection)
        return passage
    # The server would read TCP Fast Open data (RFC 7413) before it could be inspected.
    if segment.length:
        passage.pass_on(b"", ENDING_FLAGS)
    else:
        passage.pass_on()
    if flags & SYN and connection.plan.scopes and stream.direction is REPLY:
        if segment.key not in core.proxy.translated:  # whose answers are the filter's
            server = connection.identity.server
            core.table.admission.interceptions.answers(
                server.address, server.port, syn_options(segment), arrival.link_source
            )
        if connection.awaits_offset:
            ask(core, stream.peer)
    return None


def _bounded(segment: Segment, sizes: SegmentSizes) -> Segment:
    """A SYN or SYN-ACK whose MSS is within the bounds; one that announces none stays as it is."""
    offered = syn_options(segment).mss
    if offered is None:
        return segment
    options = with_segment_size(segment, sizes.bounded(offered))
    if options is None:
        return segment
    bounded = parse(rewrite(segment, options=options))
    assert isinstance(bounded, Segment)
    return bounded


def _seen_from_one_side_only(stream: Stream) -> bool:
    """Whether the connection was picked up, and only one side has been seen of it: a single forged
    segment suffices for that, and must not keep a client from connecting."""
    picked_up = stream.initial == UNKNOWN and stream.peer.initial == UNKNOWN
    return (
        picked_up
        and stream.direction is REQUEST
        and not (stream.heard_from and stream.peer.heard_from)
    )


def _reset(passage: Passage) -> None:
    stream, segment = passage.stream, passage.segment
    ends = handshake.resets(stream, segment)
    if ends is None or segment.flags & SYN:
        passage.drop(DropReason.BAD_RST)
        return
    passage.pass_on(b"" if segment.length else None)
    if ends:
        reset(passage.core, stream)


def _new_connection(core: Core, arrival: Arrival, segment: Segment) -> Stream | None:
    if segment.flags & (FIN | RST):
        core.drop(arrival, DropReason.BAD_FLAGS)
        return None
    if core.policy.plan(segment.source_port) is not None:
        # No mail server opens connections from its port. A client that forges such a SYN would be
        # the "server" of its own uninspected connection.
        core.drop(arrival, DropReason.BAD_SYN)
        return None
    source, destination = core.endpoints(arrival, segment)
    plan = core.plan(source, destination)
    passed = kernel.passes(core, plan, segment.destination_port)
    if passed and not plan.scopes:
        core.actions.append(Accept(arrival.token))
        return None
    if core.table.full:  # nothing is evicted to make room
        core.emit(TableFull(source, destination))
        core.drop(arrival, DropReason.TABLE_FULL)
        return None
    if plan.scopes and not _admitted(core, arrival, segment, plan):
        return None
    for key in (segment.key, segment.reverse_key):
        core.table.forget(key)
    if passed:
        kernel.begin(core, arrival, segment, plan)
        return None
    if core.proxy.busy:
        intercept.superseded(core, segment.key)
    connection = _create(core, segment.key, (source, destination), plan)
    handshake.begin(connection.client, segment)
    connection.client.heard(arrival.now)
    if arrival.ingress != arrival.egress:
        connection.server.bar(arrival.ingress)
    return connection.client


def _admitted(core: Core, arrival: Arrival, segment: Segment, plan: Plan) -> bool:
    """Whether the limits of its class and of its server let a connection begin; if not, its SYN is
    dropped."""
    source, destination = ends = core.endpoints(arrival, segment)
    table = core.table
    if table.expected:
        table.expect_no_more(segment.key)
    if core.proxy.busy and intercept.proven(core, segment.key):
        return _allowed(core, arrival, ends, plan)
    decision = table.admission.decide(plan, source.address, destination.address, arrival.now)
    if decision.limit is not None:
        core.emit(_limit_reached(core, ends, decision, decision.limit))
    if decision.reason is not None:
        core.drop(arrival, decision.reason)
        if core.permissions.nobody_reacts:
            table.refuse(segment.key, decision.reason)
        return False
    if decision.verdict is Verdict.INTERCEPT:
        if _intercepted(core, arrival, segment, decision):
            return False
    elif table.admission.interceptions.here and _intercepted_still(core, arrival, segment):
        return False
    if table.refused:
        table.refused.pop(segment.key, None)
    return True


def _intercepted(core: Core, arrival: Arrival, segment: Segment, decision: Decision) -> bool:
    """Drop a SYN above an embryonic limit, and answer it, here or by letting the kernel do so from now on.
    False if neither is possible: then it passes."""
    client, server = core.endpoints(arrival, segment)
    interceptions = core.table.admission.interceptions
    each = client.address if decision.limit is LimitKind.PER_CLIENT_EMBRYONIC else b""
    target = Target(each, server.address, server.port)
    if arrival.link_source:
        if not _answered(core, arrival, segment, (client, server)):
            return False
        interceptions.begin_here(target, decision.key)
        return True
    mapped = core.mapped(server, client)
    if not interceptions.begin(
        target,
        decision.key,
        None if mapped is None else (mapped.address, mapped.port),
        decision.largest_mss,
    ):
        return False
    core.drop(arrival, DropReason.INTERCEPTED)
    return True


def _intercepted_still(core: Core, arrival: Arrival, segment: Segment) -> bool:
    """The same below the limit, until intercept ends."""
    return core.table.admission.interceptions.lasts_here(
        segment.source, segment.destination, segment.destination_port
    ) and _answered(core, arrival, segment, core.endpoints(arrival, segment))


def _answered(
    core: Core, arrival: Arrival, segment: Segment, ends: tuple[Endpoint, Endpoint]
) -> bool:
    """Let the filter itself answer a SYN. False where the kernel passes all that would follow, so that
    nobody would translate it, or if it is not possible."""
    if core.options.kernel_passes and kernel.passes(core, core.plan(*ends), ends[1].port):
        return False
    return intercept.answer(core, arrival, segment)


def _allowed(core: Core, arrival: Arrival, ends: tuple[Endpoint, Endpoint], plan: Plan) -> bool:
    """Whether a client that has completed the handshake gets a connection; if not, its packet is
    dropped."""
    client, server = ends
    refused = core.table.admission.refuse(plan, client.address, server.address)
    if refused is None or refused.limit is None or refused.reason is None:
        return True
    core.emit(_limit_reached(core, ends, refused, refused.limit))
    core.drop(arrival, refused.reason)
    return False


def _proxied(core: Core, arrival: Arrival, segment: Segment) -> Stream | None:
    """A server's answer to SYNPROXY, which has connected a client that completed the handshake."""
    server, client = core.endpoints(arrival, segment)
    table = core.table
    if table.full:
        core.emit(TableFull(client, server))
        core.drop(arrival, DropReason.TABLE_FULL)
        return None
    plan = core.plan(client, server)
    if not _allowed(core, arrival, (client, server), plan):
        return None
    for key in (segment.key, segment.reverse_key):
        table.forget(key)
    if core.options.kernel_passes and core.policy.plan(server.port) is None:
        kernel.begin(core, arrival, segment, plan)
        return None
    connection = _create(core, segment.reverse_key, (client, server), plan)
    handshake.begin_proxied(connection.client, segment)
    connection.client.heard(arrival.now)
    if arrival.ingress != arrival.egress:
        connection.server.bar(arrival.egress)
        connection.client.came_from(arrival.egress, b"")
    return connection.server


def _limit_reached(
    core: Core, ends: tuple[Endpoint, Endpoint], decision: Decision, limit: LimitKind
) -> LimitReached:
    source, destination = ends
    scope = decision.scope
    assert scope is not None
    static, translated = scope.translation, None
    if static is not None:
        mapped = static.mapped_address(int.from_bytes(destination.address))
        size = len(destination.address)
        address = b"" if mapped is None else mapped.to_bytes(size, "big")
        translated = Translated(address, scope.limits.embryonic, scope.old_lines)
    return LimitReached(
        source,
        destination,
        limit,
        decision.count,
        decision.allowed,
        scope.name,
        decision.reason is not None,
        core.is_outbound(*ends),
        scope.interface or source.interface,
        decision.begins,
        decision.log,
        translated,
    )


def _pick_up(core: Core, arrival: Arrival, segment: Segment) -> Stream | None:
    """Track a connection older than the filter, without inspecting it."""
    if segment.flags & RST or core.table.full:
        cut = segment.flags & RST and segment.length
        pass_stray(core, arrival, segment, without_payload=bool(cut))
        return None
    source, destination = core.endpoints(arrival, segment)
    from_client = core.policy.plan(segment.destination_port) is not None
    ends = (source, destination) if from_client else (destination, source)
    key = segment.key if from_client else segment.reverse_key
    connection = _create(core, key, ends, replace(core.plan(*ends), inspection=None))
    connection.phase = ESTABLISHED
    stream = connection.client if from_client else connection.server
    syn = segment.flags & SYN
    stream.pick_up_at(segment.sequence + (1 if syn else 0))
    stream.peer.pick_up_at(segment.acknowledgment)
    stream.heard(arrival.now)
    one_sided = core.permissions.missing_side and syn
    cause = UninspectedCause.ONE_SIDED if one_sided else UninspectedCause.MIDSTREAM
    passage = Passage(core, arrival, segment, stream)
    stop_inspecting(passage, cause)
    core.table.establish(connection)
    if syn:
        passage.pass_on(b"" if segment.length else None)
        return None
    return stream


def expect(core: Core, key: bytes) -> None:
    """Count a connection older than the filter, of which no packet has come yet, against the limits
    that apply to it. Where it came in is not known: interfaces are taken for those of a filter without
    any."""
    half = (len(key) - 4) // 2
    source, destination = key[:half], key[half:-4]
    ends = (
        Endpoint(OUTSIDE, source, int.from_bytes(key[-4:-2])),
        Endpoint(INSIDE, destination, int.from_bytes(key[-2:])),
    )
    plan = core.plan(*ends)
    table = core.table
    if not plan.scopes or key in table.streams or key in table.expected:
        return
    connection = TcpConnection(Connection(0, *ends), key, plan, core.now, core.ledger)
    connection.phase = ESTABLISHED
    table.expect(connection)


def _create(core: Core, key: bytes, ends: tuple[Endpoint, Endpoint], plan: Plan) -> TcpConnection:
    """A connection between ``ends``, client and server, in the table."""
    core.connection_number += 1
    identity = Connection(core.connection_number, *ends, core.is_outbound(*ends))
    connection = TcpConnection(identity, key, plan, core.now, core.ledger)
    connection.closed_quiet = core.options.limits.closed_quiet
    connection.timed_by_either = core.permissions.missing_side
    if plan.inspection is not None:
        connection.inspection = core.prepared(plan.inspection)
        connection.inspector = connection.inspection.begin(identity)
    core.table.add(connection)
    client, server = ends
    core.emit(ConnectionBuilt(identity, core.mapped(client, server), core.mapped(server, client)))
    return connection
