"""A mail server that takes whatever any server has been found to take for the end of a mail."""

from __future__ import annotations

import socket

from nfinspect.lab.dialogue import Recording, RecordingServer

REPLIES = {
    b"EHLO": b"250-mail.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    b"DATA": b"354 go ahead\r\n",
    b"QUIT": b"221 bye\r\n",
}


class LenientServer(RecordingServer):
    """NULs are removed, each CR and LF ends a line, and a line with only a dot ends the data."""

    def mails(self, since: int) -> list[bytes]:
        """The senders of the mails taken on the connections from number *since* on."""
        return [sender for each in self.recordings[since:] for sender in senders(each.received)]

    def _converse(self, connection: socket.socket, recording: Recording) -> None:
        connection.sendall(self.script.greeting)
        answered = 0
        while data := connection.recv(65536):
            recording.received += data
            replies = answers(recording.received)
            connection.sendall(b"".join(replies[answered:]))
            answered = len(replies)
            if replies and replies[-1].startswith(b"221"):
                return


def read(received: bytes | bytearray) -> tuple[list[bytes], list[bytes]]:
    """The server's replies to what it has received, and the senders of the mails that it takes."""
    text = bytes(received).replace(b"\0", b"").replace(b"\r", b"\n")
    replies: list[bytes] = []
    taken: list[bytes] = []
    sender = b""
    in_data = False
    for line in text.split(b"\n")[:-1]:
        if in_data:
            if line == b".":
                in_data = False
                taken.append(sender)
                replies.append(b"250 taken\r\n")
        elif line:
            verb = line[:4].upper()
            if verb == b"MAIL":
                sender = line.partition(b":")[2]
            replies.append(REPLIES.get(verb, b"250 ok\r\n"))
            in_data = verb == b"DATA"
    return replies, taken


def answers(received: bytes | bytearray) -> list[bytes]:
    return read(received)[0]


def senders(received: bytes | bytearray) -> list[bytes]:
    return read(received)[1]
