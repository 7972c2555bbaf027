"""A connection whose time is over (docs/appliance.md, section 5): how it ends, and before that, whether its
ends are still alive.

Dead connection detection asks both ends, and again those that do not answer: a keep-alive in the name of
the other end, which repeats the byte before the next one (RFC 9293 section 3.8.4), so that a live TCP
acknowledges at once and one that has forgotten the connection resets it. Once both have answered, the idle
time begins anew. Nobody can answer in a capture: there the connection counts as alive.
"""

from __future__ import annotations

from nfinspect.events import IdleProbe, TeardownReason
from nfinspect.flow import intercept
from nfinspect.flow.core import Core
from nfinspect.flow.ending import end, inject_reset
from nfinspect.packet.craft import craft_acknowledgment
from nfinspect.packet.options import timestamps_in, timestamps_option
from nfinspect.policy.model import DeadConnectionDetection
from nfinspect.tcp.connection import CLOSED, ESTABLISHED, TcpConnection
from nfinspect.tcp.stream import Stream


def timed_out(core: Core, connection: TcpConnection) -> None:
    """End a connection that has timed out, or find out first whether it is dead."""
    if connection.phase is CLOSED:  # its end was logged when inspection closed it
        end(core, connection, None)
        return
    if connection.phase < ESTABLISHED:
        proxied = connection.proxied
        if proxied:
            intercept.failed(core, connection)
        end(core, connection, TeardownReason.INTERCEPTED if proxied else TeardownReason.SYN_TIMEOUT)
        return
    if connection.half_closed:
        end(core, connection, TeardownReason.FIN_TIMEOUT)
        return
    settings = connection.plan.settings
    known = connection.client.heard_from and connection.server.heard_from
    if settings is None or not known:
        end(core, connection, TeardownReason.CONNECTION_TIMEOUT)
        return
    dead = settings.dead_connections
    if dead is not None and _asked(core, connection, dead):
        return
    if not settings.idle_reset:
        end(core, connection, TeardownReason.CONNECTION_TIMEOUT)
        return
    if not core.permissions.nobody_reacts:
        for stream in (connection.client, connection.server):
            inject_reset(core, stream, stream.acknowledged)
    end(core, connection, TeardownReason.TIMED_OUT_WITH_RESET)


def _asked(core: Core, connection: TcpConnection, dead: DeadConnectionDetection) -> bool:
    """Whether the ends of an idle connection have been asked, or are asked now, and may still
    answer."""
    table = core.table
    if core.permissions.nobody_reacts:
        table.ask_again(connection, core.now + max(connection.plan.timeouts.idle, dead.interval))
        return True
    asked = table.times_asked(connection)
    if asked >= dead.retries:
        return False
    for stream in (connection.client, connection.server):
        if not asked or stream.last_seen + connection.plan.timeouts.idle <= core.now:
            core.emit(IdleProbe(connection.identity, stream.peer.direction))
            ask(core, stream)
    table.ask_again(connection, core.now + dead.interval)
    return True


def ask(core: Core, stream: Stream) -> None:
    """Make the sender of *stream* acknowledge."""
    core.inject(stream.peer, _keep_alive(stream))


def _keep_alive(stream: Stream) -> bytes:
    """A packet that makes the sender of *stream* acknowledge, in the name of the other end."""
    other = stream.peer
    stamps = timestamps_in(other.options)
    return craft_acknowledgment(
        other.key,
        sequence=other.on_the_wire(other.acknowledged - 1),
        acknowledgment=stream.acknowledged & 0xFFFF_FFFF,
        window=stream.window_field,
        options=b"" if stamps is None else timestamps_option(*stamps),
        hop_limit=other.hop_limit,
    )
