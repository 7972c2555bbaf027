"""TCP intercept by the filter itself, where packets are bridged (docs/tcp.md).

A SYN above an embryonic limit is dropped and answered in the server's name, with a closed window. The
client's acknowledgement becomes the SYN to the server: the verdict replaces its contents, so that the bridge
carries it. The server's SYN-ACK becomes an acknowledgement that opens the client's window, and an
acknowledgement to the server is injected. From then on the server's numbers are translated.

The engine sees an ordinary handshake in the client's numbers, and nothing but the client's numbers
afterwards: `handled` translates what comes from the server before it is decided, and afterwards the actions
that concern the server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nfinspect.actions import Accept, Drop, DropReason, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.events import REPLY, REQUEST
from nfinspect.flow.core import Core
from nfinspect.flow.ending import inject_reset
from nfinspect.packet.craft import craft_acknowledgment, craft_reset
from nfinspect.packet.options import SynOptions, syn_options
from nfinspect.packet.segment import ACK, RST, SYN, Segment, parse, reverse_key
from nfinspect.tcp.connection import ESTABLISHED, SYN_RECEIVED, TcpConnection
from nfinspect.tcp.proxy import AGAIN, ATTEMPTS, ClientLink, HalfOpen, Proxied

Decide = Callable[[Arrival, Segment], None]
"""Decides a packet as if nobody translated."""

_OWN: Final = object()
"""The token of an acknowledgement that the client never sent."""
_LOW: Final = 0xFFFF_FFFF


def answer(core: Core, arrival: Arrival, segment: Segment) -> bool:
    """Drop a SYN and answer it in the server's name, unless no SYN-ACK of the server has come yet. False if
    the filter cannot send packets to the client: then nothing has been decided."""
    interceptions = core.table.admission.interceptions
    random = interceptions.random
    if random is None or not any(arrival.link_source):
        return False
    core.drop(arrival, DropReason.INTERCEPTED)
    known = interceptions.known(segment.destination, segment.destination_port)
    if known is None or not known.link:
        return True
    proxy, key = core.proxy, segment.key
    way = ClientLink(arrival.ingress, arrival.link_source, known.link)
    half_open = proxy.half_open.get(key)
    if half_open is None or half_open.client_initial != segment.sequence:
        half_open = _answered(core, segment, known.options, random)
    half_open.way = way
    _to_client(core, half_open.syn_ack(key), way)
    interceptions.answered_here(proxy.settle(arrival.now))
    return True


def _answered(
    core: Core, segment: Segment, server: SynOptions, random: Callable[[int], bytes]
) -> HalfOpen:
    """What is answered to a SYN; kept if there is room, else in a cookie."""
    proxy, key, now = core.proxy, segment.key, core.now
    offered = syn_options(segment)
    sack = offered.sack_permitted and server.sack_permitted
    proxy.answered += 1
    if len(proxy.half_open) >= proxy.most and key not in proxy.half_open:
        cookies = proxy.randomise(random)
        told = SynOptions(server.mss, None, sack, False)
        kept = SynOptions(offered.mss, None, sack, False)
        initial = cookies.make(key, segment.sequence, kept, now)
        proxy.with_cookies += 1
        proxy.forget(key)
        proxy.busy = True
        return HalfOpen(segment.sequence, initial, kept, told)
    scale = server.window_scale if offered.window_scale is not None else None
    told = SynOptions(server.mss, scale, sack, False)
    initial = int.from_bytes(random(4), "big")
    half_open = HalfOpen(segment.sequence, initial, offered, told)
    proxy.keep(key, half_open, now + 1)
    return half_open


def proven(core: Core, key: bytes) -> bool:
    """Whether a SYN is that of a client which has completed the handshake."""
    found = core.proxy.translated.get(key)
    return found is not None and found.connection is None


def superseded(core: Core, key: bytes) -> None:
    """A SYN opens a connection: what is known of an older one with this key is void."""
    if not proven(core, key):
        core.proxy.forget(key)


def handled(core: Core, arrival: Arrival, segment: Segment, decide: Decide) -> bool:
    """Decide a packet of a connection that has been intercepted, or is. False if it is none."""
    found = core.proxy.translated.get(segment.key)
    if found is None:
        if segment.flags & SYN or segment.key in core.table.streams:
            return False
        if core.proxy.half_open or core.proxy.cookies is not None:
            return _comes_back(core, arrival, segment, decide)
        return False
    from_client = segment.key == found.key
    if not found.ready:
        if from_client:
            _client_early(core, arrival, segment, decide)
        else:
            _server_early(core, arrival, segment, decide)
        return True
    verified = arrival.checksum_ready
    if not from_client:
        segment = found.from_server(segment, verified=verified)
        verified = True
    found.unfinished[arrival.token] = segment, from_client, verified
    decide(arrival, segment)
    if core.proxy.translated.get(found.key) is not found:
        return True  # its SYN has opened another connection
    if segment.flags & SYN and not from_client and _passes(core, arrival):
        # The acknowledgement to the server was lost.
        _verdict(core, arrival, Drop(arrival.token, DropReason.INTERCEPTED))
        datagram = found.to_server(_acknowledgment(found), verified=True)
        core.actions.append(_to_server(arrival, found, datagram))
        found.unfinished.pop(arrival.token, None)
        return True
    _carry_out(core, found)
    return True


def _comes_back(core: Core, arrival: Arrival, segment: Segment, decide: Decide) -> bool:
    """A packet of no connection: does it complete a handshake?"""
    proxy, key, flags = core.proxy, segment.key, segment.flags
    half_open = proxy.half_open.get(key)
    at: int | None = None
    if half_open is not None:
        at = (segment.sequence - half_open.client_initial) & _LOW
        acknowledges = segment.acknowledgment == (half_open.initial + 1) & _LOW
        if flags & RST and at == 1 and (acknowledges or not flags & ACK):
            proxy.forget(key)
            core.table.admission.interceptions.answered_here(proxy.settle(arrival.now))
        if flags & (RST | ACK) != ACK or not acknowledges or at > 1 or arrival.gso:
            core.drop(arrival, DropReason.INTERCEPTED)
            return True
    else:
        if flags & (RST | ACK) != ACK or arrival.gso:
            return False
        half_open = _of_cookie(core, arrival, segment)
        if half_open is None:
            return False
    way = half_open.way
    if way is None:
        return False
    way = ClientLink(arrival.ingress, arrival.link_source, way.server_link)
    scale = half_open.offered.window_scale if half_open.told.window_scale is not None else None
    found = Proxied(key, half_open, segment.window << (scale or 0), way)
    proxy.add(found, arrival.now + 1)
    core.table.admission.interceptions.answered_here(proxy.settle(arrival.now))
    _ask_server(core, arrival, segment, decide)
    return True


def _of_cookie(core: Core, arrival: Arrival, segment: Segment) -> HalfOpen | None:
    """What has been answered to a client that brings a cookie back: with its first number, or, to ask
    whether its window is still closed, with the one before."""
    cookies = core.proxy.cookies
    if cookies is None or not cookies.in_flight(arrival.now):
        return None
    known = core.table.admission.interceptions.known(segment.destination, segment.destination_port)
    if known is None or not any(arrival.link_source):
        return None
    cookie = (segment.acknowledgment - 1) & _LOW
    for before in (1, 0):
        initial = (segment.sequence - before) & _LOW
        offered = cookies.check(segment.key, initial, cookie, arrival.now)
        if offered is not None:
            told = SynOptions(known.options.mss, None, offered.sack_permitted, False)
            half_open = HalfOpen(initial, cookie, offered, told)
            half_open.way = ClientLink(arrival.ingress, arrival.link_source, known.link)
            return half_open
    return None


def _client_early(core: Core, arrival: Arrival, segment: Segment, decide: Decide) -> None:
    """A packet of a client whose server has not answered."""
    found = core.proxy.translated[segment.key]
    half_open, flags = found.half_open, segment.flags
    at = (segment.sequence - half_open.client_initial) & _LOW
    acknowledges = segment.acknowledgment == (half_open.initial + 1) & _LOW
    if flags & RST and (acknowledges or not flags & ACK):
        bare = parse(craft_reset(segment.key, sequence=segment.sequence, hop_limit=found.hop_limit))
        if isinstance(bare, Segment):
            decide(arrival, bare)
            if _passes(core, arrival):
                _verdict(core, arrival, Replace(arrival.token, bare.datagram))
        if segment.key not in core.table.streams:
            core.proxy.forget(segment.key)
        return
    if flags & SYN and (at or flags & ACK):
        decide(arrival, segment)
        return
    late = arrival.now >= found.asked_at + AGAIN
    if flags & SYN or (flags & (RST | ACK) == ACK and acknowledges and at <= 1):
        if late and not arrival.gso:
            _ask_server(core, arrival, segment, decide)
            return
    core.drop(arrival, DropReason.INTERCEPTED)


def _ask_server(core: Core, arrival: Arrival, segment: Segment, decide: Decide) -> None:
    """A packet of the client becomes the SYN to the server."""
    found = core.proxy.translated[segment.key]
    found.asks(segment, arrival.now)
    syn = parse(found.syn)
    if not isinstance(syn, Segment):
        return
    decide(arrival, syn)
    if _passes(core, arrival):
        _verdict(core, arrival, Replace(arrival.token, syn.datagram))
    stream = core.table.streams.get(found.key)
    if stream is None:
        _refuse(core, found)
    elif found.connection is None:
        found.is_admitted(stream.connection)
        core.proxy.connected += 1


def _refuse(core: Core, found: Proxied) -> None:
    """The client, which believes that it is connected, is told that it is not."""
    core.proxy.forget(found.key)
    datagram = craft_reset(reverse_key(found.key), sequence=(found.half_open.initial + 1) & _LOW)
    _to_client(core, datagram, found.way)


def failed(core: Core, connection: TcpConnection) -> None:
    """The server has not answered in time."""
    found = core.proxy.translated.get(connection.key)
    if found is not None and found.connection is connection:
        _refuse(core, found)


def _server_early(core: Core, arrival: Arrival, segment: Segment, decide: Decide) -> None:
    """A packet of a server that has been asked."""
    found = core.proxy.translated[segment.key]
    flags, half_open = segment.flags, found.half_open
    if flags & SYN and not segment.length:
        _server_answers(core, arrival, segment, decide)
        return
    decide(arrival, segment)
    if not _passes(core, arrival):
        return
    if flags & RST:
        datagram = craft_reset(
            segment.key,
            sequence=(half_open.initial + 1) & _LOW,
            acknowledgment=(half_open.client_initial + 1) & _LOW,
            hop_limit=segment.hop_limit,
        )
        _verdict(core, arrival, Replace(arrival.token, datagram))
        if found.key not in core.table.streams:
            core.proxy.forget(found.key)
        return
    # It still knows an older connection, whose number it acknowledges (RFC 9293 section 3.5.1).
    _verdict(core, arrival, Drop(arrival.token, DropReason.INTERCEPTED))
    reset = craft_reset(found.key, sequence=segment.acknowledgment, hop_limit=found.hop_limit)
    for datagram in (reset, found.syn):
        core.actions.append(_to_server(arrival, found, datagram))


def _server_answers(core: Core, arrival: Arrival, segment: Segment, decide: Decide) -> None:
    """The server's SYN-ACK, or what looks like one."""
    found = core.proxy.translated[segment.key]
    inside = parse(found.syn_ack(segment)) if segment.flags & ACK else segment
    connection = found.connection
    if not isinstance(inside, Segment) or connection is None:
        core.drop(arrival, DropReason.NOT_ESTABLISHED)
        return
    decide(arrival, inside)
    if connection.phase is not SYN_RECEIVED or not _passes(core, arrival):
        return
    found.learn(segment, syn_options(segment))
    scale = found.half_open.told.window_scale or 0
    opened = craft_acknowledgment(
        segment.key,
        sequence=(found.half_open.initial + 1) & _LOW,
        acknowledgment=segment.acknowledgment,
        window=segment.window >> scale,
        hop_limit=segment.hop_limit,
    )
    _verdict(core, arrival, Replace(arrival.token, opened))
    core.proxy.look_again(found, arrival.now + core.options.limits.linger)
    acknowledgment = _acknowledgment(found)
    way = found.way
    decide(
        Arrival(
            _OWN,
            acknowledgment.datagram,
            arrival.now,
            ingress=way.device,
            egress=arrival.ingress,
            link_source=way.client_link,
        ),
        acknowledgment,
    )
    _own(core, arrival, found, acknowledgment)


def _own(core: Core, arrival: Arrival, found: Proxied, acknowledgment: Segment) -> None:
    """Nobody has sent the acknowledgement, so that it is injected."""
    actions = core.actions
    for index in range(len(actions)):
        action = actions[index]
        if isinstance(action, Accept | Replace) and action.token is _OWN:
            datagram = found.to_server(acknowledgment, verified=True)
            actions[index] = _to_server(arrival, found, datagram)


def _acknowledgment(found: Proxied) -> Segment:
    """The client's acknowledgement of the SYN-ACK, in the client's numbers."""
    half_open = found.half_open
    scaled = half_open.told.window_scale is not None
    scale = (half_open.offered.window_scale or 0) if scaled else 0
    made = parse(
        craft_acknowledgment(
            found.key,
            sequence=(half_open.client_initial + 1) & _LOW,
            acknowledgment=(half_open.initial + 1) & _LOW,
            window=min(found.window >> scale, _LOW >> 16),
            hop_limit=found.hop_limit,
        )
    )
    assert isinstance(made, Segment)
    return made


def _passes(core: Core, arrival: Arrival) -> bool:
    """Whether the packet of this call has been decided to pass."""
    for action in core.actions:
        if isinstance(action, Accept | Replace) and action.token is arrival.token:
            return True
    return False


def _verdict(core: Core, arrival: Arrival, verdict: Replace | Drop) -> None:
    """Another verdict for the packet of this call, which was to pass."""
    actions = core.actions
    for index in range(len(actions)):
        action = actions[index]
        if isinstance(action, Accept | Replace) and action.token is arrival.token:
            actions[index] = verdict
            return


def _carry_out(core: Core, found: Proxied) -> None:
    """Translate what has been decided."""
    actions, unfinished = core.actions, found.unfinished
    for index in range(len(actions)):
        action = actions[index]
        if isinstance(action, Accept):
            kept = unfinished.pop(action.token, None)
            if kept is not None:
                segment, from_client, verified = kept
                datagram = segment.datagram
                if from_client:
                    datagram = found.to_server(segment, verified=verified)
                actions[index] = Replace(action.token, datagram)
        elif isinstance(action, Replace):
            kept = unfinished.pop(action.token, None)
            if kept is not None and kept[1]:
                action.datagram = _translated(found, action.datagram)
        elif isinstance(action, Drop):
            unfinished.pop(action.token, None)
        elif isinstance(action, Inject) and action.direction is REQUEST:
            action.datagram = _translated(found, action.datagram)
    connection = found.connection
    if connection is not None:
        held = len(connection.client.held) + len(connection.server.held)
        if len(unfinished) > 2 * held + 8:  # some gave way to packets of other connections
            waiting = {each.arrival.token for each in connection.client.held}
            waiting.update(each.arrival.token for each in connection.server.held)
            found.unfinished = {
                token: kept for token, kept in unfinished.items() if token in waiting
            }


def _translated(found: Proxied, datagram: bytes) -> bytes:
    segment = parse(datagram, len(datagram))
    if not isinstance(segment, Segment):
        return datagram
    return found.to_server(segment, verified=True)


def translate(core: Core) -> None:
    """Translate what a call without a packet sends to servers."""
    translated = core.proxy.translated
    for action in core.actions:
        if isinstance(action, Inject) and action.direction is REQUEST:
            segment = parse(action.datagram, len(action.datagram))
            if isinstance(segment, Segment):
                found = translated.get(segment.key)
                if found is not None and found.ready:
                    action.datagram = found.to_server(segment, verified=True)


def _to_client(core: Core, datagram: bytes, way: ClientLink) -> None:
    core.actions.append(Inject(datagram, REPLY, way.device, way.client_link, way.server_link))


def _to_server(arrival: Arrival, found: Proxied, datagram: bytes) -> Inject:
    """To the server from which this packet came."""
    return Inject(datagram, REQUEST, arrival.ingress, arrival.link_source, found.way.client_link)


def tick(core: Core) -> None:
    """Send what is due again, and forget what is over."""
    proxy, now = core.proxy, core.now
    while (due := proxy.timers.take(now)) is not None:
        when, key = due
        half_open = proxy.half_open.get(key)
        if half_open is not None:
            if half_open.due == when:
                _repeat(core, key, half_open)
            continue
        found = proxy.translated.get(key)
        if found is None or found.due != when:
            continue
        if not found.ready:
            _ask_client(core, found)
        elif _over(core, found):
            proxy.forget(key)
        else:
            proxy.look_again(found, now + core.options.limits.linger)
    core.table.admission.interceptions.answered_here(proxy.settle(now))


def _repeat(core: Core, key: bytes, half_open: HalfOpen) -> None:
    """A client has not answered the SYN-ACK."""
    way = half_open.way
    if half_open.attempts >= ATTEMPTS or way is None:
        core.proxy.forget(key)
        return
    _to_client(core, half_open.syn_ack(key), way)
    core.proxy.wait(key, half_open, core.now + (1 << half_open.attempts))
    half_open.attempts += 1


def _ask_client(core: Core, found: Proxied) -> None:
    """The server has not answered the SYN: have the client acknowledge, which becomes another one."""
    if _over(core, found):
        core.proxy.forget(found.key)
        return
    core.proxy.look_again(found, core.now + (1 << found.attempts))
    if found.attempts < ATTEMPTS:
        half_open = found.half_open
        _to_client(
            core,
            craft_acknowledgment(
                reverse_key(found.key),
                sequence=half_open.initial,
                acknowledgment=(half_open.client_initial + 1) & _LOW,
                window=0,
            ),
            found.way,
        )
        found.attempts += 1


def _over(core: Core, found: Proxied) -> bool:
    """Whether no packet of it will pass any more."""
    stream = core.table.streams.get(found.key)
    if stream is not None and stream.connection is found.connection:
        return False
    return core.table.find_finished(found.key, core.now) is None


def flush(core: Core) -> None:
    """The filter ends, and with it the translation: both ends are told."""
    if core.permissions.nobody_reacts:
        return
    for key, found in core.proxy.translated.items():
        stream = core.table.streams.get(key)
        if key != found.key or stream is None or stream.connection is not found.connection:
            continue
        if not found.ready:
            datagram = craft_reset(reverse_key(key), sequence=(found.half_open.initial + 1) & _LOW)
            _to_client(core, datagram, found.way)
        elif stream.connection.phase is ESTABLISHED:
            for each in (stream, stream.peer):
                inject_reset(core, each, each.next)
