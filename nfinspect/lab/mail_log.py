"""The mail_logs of an email gateway as AsyncOS writes them: the lines about connections and messages.

The four symptoms are those of the tech note (docs/appliance.md, section 8 [S]); the other lines, and
their order, follow the samples in Cisco's notes 118232 and 118295. Identifiers: ICID is a connection
that was accepted, DCID one that was made, MID a message, RID a recipient of it, from 0.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TextIO

ACCEPTED = (
    "New SMTP ICID {icid} interface {interface} ({own}) address {peer}"
    " reverse dns host unknown verified no"
)
STARTED = "Start MID {mid} ICID {icid}"
FROM = "MID {mid} ICID {icid} From: {address}"
TO = "MID {mid} ICID {icid} RID {rid} To: {address}"
READY = "MID {mid} ready {size} bytes from {address}"
LOST = "ICID {icid} lost"
ABORTED = "Message aborted MID {mid} Receiving aborted"
ABORTED_BY_SENDER = f"{ABORTED} by sender"
FINISHED_ABORTED = "Message finished MID {mid} aborted"
ACCEPTED_CLOSE = "ICID {icid} close"

CONNECTED = "New SMTP DCID {dcid} interface {interface} address {peer} port {port}"
DELIVERY = "Delivery start DCID {dcid} MID {mid} to RID {rids}"
CONNECTION_ERROR = (
    "Connection Error: DCID: {dcid} domain:{domain} IP: {peer} port: {port}"
    " details: {error} interface: {interface} reason: network error"
)
DELAYED = "Delayed: DCID {dcid} MID {mid} to RID {rid} - {reason}"
BOUNCED = "Bounced: DCID {dcid} MID {mid} to RID {rid} - {reason}"
DONE = "Message done DCID {dcid} MID {mid} to RID {rids}"
RESPONSE = "MID {mid} RID {rids} Response '{reply}'"
FINISHED = "Message finished MID {mid} done"
CONNECTED_CLOSE = "DCID {dcid} close"

BSD_ERRORS = {
    errno.EPIPE: (32, "Broken pipe"),
    errno.ECONNRESET: (54, "Connection reset by peer"),
    errno.ETIMEDOUT: (60, "Operation timed out"),
    errno.ECONNREFUSED: (61, "Connection refused"),
    errno.EHOSTUNREACH: (65, "No route to host"),
}
"""AsyncOS is a FreeBSD: its numbers and words for these errors, by Linux's number. ETIMEDOUT, the note's
Errno 60, is 110 on Linux."""


def error_words(error: OSError) -> str:
    """An error as AsyncOS writes it, for example ``[Errno 60] Operation timed out``."""
    # A wait that Python ended has no number.
    number = errno.ETIMEDOUT if error.errno is None else error.errno
    code, words = BSD_ERRORS.get(number, (number, os.strerror(number)))
    return f"[Errno {code}] {words}"


class MailLog:
    """Writes lines to a stream, from any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, line: str, **fields: object) -> None:
        """Write a line, with the time before it."""
        with self._lock:
            self._stream.write(f"{time.asctime()} Info: {line.format(**fields)}\n")
            self._stream.flush()
