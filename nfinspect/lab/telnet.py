"""A telnet for mail servers: each line is sent once the one before is answered.

Real ones send a line when it is complete, or, like PuTTY and Windows' telnet, each key as it is pressed;
this one does either.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator

from nfinspect.lab.dialogue import ClientConnection
from nfinspect.lab.topology import LabError

KEY = 0.02
"""Seconds between two keys; each makes a packet."""


def connect(host: str, port: int, timeout: float) -> ClientConnection:
    """Return a connection to *host*; *timeout* (seconds) applies to every wait. Raises LabError if there
    is none."""
    try:
        connection = socket.create_connection((host, port), timeout)
    except OSError as error:
        raise LabError(f"{host}, port {port}: {error}") from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ClientConnection(connection, timeout)


def converse(client: ClientConnection, lines: Iterable[str], *, keys: bool) -> Iterator[str]:
    """Yield the greeting, and for each line the reply to it; a mail, between 354 and the line ``.``, is
    answered once. With *keys* each character of a line is sent by itself.

    Ends after QUIT. Raises TimeoutError if a reply does not come, ConnectionError if the server has closed.
    """
    reply = client.reply()
    yield reply
    for line in lines:
        data = line.encode() + b"\r\n"
        for piece in _pieces(data) if keys else [data]:
            client.send(piece)
            if keys:
                time.sleep(KEY)
        if not reply.startswith("354") or line == ".":
            reply = client.reply()
            yield reply
        if reply.startswith("221"):
            return


def _pieces(data: bytes) -> list[bytes]:
    """Each character by itself; Enter is CR LF."""
    return [*(bytes((each,)) for each in data[:-2]), data[-2:]]
