"""The loads: ordinary mail in three forms, from Postfix's smtp-source to its smtp-sink."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from nfinspect.lab import topology

KIB = 1024
MB = 1_000_000

SENDER = f"anna@{topology.CLIENT_NAME}"
RECIPIENT = f"bert@{topology.SERVER_NAME}"


@dataclass(frozen=True, slots=True)
class Load:
    """A number of sessions of one mail each, some of them at a time."""

    name: str
    sessions: int
    parallel: int
    size: int
    """Bytes of the mail on the wire, without the final dot."""

    def command(self, mail: Path) -> list[str]:
        """The command line of smtp-source, which sends HELO and waits for each reply."""
        return [
            *("smtp-source", "-M", topology.CLIENT_NAME, "-f", SENDER, "-t", RECIPIENT),
            *("-s", str(self.parallel), "-m", str(self.sessions), "-F", str(mail)),
            f"[{topology.SERVER_ADDRESS}]:25",
        ]

    def shortened(self, divisor: int) -> Load:
        """The same load with fewer sessions, for a quick check."""
        sessions = max(self.parallel, self.sessions // divisor)
        return Load(self.name, sessions, self.parallel, self.size)

    @property
    def octets(self) -> int:
        """Bytes of mail in the whole load."""
        return self.sessions * self.size


SMALL = Load("small", sessions=3000, parallel=20, size=2 * KIB)
SINGLE = Load("single", sessions=1000, parallel=1, size=2 * KIB)
BULK = Load("bulk", sessions=80, parallel=8, size=5 * MB)
LOADS = (SMALL, SINGLE, BULK)
"""In the order in which they are sent; the last determines the peak memory."""

SINK = [
    *("smtp-sink", "-u", "nobody", "-m", "512", "-h", topology.SERVER_NAME),
    *(f"inet:[{topology.SERVER_ADDRESS}]:25", "1000"),
]

_LINE = 78
"""Bytes of a full line of base64, including CR LF (RFC 2045 section 6.8)."""

_BOUNDARY = "=_part_of_a_benchmark"
_HEAD = f"""\
Received: from desk.{topology.CLIENT_NAME} (desk.{topology.CLIENT_NAME} [192.0.2.77])
\tby {topology.CLIENT_NAME} (Postfix) with ESMTPS id 4TzQ9b2kLmz1Xv
\tfor <{RECIPIENT}>; Tue,  3 Mar 2026 09:15:02 +0100 (CET)
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d={topology.CLIENT_NAME}; s=2026;
\tt=1772525702; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=;
\th=Date:From:To:Subject:From;
\tb=GVlNcmVhZCBhYm91dCB0aGlzIHNpZ25hdHVyZSwgaXQgc2lnbnMgbm90aGluZwpX
\t c2Vjb25kIGxpbmUgb2YgaXQsIGFzIGxvbmcgYXMgc2lnbmF0dXJlcyBhcmU9
Message-ID: <20260303081502.4TzQ9b2kLmz1Xv@{topology.CLIENT_NAME}>
Date: Tue, 03 Mar 2026 09:15:02 +0100
From: Anna Example <{SENDER}>
To: Bert Example <{RECIPIENT}>
Subject: =?UTF-8?Q?Figures_f=C3=BCr_M=C3=A4rz?=
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="{_BOUNDARY}"

--{_BOUNDARY}
Content-Type: text/plain; charset=UTF-8

The figures are attached. A full stop may stand alone:
.
--{_BOUNDARY}
Content-Type: application/octet-stream; name="figures.ods"
Content-Disposition: attachment; filename="figures.ods"
Content-Transfer-Encoding: base64

"""
_TAIL = f"--{_BOUNDARY}--\n"


def mail(size: int) -> str:
    """A mail with headers, a text and an attachment in base64, as smtp-source reads it.

    On the wire, with CR LF and dot stuffing, it has *size* bytes. Raises ValueError if that is too
    small.
    """
    room = size - wire_length(_HEAD) - wire_length(_TAIL)
    if room < _LINE + 2:
        raise ValueError(f"a mail of {size} bytes is too small")
    # Full lines, then one or two for what is left: no line can have only a single byte.
    lengths = [_LINE] * (room // _LINE)
    if rest := room % _LINE:
        lengths[-1:] = [_LINE - 2, rest + 2]
    characters = base64.b64encode(bytes(range(256)) * (room // 256 + 1)).decode()
    attachment = []
    at = 0
    for length in lengths:
        attachment.append(characters[at : at + length - 2] + "\n")
        at += length - 2
    return _HEAD + "".join(attachment) + _TAIL


def wire_length(text: str) -> int:
    """The number of bytes of *text* on the wire."""
    return len(on_the_wire(text).encode())


def on_the_wire(text: str) -> str:
    """*text* as sent after DATA: each line ends with CR LF, and a leading dot is doubled."""
    return "".join(f"{'.' if line.startswith('.') else ''}{line}\r\n" for line in text.splitlines())
