"""TCP intercept by the filter itself, on a bridge: handshakes that it completes in a server's name, and
connections that it has made of them, which have other numbers on the server's side (docs/tcp.md).

Nothing here sends a packet: the steps are in `flow.intercept`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nfinspect.packet.craft import HOP_LIMIT, craft_opening
from nfinspect.packet.options import SynOptions, opening_options
from nfinspect.packet.renumber import LARGEST_WINDOW, renumbered, with_sack_shifted
from nfinspect.packet.segment import ACK, SYN, Segment, reverse_key
from nfinspect.tcp.connection import TcpConnection
from nfinspect.tcp.cookies import Cookies
from nfinspect.tcp.timers import Timers

ATTEMPTS: Final = 4
"""A SYN-ACK is sent at once, and after 1, 3 and 7 s; a client that has not answered after 15 s is
forgotten. A server is asked as often."""

AGAIN: Final = 0.5
"""Seconds that a SYN to the server has, at least, before it is sent again."""


class ClientLink:
    """How packets in a server's name reach a client on a bridge (see ``Inject``)."""

    __slots__ = ("client_link", "device", "server_link")

    def __init__(self, device: str, client_link: bytes, server_link: bytes) -> None:
        self.device = device
        self.client_link = client_link
        self.server_link = server_link


class HalfOpen:
    """A client to which a SYN-ACK has gone, and from which nothing has come."""

    __slots__ = ("attempts", "client_initial", "due", "initial", "offered", "told", "way")

    def __init__(
        self,
        client_initial: int,
        initial: int,
        offered: SynOptions,
        told: SynOptions,
    ) -> None:
        self.client_initial = client_initial
        self.initial = initial
        """The number of the SYN-ACK."""
        self.offered = offered
        """What the client's SYN offers."""
        self.told = told
        """What the SYN-ACK offers."""
        self.way: ClientLink | None = None
        self.attempts = 1
        self.due = 0.0
        """When its timer is due."""

    def syn_ack(self, key: bytes) -> bytes:
        """The SYN-ACK to a client with this key. Its window is closed: the server's is not known, and what
        the client would send before the server answers could not be kept."""
        return craft_opening(
            reverse_key(key),
            sequence=self.initial,
            acknowledgment=(self.client_initial + 1) & 0xFFFF_FFFF,
            window=0,
            options=opening_options(self.told),
        )


class Proxied:
    """A connection whose client has completed the handshake with the filter.

    Inside the filter all numbers, and the scales of windows, are the client's. ``from_server`` and
    ``to_server`` translate; neither the client's numbers nor anything about lengths changes.
    """

    __slots__ = (
        "asked_at",
        "attempts",
        "client_scale",
        "connection",
        "due",
        "half_open",
        "hop_limit",
        "key",
        "offset",
        "ready",
        "server_scale",
        "unfinished",
        "way",
        "window",
    )

    def __init__(self, key: bytes, half_open: HalfOpen, window: int, way: ClientLink) -> None:
        """*window*: the client's, in bytes."""
        self.key = key
        self.half_open = half_open
        self.window = window
        self.way = way
        self.hop_limit = HOP_LIMIT
        """Of the client's latest packet that became a SYN."""
        self.connection: TcpConnection | None = None
        """None until the engine has admitted it."""
        self.ready = False
        """The server has answered, so its numbers are known."""
        self.offset = 0
        """To be added to the server's numbers."""
        self.server_scale = self.client_scale = 0
        """To be added to the exponents of the windows that server and client announce."""
        self.asked_at = 0.0
        """When the latest SYN went to the server."""
        self.attempts = 1
        self.due = 0.0
        """When its timer is due."""
        self.unfinished: dict[object, tuple[Segment, bool, bool]] = {}
        """Packets that have no verdict yet, by their tokens; whether they come from the client, and
        whether their checksum is right."""

    @property
    def syn(self) -> bytes:
        """The SYN to the server: the client's own, but that it offers what the client has been told."""
        half, told = self.half_open, self.half_open.told
        scale = half.offered.window_scale if told.window_scale is not None else None
        offered = SynOptions(half.offered.mss, scale, told.sack_permitted, False)
        return craft_opening(
            self.key,
            sequence=half.client_initial,
            acknowledgment=None,
            window=min(self.window, LARGEST_WINDOW),
            options=opening_options(offered),
            hop_limit=self.hop_limit,
        )

    def syn_ack(self, segment: Segment) -> bytes:
        """The server's SYN-ACK as the client would have to read it."""
        return craft_opening(
            segment.key,
            sequence=self.half_open.initial,
            acknowledgment=segment.acknowledgment,
            window=segment.window,
            options=opening_options(self.half_open.told),
            hop_limit=segment.hop_limit,
        )

    def asks(self, segment: Segment, now: float) -> None:
        """This packet of the client becomes the SYN."""
        self.hop_limit = segment.hop_limit
        self.asked_at = now

    def is_admitted(self, connection: TcpConnection) -> None:
        """The engine has taken its SYN."""
        self.connection = connection
        connection.proxied = True

    def learn(self, segment: Segment, answered: SynOptions) -> None:
        """The server's SYN-ACK has been accepted."""
        half = self.half_open
        self.offset = (half.initial - segment.sequence) & 0xFFFF_FFFF
        if half.told.window_scale is not None:
            self.server_scale = (answered.window_scale or 0) - half.told.window_scale
            if answered.window_scale is None:
                self.client_scale = half.offered.window_scale or 0
        self.ready = True

    def from_server(self, segment: Segment, *, verified: bool) -> Segment:
        """A packet of the server's, in the client's numbers."""
        return renumbered(
            segment,
            sequence=(segment.sequence + self.offset) & 0xFFFF_FFFF,
            acknowledgment=segment.acknowledgment,
            window=_scaled(segment, self.server_scale),
            verified=verified,
        )

    def to_server(self, segment: Segment, *, verified: bool) -> bytes:
        """A packet in the client's name, in the server's numbers."""
        if not segment.flags & ACK:
            if verified:
                return segment.datagram
            acknowledgment, options = segment.acknowledgment, None
        else:
            acknowledgment = (segment.acknowledgment - self.offset) & 0xFFFF_FFFF
            options = with_sack_shifted(segment.options, -self.offset)
        return renumbered(
            segment,
            sequence=segment.sequence,
            acknowledgment=acknowledgment,
            window=_scaled(segment, self.client_scale),
            options=options,
            verified=verified,
        ).datagram


def _scaled(segment: Segment, by: int) -> int:
    if not by or segment.flags & SYN:
        return segment.window
    return min(segment.window << by, LARGEST_WINDOW) if by > 0 else segment.window >> -by


class Proxy:
    """All handshakes that the filter completes, and all connections made of them."""

    __slots__ = (
        "answered",
        "busy",
        "connected",
        "cookies",
        "half_open",
        "most",
        "timers",
        "translated",
        "with_cookies",
    )

    def __init__(self, most: int) -> None:
        """*most*: bound of ``half_open``."""
        self.busy = False
        """Whether any packet may concern it."""
        self.most = most
        self.half_open: dict[bytes, HalfOpen] = {}
        """By the key of the client's packets."""
        self.translated: dict[bytes, Proxied] = {}
        """By the keys of the packets of either side."""
        self.cookies: Cookies | None = None
        self.timers = Timers()
        """By the key of the client's packets."""
        self.answered = self.with_cookies = self.connected = 0
        """SYN-ACKs that were first ones, those of them with a cookie, clients that completed the
        handshake."""

    def randomise(self, random: Callable[[int], bytes]) -> Cookies:
        """The cookies, which are made at first use."""
        if self.cookies is None:
            self.cookies = Cookies(random)
        return self.cookies

    def settle(self, now: float) -> int:
        """Note whether there is still anything. Returns how many clients have not completed the
        handshake, as far as is known."""
        cookies = self.cookies
        unproven = len(self.half_open) + (0 if cookies is None else cookies.in_flight(now))
        self.busy = bool(unproven or self.translated)
        return unproven

    def deadline(self) -> float | None:
        """When something is to be done."""
        due, cookies = self.timers.deadline(), self.cookies
        turn = None if cookies is None else cookies.deadline
        if due is None or turn is None:
            return turn if due is None else due
        return min(due, turn)

    def counts(self) -> dict[str, int]:
        """What has been answered, and what is in progress; by the words of ``show queue``."""
        return {
            "answered": self.answered,
            "with a cookie": self.with_cookies,
            "connected": self.connected,
            "half open now": len(self.half_open),
            "translated now": len(self.translated) // 2,
        }

    def keep(self, key: bytes, half_open: HalfOpen, due: float) -> None:
        """A SYN-ACK has been sent."""
        self.forget(key)
        self.half_open[key] = half_open
        half_open.due = due
        self.timers.set(key, due)
        self.busy = True

    def wait(self, key: bytes, half_open: HalfOpen, due: float) -> None:
        """A SYN-ACK has been sent again."""
        half_open.due = due
        self.timers.set(key, due)

    def add(self, translation: Proxied, due: float) -> None:
        """A client has completed the handshake."""
        key = translation.key
        self.forget(key)
        self.translated[key] = self.translated[reverse_key(key)] = translation
        translation.due = due
        self.timers.set(key, due)
        self.busy = True

    def look_again(self, translation: Proxied, due: float) -> None:
        """Set its timer again."""
        self.timers.cancel(translation.key, translation.due)
        translation.due = due
        self.timers.set(translation.key, due)

    def forget(self, key: bytes) -> None:
        """Forget what is known of a client's key, if anything is."""
        half_open = self.half_open.pop(key, None)
        if half_open is not None:
            self.timers.cancel(key, half_open.due)
        found = self.translated.pop(key, None)
        if found is not None:
            self.timers.cancel(key, found.due)
            del self.translated[reverse_key(key)]
