"""FIN and RST segments, real ones and ones that only the filter might believe."""

from __future__ import annotations

from nfinspect.actions import DropReason as Why
from tests.attacks.script import (
    ACK,
    DATA,
    FIN,
    HANDSHAKE,
    RST,
    SYN,
    Attack,
    Expect,
    Fate,
    Reconnect,
    Script,
    Send,
    Wait,
    option,
)
from tests.attacks.words import DUMMY, EVIL, MASKED, MD5, OLD, evil

SACK_PERMITTED = option(4)
FIRST, REST = Send(EVIL[:5], b"XXXXX"), (Send(EVIL[5:], b"XXX\r\n", at=5), Expect(b"500"))
"""The line in two segments, between which something else is sent."""


def between(name: str, *steps: Send | Wait, effective: bool = True, **other: object) -> Script:
    return Script((FIRST, *steps, *REST), (MASKED,), name, effective=effective, **other)


def ends(name: str, step: Send, *then: Send | Wait, **other: object) -> Script:
    """The connection ends for the filter; nothing more reaches the server, even if it is open there."""
    return Script(
        (FIRST, Wait(0.06), step, *then, Send(EVIL[5:], Why.NO_CONNECTION, at=5)),
        (b"XXXXX",),
        name,
        **other,
    )


ENDING = (
    Attack(
        "data-on-fin",
        ("Ptacek and Newsham 1998", "SymTCP: FIN with data"),
        "inspected, and passes with the FIN",
        (
            Script(
                (
                    Send(EVIL, MASKED, flags=DATA | FIN, leaves={"flags": DATA | FIN}),
                    Expect(b"500"),
                ),
                (MASKED,),
                effective=True,
            ),
        ),
    ),
    Attack(
        "data-after-fin",
        ("Ptacek and Newsham 1998", "Themis: data_in_closing_states"),
        "dropped, `past-fin`; a SYN before both FINs are acknowledged: dropped, `duplicate-syn`",
        (
            Script(
                (
                    Send(DUMMY),
                    Expect(b"250"),
                    Send(flags=FIN | ACK),
                    Expect(end=True),
                    Send(EVIL, Why.PAST_FIN, at=10, ack=-1),
                    Send(EVIL, Why.PAST_FIN, at=11, ack=-1),
                    Send(b"A" * 5 + EVIL, Why.INVALID_ACK, at=5, ack=-12_345_678),
                    Reconnect(-100),
                    Send(b"", Why.DUPLICATE_SYN, flags=SYN, at=-1),
                ),
                (DUMMY,),
            ),
        ),
    ),
    Attack(
        "fin-without-ack",
        ("SymTCP: pure FIN", "Themis: no_ack_flag_fin"),
        "dropped, `bad-flags`",
        (between("", Send(b"", Why.BAD_FLAGS, flags=FIN, at=5)),),
    ),
    Attack(
        "fin-with-a-wrong-number",
        ("SymTCP: bad RST/FIN, in-window FIN", "Themis: bad_seqnum_fin, in_window_fin"),
        "before the next byte, where the FIN cannot be: dropped, `past-fin`; ahead of it: held"
        " until it proves wrong; beyond the window: dropped",
        (
            between("in the past", Send(b"", Why.PAST_FIN, flags=FIN | ACK, at=-12_345)),
            between("in the past, no ACK", Send(b"", Why.BAD_FLAGS, flags=FIN, at=-12_345)),
            between("beyond", Send(b"", Why.OUT_OF_WINDOW, flags=FIN | ACK, at=1_000_000)),
            Script(
                (
                    FIRST,
                    Send(b"", Fate.HELD, flags=FIN | ACK, at=6),
                    Send(EVIL[5:], b"XXX\r\n", at=5, released=(Why.PAST_FIN,)),
                    Expect(b"500"),
                ),
                (MASKED,),
                "ahead",
                effective=True,
            ),
        ),
    ),
    Attack(
        "fin-with-a-wrong-acknowledgement",
        ("SymTCP: FIN/ACK bad ACK, FIN/ACK data bad ACK",),
        "dropped, `invalid-ack`",
        (
            between("bare", Send(b"", Why.INVALID_ACK, flags=FIN | ACK, at=5, ack=1_000_000)),
            between("data", Send(b"A" * 10, Why.INVALID_ACK, flags=FIN | ACK, at=5, ack=1_000_000)),
        ),
    ),
    Attack(
        "fin-that-the-server-ignores",
        ("SymTCP: bad FIN/ACK data",),
        "with a wrong checksum: dropped; with an old timestamp: passes, and for the filter the"
        " client has finished, so whatever follows is dropped, `past-fin`",
        (
            between(
                "checksum",
                Send(b"", Why.BAD_CHECKSUM, flags=FIN | ACK, at=5, bad_checksum=True),
                Send(b"A" * 10, Why.BAD_CHECKSUM, flags=FIN | ACK, at=5, bad_checksum=True),
            ),
            Script(
                (
                    FIRST,
                    Send(flags=FIN | ACK, at=5, stamp=OLD),
                    Send(EVIL[5:], Why.PAST_FIN, at=5),
                    Send(flags=FIN | ACK, at=5),
                ),
                (b"XXXXX",),
                "timestamp",
                timestamps=True,
                effective=True,
            ),
        ),
    ),
    Attack(
        "fin-with-md5-option",
        ("SymTCP: FIN/ACK MD5",),
        "the option becomes NOP, so the client has finished for filter and server alike",
        (
            Script(
                (
                    FIRST,
                    Send(flags=FIN | ACK, at=5, options=MD5, leaves={"options": b"\1" * 20}),
                    Send(EVIL[5:], Why.PAST_FIN, at=5),
                ),
                (b"XXXXX",),
                effective=True,
            ),
        ),
    ),
    Attack(
        "simultaneous-close",
        ("RFC 9293 section 3.6",),
        "passes; the connection has ended when both FINs are acknowledged",
        (
            Script(
                (
                    Send(b"QUIT\r\n"),
                    Send(flags=FIN | ACK, before_answer=True),
                    Expect(b"221"),
                    Expect(end=True),
                    Send(flags=ACK),
                    Send(EVIL, Why.CLOSED_CONNECTION, at=7),
                ),
                (b"QUIT\r\n",),
            ),
        ),
    ),
    Attack(
        "rst-with-bad-checksum",
        ("SymTCP: bad RST", "Themis: bad_checksum_rst", "Geneva: A, flags R or RA, chksum"),
        "dropped, `bad-checksum`",
        (
            between("RST", Send(b"", Why.BAD_CHECKSUM, flags=RST, at=5, bad_checksum=True)),
            between(
                "RST ACK", Send(b"", Why.BAD_CHECKSUM, flags=RST | ACK, at=5, bad_checksum=True)
            ),
        ),
    ),
    Attack(
        "rst-outside-the-window",
        ("SymTCP: bad RST/FIN", "Themis: bad_seqnum_rst"),
        "dropped, `bad-rst`",
        (
            between("in the past", Send(b"", Why.BAD_RST, flags=RST, at=-12_345)),
            between("beyond", Send(b"", Why.BAD_RST, flags=RST, at=1_000_000)),
        ),
    ),
    Attack(
        "rst-inside-the-window",
        ("Handley, Paxson and Kreibich 2001", "SymTCP: in-window RST", "Themis: in_window_rst"),
        "passes and ends nothing; the server answers with a challenge ACK (RFC 5961)",
        (between("", Send(flags=RST, at=6), Wait(0.05)),),
    ),
    Attack(
        "rst-partly-inside-the-window",
        ("SymTCP: partial in-window RST", "Themis: partial_in_window_rst"),
        "dropped, `bad-rst`, if its sequence number is already acknowledged",
        (
            between(
                "",
                Wait(0.06),
                Send(b"A" * 30, Why.BAD_RST, flags=RST, at=0),
                Send(b"A" * 10, Why.BAD_RST, flags=RST | ACK, at=-5),
            ),
        ),
    ),
    Attack(
        "rst-with-md5-option",
        ("SymTCP: RST MD5", "Themis: md5_rst", "Geneva: A, flags R, options-md5header"),
        "the option becomes NOP, so the connection has ended for filter and server alike",
        (
            ends(
                "",
                Send(flags=RST, at=5, options=MD5, leaves={"options": b"\1" * 20}),
                effective=True,
            ),
        ),
    ),
    Attack(
        "rst-with-old-timestamp",
        ("SymTCP: RST bad timestamp", "Themis: bad_timestamp_rst"),
        "passes and ends the connection for the filter; a server that ignores it gets nothing more",
        (
            ends("established", Send(flags=RST, at=5, stamp=OLD), timestamps=True),
            Script(
                (
                    Send(flags=SYN, at=-1),
                    Expect(),
                    Send(flags=RST, at=0, stamp=OLD),
                    Send(b"", Why.NO_CONNECTION, flags=ACK),
                    Send(EVIL, Why.NO_CONNECTION, at=0),
                ),
                (),
                "before the last ACK",
                greeting=False,
                timestamps=True,
                effective=True,
            ),
        ),
    ),
    Attack(
        "rst-with-a-wrong-acknowledgement",
        ("SymTCP: RST/ACK bad ACK", "Themis: bad_acknum_rstack"),
        "too low: passes and ends the connection; too high: dropped, `bad-rst`",
        (
            ends("past", Send(flags=RST | ACK, at=5, ack=-12_345_678)),
            between(
                "future", Send(b"", Why.BAD_RST, flags=RST | ACK, at=5, ack=100), effective=False
            ),
        ),
    ),
    Attack(
        "rst-with-low-ttl",
        ("Geneva: A, flags R or RA, ttl", "lib·erate 2017: low TTL RST"),
        "passes and expires on the way, but has ended the connection for the filter: the server"
        " gets nothing more",
        (
            ends("RST", Send(flags=RST, at=5, ttl=2), effective=True),
            ends("RST ACK", Send(flags=RST | ACK, at=5, ttl=2), effective=True),
        ),
    ),
    Attack(
        "rst-at-the-right-most-sack-edge",
        ("Themis: rst_rightmost_sack",),
        "the filter holds what the server could SACK, so the server has no such edge; the RST"
        " passes and ends nothing",
        (
            Script(
                (
                    Send(flags=SYN, at=-1, options=SACK_PERMITTED),
                    Expect(),
                    Send(flags=ACK),
                    Expect(b"220"),
                    Send(EVIL[5:], Fate.HELD, at=5),
                    Send(flags=RST, at=10),
                    Wait(0.05),
                    Send(EVIL[:5], b"XXXXX", at=0, released=(b"XXX\r\n",)),
                    Expect(b"500"),
                ),
                (MASKED,),
                greeting=False,
            ),
        ),
    ),
    Attack(
        "rst-after-fin",
        ("Themis: rst_after_fin",),
        "at the FIN's own number, as a closed socket sends it: passes and ends the connection; the"
        " next connection is inspected",
        (
            Script(
                (
                    Send(DUMMY),
                    Expect(b"250"),
                    Send(flags=FIN | ACK),
                    Expect(end=True),
                    Send(flags=RST, at=10),
                    Reconnect(-100),
                    *HANDSHAKE,
                    Expect(b"220"),
                    *evil(),
                ),
                (DUMMY, MASKED),
                effective=True,
            ),
        ),
    ),
    Attack(
        "data-on-rst",
        ("RFC 9293 section 3.5.2",),
        "cut off",
        (ends("", Send(EVIL, b"", flags=RST, at=5)),),
    ),
)
