"""Whose turn it is in a dialogue, and who left it, as far as a capture shows.

The filter reports what it does, and what waits for it. A server that does not answer, a client that
stops in the middle of a mail, a refusal: these pass, and are nobody's event. But whoever looks for the
reason why a mail does not arrive must be told. A wait that ends well is none of it, nor is a connection
that is still busy when the capture ends.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from struct import Struct
from typing import Any

from nfinspect.events import TeardownReason, UninspectedCause
from nfinspect.flow.waiting import PATIENCE
from nfinspect.packet.segment import ACK, FIN, RST, TCP_PROTOCOL
from nfinspect.replay.capture import Frame
from nfinspect.replay.findings import HELD, NOTED

CLIENT, SERVER = "client", "server"

GREETING, MESSAGE, QUIT = "greeting", "the message", "QUIT"
"""What the server owes beside replies to commands; and the command that ends a session."""

REFUSABLE = frozenset("HELO STARTTLS AUTH MAIL RCPT DATA BDAT".split()) | {GREETING, MESSAGE}
"""A refusal of these keeps a mail from arriving. One of EHLO does not: the client says HELO then."""

UNKNOWN = {"BDAT": ("500", "502"), "STARTTLS": ("500", "502")}
"""Replies of a server, or of a firewall before it, that does not know these verbs. The filter does not let
them pass either."""

UNACKNOWLEDGED = "the client's data is not acknowledged"

LEAST_HEADER = 20
"""Bytes of a TCP header."""

SEEN_ON = frozenset({UninspectedCause.RECORDED_WITHOUT_FILTER, UninspectedCause.BARE_LF_ANSWERED})
"""Where inspection ended for these, the dialogue is still seen whole."""

IN_VAIN = 3
"""Repetitions without an acknowledgement that tell of a loss before `PATIENCE` has passed."""

MOMENT = 0.05
"""Seconds that are too short to be told."""

MOST_OUTSTANDING = 100
"""Unacknowledged packets whose sizes are remembered, the oldest ones."""

LARGE = 576
"""Bytes of a packet that passes any path (RFC 791)."""

MOST_OWED = 1000
"""Replies that the server owes; beyond that nobody counts them."""

_HEADER = Struct("!LLBB")  # sequence, acknowledgment, offset, flags


@dataclass(frozen=True, slots=True)
class Owed:
    """A reply that the server owes."""

    to: str
    """A verb, `GREETING` or `MESSAGE`."""
    text: str
    """The command line."""
    packet: int | None
    time: float


@dataclass(frozen=True, slots=True)
class Departure:
    """Who ended the connection first."""

    who: str
    does: str
    packet: int | None
    time: float


class Turns:
    """Whose turn it is on one connection. Times are in seconds."""

    __slots__ = (
        "_acknowledged",
        "_auth",
        "_end",
        "_heard",
        "_in_message",
        "_largest",
        "_mail",
        "_open",
        "_outstanding",
        "_owed",
        "_packet",
        "_repeats",
        "_sent",
        "_sent_at",
        "unknown",
    )

    def __init__(self, time: float) -> None:
        """At its first packet."""
        self.unknown = False
        """The dialogue is not seen, or not whole."""
        self._owed = deque([Owed(GREETING, "", None, time)])
        self._auth = ""
        """The AUTH command that is going on."""
        self._mail: list[Any] = ["", "", 0]
        """The commands of the mail at hand: MAIL, the latest RCPT, and how many of them."""
        self._in_message = False
        self._open: Owed | None = None
        """The command that the server answered last, if the client has to go on."""
        self._sent: int | None = None
        """The sequence number after the client's latest data."""
        self._acknowledged: int | None = None
        """The server's latest acknowledgement."""
        self._outstanding: dict[int, int] = {}
        """The client's packets with data that are not acknowledged: bytes of the datagram by the sequence
        number after it."""
        self._largest = 0
        """The largest of its packets with data that was acknowledged."""
        self._sent_at = self._heard = time
        """When the client's latest data came, and anything from the server."""
        self._repeats = 0
        """How often the client has repeated it since."""
        self._packet: int | None = None
        """The one in which the client sent that first."""
        self._end: Departure | None = None

    # ---- what is seen --------------------------------------------------------------------------

    def packet(self, frame: Frame, sent: bool, time: float) -> None:
        """A packet of the connection has passed, or is held. *sent*: by the client."""
        data, begin = frame.data, frame.offset
        if data[begin] >> 4 == 4:
            at = begin + ((data[begin] & 15) << 2)
        elif data[begin + 6] == TCP_PROTOCOL:
            at = begin + 40
        else:
            return
        if frame.end - at < LEAST_HEADER:  # monitor mode lets it pass
            return
        sequence, acknowledged, offset, flags = _HEADER.unpack_from(data, at + 4)
        if sent:
            length = frame.end - at - (offset >> 4 << 2)
            if length > 0:
                end = sequence + length & 0xFFFF_FFFF
                if end == self._sent:
                    self._repeats += 1
                else:
                    self._sent, self._packet = end, frame.number
                self._sent_at = time
                if end in self._outstanding or len(self._outstanding) < MOST_OUTSTANDING:
                    self._outstanding[end] = frame.end - begin
        else:
            self._heard = time
            if flags & (ACK | RST) == ACK and (
                self._acknowledged is None or _after(acknowledged, self._acknowledged)
            ):
                self._acknowledged, self._repeats = acknowledged, 0
                self._have_arrived()
        if flags & (FIN | RST) and self._end is None:
            does = "reset the connection" if flags & RST else "ended the connection"
            self._end = Departure(CLIENT if sent else SERVER, does, frame.number, time)

    def _have_arrived(self) -> None:
        """Packets have been acknowledged."""
        assert self._acknowledged is not None
        for end in list(self._outstanding):
            if _after(end, self._acknowledged):
                break
            self._largest = max(self._largest, self._outstanding.pop(end))

    def uninspected(self, cause: UninspectedCause) -> None:
        """Inspection has ended."""
        self.unknown = self.unknown or cause not in SEEN_ON

    def command(self, text: str, packet: int | None, time: float) -> None:
        """The client has sent this line."""
        verb = text.split(" ", 1)[0].upper()
        if text == "***":
            verb, text = "AUTH", self._auth
        elif verb == "AUTH":
            self._auth = text
        elif verb == "MAIL":
            self._mail = [text, "", 0]
        elif verb == "RCPT":
            self._mail[1:] = [text, self._mail[2] + 1]
        elif verb in ("RSET", "EHLO", "HELO"):
            self._mail = ["", "", 0]
        if text:
            self._owes(Owed(verb, text, packet, time))

    def message(self, packet: int | None, time: float) -> None:
        """The client has ended a message."""
        self._in_message = False
        self._owes(Owed(MESSAGE, "", packet, time))

    def _owes(self, owed: Owed) -> None:
        if len(self._owed) < MOST_OWED:
            self._owed.append(owed)
        else:
            self.unknown = True

    def reply(self, line: str, packet: int | None, time: float) -> dict[str, Any] | None:
        """The server has sent this line; returns a finding if it refuses something."""
        code = line[:3]
        if self.unknown or line[3:4] not in ("", " ") or len(code) < 3 or not code.isdecimal():
            return None
        if code == "221" and self._end is None and self._given_up():
            return None
        if code == "421":
            found = {"cause": "the server ends the session: 421", "packet": packet}
            return found | {"answer": line} | self._about(None)
        if self._in_message:  # where it is not inspected, nobody tells of its end
            self._in_message = False
            answered = Owed(MESSAGE, "", packet, time)
        elif self._owed:
            answered = self._owed.popleft()
        else:
            return None
        self._open = None
        if code == "334" or (answered.to in ("MAIL", "RCPT") and code[0] == "2"):
            self._open = Owed(answered.to, answered.text, packet, time)
        if code == "354":
            self._in_message = answered.to == "DATA"
            self.unknown = not self._in_message  # what follows is for these two to know
        if answered.to == "STARTTLS" and code == "220":
            self.unknown = True
        refusal = self._refusal(line, answered, packet) if code[0] in "45" else None
        if answered.to == MESSAGE:
            self._mail = ["", "", 0]
        return refusal

    def _refusal(self, line: str, answered: Owed, packet: int | None) -> dict[str, Any] | None:
        code = line[:3]
        if answered.to not in REFUSABLE or code in UNKNOWN.get(answered.to, ()):
            return None
        cause = f"refused by the server: {answered.to}"
        if code == "530" and "STARTTLS" in line.upper():  # RFC 3207 section 4
            cause = "the server requires TLS"
        return {"cause": cause, "packet": packet, "answer": line} | self._about(answered)

    def _given_up(self) -> bool:
        """The server says goodbye: has the client said QUIT because nothing else was answered?"""
        for owed in self._owed:
            if owed.to == QUIT and owed.time - self._owed[0].time >= PATIENCE:
                self._end = Departure(CLIENT, "said QUIT", owed.packet, owed.time)
                return True
        return False

    # ---- what is found -------------------------------------------------------------------------

    def conclusion(self, now: float, reason: str | None) -> dict[str, Any] | None:
        """What is wrong with the end of the connection, as a finding; None if nothing is. *reason*:
        of its end, None if the capture ends before."""
        if self.unknown or reason == TeardownReason.CLOSED_BY_INSPECTION.value:
            return None
        end = self._end.time if self._end is not None else now
        who = self._end.who if self._end is not None else None
        about, packet = None, self._packet
        if self._acknowledged is None:
            kind, cause, since, packet = HELD, "no answer to the SYN", self._heard, None
            if who == SERVER:
                kind, cause = NOTED, "the server refuses the connection"
            elif end - since < PATIENCE:
                return None
        elif self._unacknowledged and (end - self._heard >= PATIENCE or self._repeats >= IN_VAIN):
            kind, cause, since = HELD, UNACKNOWLEDGED, self._heard
            if self._owed:
                about, packet = self._owed[0], self._owed[0].packet
        elif self._in_message:
            since = self._sent_at
            kind, cause = HELD, "the client is silent in the middle of a message"
            if end - since < PATIENCE:
                if who is None:
                    return None
                kind, cause = NOTED, f"the {who} leaves in the middle of a message"
        elif self._owed and self._owed[0].to != QUIT:
            about = self._owed[0]
            since, packet = about.time, about.packet
            kind, cause = HELD, f"no reply to {about.to}"
            if about.to == GREETING:
                cause = "no greeting"
            if end - since < PATIENCE and who != SERVER:
                if who is None or about.to == GREETING:  # it goes on, or was a probe
                    return None
                kind, cause = NOTED, f"the client leaves before the reply to {about.to}"
        elif self._open is not None and not self._owed:
            about, since, packet = self._open, self._open.time, self._open.packet
            kind, cause = HELD, f"the client is silent after the reply to {about.to}"
            if end - since < PATIENCE:
                if who is None:
                    return None
                kind, cause = NOTED, f"the {who} leaves after the reply to {about.to}"
        else:
            return None
        ending = self._ending(end - since)
        if self._repeats >= IN_VAIN and self._unacknowledged:
            ending = f"sent {self._repeats + 1} times; {ending}"
        found = {"kind": kind, "cause": cause, "packet": packet, "ending": ending}
        if cause == UNACKNOWLEDGED:
            found |= self._sizes()
        mail = self._about(None) if about is None or self._mail[2] else {}
        return found | mail | self._about(about)

    @property
    def _unacknowledged(self) -> bool:
        if self._sent is None or self._acknowledged is None:
            return False
        return _after(self._sent, self._acknowledged)

    def _sizes(self) -> dict[str, Any]:
        """How large the packets are that got lost, and the largest that did not."""
        lost = [
            size for end, size in self._outstanding.items() if _after(end, self._acknowledged or 0)
        ]
        if not lost:
            return {}
        least, most = min(lost), max(lost)
        sizes = {"unacknowledged": [least, most], "acknowledged": self._largest}
        return {
            "sizes": sizes | {"only_large": least > max(self._largest, LARGE) and self._largest > 0}
        }

    def _ending(self, quiet: float) -> str:
        if self._end is None:
            return f"for {quiet:.1f} s, until the capture ends"
        end = self._end
        if quiet < MOMENT:
            return f"at once the {end.who} {end.does} (packet {end.packet})"
        return f"after {quiet:.1f} s the {end.who} {end.does} (packet {end.packet})"

    def _about(self, owed: Owed | None) -> dict[str, Any]:
        """The command, or the mail, that it is about."""
        if owed is not None and owed.text:
            return {"evidence": {"what": "command", "text": owed.text, "measured": 0, "allowed": 0}}
        sender, recipient, count = self._mail
        if not sender:
            return {}
        mail = {"sender": sender, "recipient": recipient, "recipients": count, "message_id": ""}
        return {"mail": mail}


def _after(number: int, other: int) -> bool:
    return 0 < (number - other & 0xFFFF_FFFF) < 0x8000_0000
