"""Telling systemd that the filter is ready (sd_notify(3)), without its library."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send *state*, as ``READY=1``, to the service manager, if one has asked for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    if address.startswith("@"):  # the abstract name space
        address = "\0" + address[1:]
    # A manager that went away is no reason not to filter.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection,
    ):
        connection.sendto(state.encode(), address)
