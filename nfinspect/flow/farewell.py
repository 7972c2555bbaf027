"""``closing-reply``: the client of a connection that inspection closes is told so, in the server's name.

The filter sends a reply and a FIN behind the last byte that the client has read, and acknowledges the packet that was
dropped: so the client does not send it again, reads the reply, and ends. What it still sends is acknowledged and
read by nobody; where the reply was lost, it is sent again. Nothing of the server passes any more.

That is possible only where the reply can stand there: no other reply is owed, and the client has acknowledged all
of the server's bytes, so that no byte of the server's can come to lie in its place; the client's window
has room; the server has not sent a FIN.
"""

from __future__ import annotations

from nfinspect.actions import DropReason
from nfinspect.events import REQUEST
from nfinspect.flow.core import Core
from nfinspect.flow.passage import Passage
from nfinspect.packet.craft import craft_acknowledgment, craft_farewell
from nfinspect.packet.options import timestamps_in, timestamps_option
from nfinspect.tcp.connection import Farewell
from nfinspect.tcp.sequence import UNKNOWN
from nfinspect.tcp.stream import Stream


def possible(passage: Passage) -> bool:
    """Whether the client at whose packet the connection is closed can be told."""
    stream = passage.stream
    server, inspector = stream.peer, stream.connection.inspector
    if inspector is None or stream.direction is not REQUEST:
        return False
    text = inspector.closing_reply
    return (
        bool(text)
        and not passage.core.permissions.nobody_reacts
        and not inspector.outstanding
        and server.acknowledged == server.next
        and server.fin is None
        and not server.held
        and (server.edge == UNKNOWN or server.next + len(text) + 1 <= server.edge)
    )


def tell(passage: Passage, text: bytes) -> None:
    """Tell the client; the caller has found that it is possible."""
    stream = passage.stream
    farewell = Farewell(text, max(stream.next, passage.end + passage.fin))
    stream.connection.farewell = farewell
    _send(passage.core, stream, farewell, again=True)


def answer(passage: Passage, farewell: Farewell) -> None:
    """A packet of a connection whose client has been told: it passes no more."""
    stream = passage.stream
    passage.drop(DropReason.CLOSED_CONNECTION)
    if stream.direction is not REQUEST:
        return
    stream.heard(passage.arrival.now)
    if not (passage.segment.length or passage.fin):
        return
    last = stream.peer.next + len(farewell.text) + 1
    if passage.acknowledgment > last:
        return
    if passage.sequence <= farewell.taken:
        farewell.taken = max(farewell.taken, passage.end + passage.fin)
    _send(passage.core, stream, farewell, again=passage.acknowledgment < last)


def _send(core: Core, stream: Stream, farewell: Farewell, *, again: bool) -> None:
    """Acknowledge what the client has sent, with the reply unless the client has it."""
    server = stream.peer
    stamps = timestamps_in(server.options)
    options = b"" if stamps is None else timestamps_option(*stamps)
    number = server.next if again else server.next + len(farewell.text) + 1
    acknowledgment = farewell.taken & 0xFFFF_FFFF
    sequence, window = server.on_the_wire(number), stream.window_field
    if again:
        datagram = craft_farewell(
            server.key,
            sequence=sequence,
            acknowledgment=acknowledgment,
            window=window,
            options=options,
            payload=farewell.text,
            hop_limit=server.hop_limit,
        )
    else:
        datagram = craft_acknowledgment(
            server.key,
            sequence=sequence,
            acknowledgment=acknowledgment,
            window=window,
            options=options,
            hop_limit=server.hop_limit,
        )
    core.inject(server, datagram)
