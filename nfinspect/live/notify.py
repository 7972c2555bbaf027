"""Notifying systemd that the filter is ready (sd_notify(3)), without its library."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send *state*, such as ``READY=1``, to the service manager, if it expects notifications."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    # If the service manager is gone, the filter still runs.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection,
    ):
        connection.sendto(state.encode(), address)
