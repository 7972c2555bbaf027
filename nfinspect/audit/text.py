"""Addresses and untrusted bytes as text."""

from __future__ import annotations

import socket

from nfinspect.events import Endpoint, Mapped

LONGEST_STRING = 512
"""Bytes from a client or server that are shown; a longer string ends in ``...``."""

_ESCAPES = [chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in range(256)]
_ESCAPES[ord("\\")] = "\\\\"


def escaped(data: bytes, most: int = LONGEST_STRING) -> str:
    r"""Return *data* as one line of printable ASCII, so that no peer can forge log lines or send
    control characters to a terminal.

    All other bytes, also those above 127, become ``\xHH``, and a backslash becomes two, so that it
    can be reversed.
    """
    text = "".join([_ESCAPES[byte] for byte in data[:most]])
    return text if len(data) <= most else text + "..."


def address(data: bytes) -> str:
    """Return an IPv4 or IPv6 address of 4 or 16 bytes as text."""
    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)


def ip_port(endpoint: Endpoint | Mapped) -> str:
    """Return ``ip:port``, or ``[ip]:port`` for IPv6."""
    text = address(endpoint.address)
    return f"{text}:{endpoint.port}" if len(endpoint.address) == 4 else f"[{text}]:{endpoint.port}"


def duration(seconds: float) -> str:
    """Return ``H:MM:SS``, fractions of a second cut off."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"
