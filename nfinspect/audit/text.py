"""Addresses and foreign bytes as text."""

from __future__ import annotations

import socket

from nfinspect.events import Endpoint

LONGEST_STRING = 512
"""Bytes of a client's or server's that a rendering repeats; a longer string ends in ``...``."""

_ESCAPES = [chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in range(256)]
_ESCAPES[ord("\\")] = "\\\\"


def escaped(data: bytes, most: int = LONGEST_STRING) -> str:
    r"""Return *data* as one line of printable ASCII, so that no peer forges a log line with it or
    reaches a terminal.

    All else, bytes above 127 too, becomes ``\xHH``, and a backslash two, so that it can be undone.
    """
    text = "".join([_ESCAPES[byte] for byte in data[:most]])
    return text if len(data) <= most else text + "..."


def address(data: bytes) -> str:
    """Return an IPv4 or IPv6 address of 4 or 16 bytes as text."""
    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)


def ip_port(endpoint: Endpoint) -> str:
    """Return ``ip:port``, or ``[ip]:port`` for IPv6."""
    text = address(endpoint.address)
    return f"{text}:{endpoint.port}" if len(endpoint.address) == 4 else f"[{text}]:{endpoint.port}"
