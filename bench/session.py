"""One ordinary session, packet by packet, as the filter would see it between two Linux hosts.

Unlike the loads in `loads`, which send HELO, it sends EHLO, so that the reply is masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scapy.layers.inet import IP, TCP

from bench.loads import RECIPIENT, SENDER, mail, on_the_wire
from nfinspect.lab import topology

FIRST_PORT = 1024

SEGMENT = 1448
"""Payload bytes of a full packet on Ethernet, with timestamps."""
GSO_SEGMENT = 45 * SEGMENT
"""Payload bytes of a GSO packet of as many segments as fit into 64 KiB."""

CLIENT, SERVER = True, False

GREETING = f"220 {topology.SERVER_NAME} ESMTP Postfix (Debian/GNU)\r\n"
KEYWORDS = (
    "PIPELINING",
    "SIZE 52428800",
    "ETRN",
    "STARTTLS",
    "ENHANCEDSTATUSCODES",
    "8BITMIME",
    "DSN",
    "SMTPUTF8",
)
EHLO_REPLY = "".join(
    [
        *(f"250-{line}\r\n" for line in (topology.SERVER_NAME, *KEYWORDS)),
        "250 CHUNKING\r\n",
    ]
)


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of the session, from port `FIRST_PORT`."""

    kind: str
    datagram: bytes
    from_client: bool
    gso: bool

    def at_port(self, port: int) -> bytes:
        """The datagram with another client port. Its checksum is not updated."""
        at = 20 if self.from_client else 22
        return self.datagram[:at] + port.to_bytes(2, "big") + self.datagram[at + 2 :]


def session(size: int, segment: int) -> list[Packet]:
    """A session with a mail of *size* bytes, in packets of up to *segment* bytes of payload."""
    return list(_Conversation().packets(size, segment))


class _Conversation:
    """Builds the packets; keeps the sequence numbers."""

    def __init__(self) -> None:
        self.next = {CLIENT: 0x1000_0000, SERVER: 0xFFFF_F000}

    def packets(self, size: int, segment: int) -> Iterator[Packet]:
        yield self.packet("SYN", CLIENT, "S", options=_SYN_OPTIONS)
        yield self.packet("SYN-ACK", SERVER, "SA", options=_SYN_OPTIONS)
        yield self.packet("ACK", CLIENT)
        yield self.packet("greeting", SERVER, "PA", GREETING)
        yield self.packet("ACK", CLIENT)
        for command, kind, reply in (
            (f"EHLO {topology.CLIENT_NAME}", "EHLO reply", EHLO_REPLY),
            (f"MAIL FROM:<{SENDER}>", "reply", "250 2.1.0 Ok\r\n"),
            (f"RCPT TO:<{RECIPIENT}>", "reply", "250 2.1.5 Ok\r\n"),
            ("DATA", "reply", "354 End data with <CR><LF>.<CR><LF>\r\n"),
        ):
            yield self.packet("command", CLIENT, "PA", command + "\r\n")
            yield self.packet(kind, SERVER, "PA", reply)
        text = on_the_wire(mail(size)) + ".\r\n"
        for at in range(0, len(text), segment):
            kind = "message, 64 KiB" if segment > SEGMENT else "message"
            yield self.packet(kind, CLIENT, "PA", text[at : at + segment])
            yield self.packet("ACK", SERVER)
        yield self.packet("reply", SERVER, "PA", "250 2.0.0 Ok: queued as 4TzQ9b2kLmz1Xv\r\n")
        yield self.packet("command", CLIENT, "PA", "QUIT\r\n")
        yield self.packet("reply", SERVER, "PA", "221 2.0.0 Bye\r\n")
        yield self.packet("FIN", SERVER, "FA")
        yield self.packet("FIN", CLIENT, "FA")
        yield self.packet("ACK", SERVER)

    def packet(
        self,
        kind: str,
        from_client: bool,
        flags: str = "A",
        text: str = "",
        options: Sequence[object] = (),
    ) -> Packet:
        client, server = topology.CLIENT_ADDRESS, topology.SERVER_ADDRESS
        ip = IP(src=client, dst=server) if from_client else IP(src=server, dst=client)
        tcp = TCP(
            sport=FIRST_PORT if from_client else 25,
            dport=25 if from_client else FIRST_PORT,
            seq=self.next[from_client],
            ack=self.next[not from_client] if flags != "S" else 0,
            flags=flags,
            window=502,
            options=[*options, ("NOP", None), ("NOP", None), ("Timestamp", (1, 2))],
        )
        datagram = bytes(ip / tcp / text.encode())
        length = len(text) + ("S" in flags) + ("F" in flags)
        self.next[from_client] = (self.next[from_client] + length) & 0xFFFF_FFFF
        return Packet(kind, datagram, from_client, len(text) > SEGMENT)


_SYN_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("NOP", None), ("WScale", 7)]
