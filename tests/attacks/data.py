"""Segments that a filter and a server may interpret differently."""

from __future__ import annotations

import struct

from nfinspect.actions import DropReason as Why
from tests.attacks.script import (
    ACK,
    ALIVE,
    CWR,
    DATA,
    ECE,
    FIN,
    HANDSHAKE,
    PSH,
    RST,
    SYN,
    URG,
    Attack,
    Expect,
    Fate,
    Script,
    Send,
    Step,
    Wait,
    option,
)
from tests.attacks.words import DONE, DUMMY, EVIL, MASKED, MD5, OLD, evil

ALIVE_AT_TEN = (Send(DONE, at=10), Expect(b"250"))

LINE = b"NOOP " + b"a" * 33 + b"\r\n"
TRICK = LINE[:20] + b"\r\nXEVL b\r\n" + LINE[30:]
"""A line of forty bytes, and the same with another line inside."""


def dropped(name: str, why: Why, **fields: object) -> Script:
    """A decoy that is dropped; then the line itself."""
    return Script((Send(DUMMY, why, at=0, **fields), *evil()), (MASKED,), name, effective=True)


def remembered(name: str, effective: bool = True, **fields: object) -> Script:
    """A decoy that passes, but that the server discards; whatever repeats its sequence numbers passes
    with the decoy's bytes."""
    return Script(
        (Send(DUMMY, **fields), Send(EVIL, DUMMY, at=0), Expect(b"250"), *ALIVE),
        (DUMMY + DONE,),
        name,
        timestamps="stamp" in fields,
        effective=effective,
    )


def in_pieces(*sizes: int, backwards: bool = False) -> Script:
    """The line in segments of these sizes."""
    steps: list[Step] = []
    at = 0
    for size in sizes:
        held = backwards and at > 0
        steps.append(Send(EVIL[at : at + size], Fate.HELD if held else Fate.ANY, at=at))
        at += size
    if backwards:
        steps.reverse()
    name = "/".join(map(str, sizes)) if len(set(sizes)) > 1 else f"{sizes[0]} each"
    return Script(
        (*steps, Expect(b"500"), *ALIVE_AT_TEN),
        (MASKED + DONE,),
        f"{name}{', backwards' if backwards else ''}",
        effective=True,
    )


def with_options(name: str, options: bytes, left: bytes, *, effective: bool = True) -> Script:
    return Script(
        (
            Send(EVIL, MASKED, options=options, leaves={"options": left}),
            Expect(b"500"),
            *ALIVE,
        ),
        (MASKED + DONE,),
        name,
        effective=effective,
    )


DATA_ATTACKS = (
    Attack(
        "bad-checksum",
        (
            "Ptacek and Newsham 1998",
            "Themis: bad_checksum_data",
            "SymTCP: bad data",
            "Geneva: PA, load, chksum",
        ),
        "dropped, `bad-checksum`; changes no state",
        (dropped("", Why.BAD_CHECKSUM, bad_checksum=True),),
    ),
    Attack(
        "old-timestamp",
        ("Ptacek and Newsham 1998", "Themis: bad_timestamp_data", "SymTCP: bad data"),
        "passes; the server discards it (PAWS), and whatever repeats its sequence numbers passes"
        " with the same bytes",
        (remembered("", stamp=OLD),),
    ),
    Attack(
        "timestamp-half-way-round",
        ("SymTCP: time gap", "Themis: time_gap"),
        "inspected, and passes: the filter does not judge timestamps",
        (
            Script(
                (
                    Send(EVIL[:5], b"XXXXX"),
                    Send(EVIL[5:], b"XXX\r\n", stamp=2**31 - 10),
                    Expect(b"500"),
                ),
                (MASKED,),
                timestamps=True,
                effective=True,
            ),
        ),
    ),
    Attack(
        "timestamp-missing",
        ("RFC 7323 section 3.2",),
        "inspected, and passes",
        (
            Script(
                (Send(EVIL, MASKED, stamp=None), Expect(b"500")),
                (MASKED,),
                timestamps=True,
                effective=True,
            ),
        ),
    ),
    Attack(
        "old-acknowledgement",
        ("SymTCP: data bad ACK", "Themis: bad_acknum_data", "Geneva: PA, load, ack"),
        "dropped, `invalid-ack`, as the server would (RFC 5961 section 5). Otherwise an attacker off"
        " the path would need only 2^16 guesses to put bytes into somebody else's connection",
        (
            dropped("", Why.INVALID_ACK, ack=-12_345_678, options=b"\1\1\1\1"),
            Script(
                (
                    Send(DUMMY[5:], Why.INVALID_ACK, at=5, ack=-12_345_678, options=b"\1\1\1\1"),
                    *evil(),
                ),
                (MASKED,),
                "beyond a gap",
                effective=True,
            ),
        ),
    ),
    Attack(
        "acknowledgement-of-the-future",
        ("SymTCP: data bad ACK", "Savage et al. 1999: optimistic ACK"),
        "outside the server's window: dropped, `invalid-ack`; inside it, where it would mean that"
        " bytes bypassed the filter: closes the connection, `unseen-data`",
        (
            dropped("outside the window", Why.INVALID_ACK, ack=10_000_000),
            Script(
                (
                    Send(DUMMY, Why.INSPECTION, ack=1000),
                    Send(EVIL, Why.CLOSED_CONNECTION, at=0),
                ),
                (b"",),
                "inside the window",
                effective=True,
            ),
        ),
    ),
    Attack(
        "no-ack-flag",
        ("Ptacek and Newsham 1998", "SymTCP: data without ACK", "Themis: no_ack_flag_data"),
        "dropped, `bad-flags`",
        (
            dropped("no flag", Why.BAD_FLAGS, flags=0),
            dropped("PSH", Why.BAD_FLAGS, flags=PSH),
            dropped("FIN PSH URG", Why.BAD_FLAGS, flags=FIN | PSH | URG),
            dropped("SYN FIN PSH", Why.BAD_FLAGS, flags=SYN | FIN | PSH),
        ),
    ),
    Attack(
        "all-flags-at-once",
        ("Themis: bad_flags_data", "Geneva: A, flags FRAPUEN"),
        "treated as any RST: its data is cut off, and the connection has ended",
        (
            Script(
                (
                    Send(DUMMY, b"", flags=FIN | RST | ACK | PSH | URG, at=0),
                    Send(EVIL, Why.NO_CONNECTION, at=0),
                ),
                (b"",),
            ),
        ),
    ),
    Attack(
        "number-of-the-past",
        ("Ptacek and Newsham 1998", "Themis: bad_seqnum_data"),
        "passes as `X`",
        (
            Script(
                (Send(DUMMY, b"X" * 10, at=-12_345), *evil()),
                (MASKED,),
                effective=True,
            ),
        ),
    ),
    Attack(
        "number-before-the-first",
        ("SymTCP: underflow SEQ", "Themis: seq_before_isn"),
        "what lies before the first byte passes as `X`; the rest is inspected",
        tuple(
            Script(
                (
                    *HANDSHAKE,
                    Expect(b"220"),
                    Send(b"A" * before + EVIL, b"X" * before + MASKED, at=-before),
                    Expect(b"500"),
                ),
                (MASKED,),
                f"{before} bytes",
                greeting=False,
                effective=True,
            )
            for before in (2, 10)
        ),
    ),
    Attack(
        "number-beyond-the-window",
        ("SymTCP: SEQ jump", "Themis: big_gap"),
        "dropped, `out-of-window`",
        (
            Script(
                (
                    Send(DUMMY, Why.OUT_OF_WINDOW, at=100_000),
                    Send(DUMMY, Why.OUT_OF_WINDOW, at=1_000_000),
                    *evil(),
                ),
                (MASKED,),
                effective=True,
            ),
        ),
    ),
    Attack(
        "gap",
        ("Ptacek and Newsham 1998", "Handley, Paxson and Kreibich 2001"),
        "held until the gap fills, then inspected in order; held segments pass with a timestamp no"
        " older than that of the segment that filled the gap",
        (
            Script(
                (
                    Send(EVIL, Fate.HELD, at=20),
                    Send(EVIL[5:], Why.REPEATED_HELD, at=25),
                    Send(b"NOOP 4567890123456\r\n", at=0, released=(MASKED,)),
                    Expect(b"250"),
                    Expect(b"500"),
                ),
                (b"NOOP 4567890123456\r\n" + MASKED,),
                effective=True,
            ),
            Script(
                (
                    Send(EVIL, Fate.HELD, at=20),
                    Send(b"NOOP 4567890123456\r\n", at=0, stamp=500, released=(MASKED,)),
                    Expect(b"250"),
                    Expect(b"500"),
                ),
                (b"NOOP 4567890123456\r\n" + MASKED,),
                "filled by a younger segment",
                timestamps=True,
                effective=True,
            ),
        ),
    ),
    Attack(
        "tiny-segments",
        (
            "Ptacek and Newsham 1998",
            "SymTCP: small segments",
            "Themis: small_segments, multi_segmentation",
            "Geneva: PA, fragment tcp",
        ),
        "a verb that arrives in pieces is masked, whatever the order of the pieces",
        (
            in_pieces(*(1,) * 10),
            in_pieces(4, 6),
            in_pieces(8, 2),
            in_pieces(2, 2, 2, 4),
            in_pieces(4, 6, backwards=True),
            in_pieces(*(1,) * 10, backwards=True),
        ),
    ),
    Attack(
        "data-offset-lies",
        ("Themis: dataofs_large_data, dataofs_small_data", "Geneva: PA, dataofs"),
        "under 5 words or beyond the segment: dropped, `malformed`; otherwise the bytes that it"
        " turns into options are cleaned as options, and nobody reads them as data",
        (
            dropped("small", Why.MALFORMED, data_offset=4),
            dropped("large", Why.MALFORMED, data_offset=15),
            Script(
                (
                    Send(
                        b"\x13\x12" + EVIL + EVIL[:8] + DUMMY,
                        DUMMY,
                        at=0,
                        data_offset=10,
                        leaves={"options": b"\1" * 20},
                    ),
                    Expect(b"250"),
                    Send(EVIL, b"X" * 10, at=0),
                    *ALIVE_AT_TEN,
                ),
                (DUMMY + DONE,),
                "into the data",
                effective=True,
            ),
        ),
    ),
    Attack(
        "md5-option",
        ("SymTCP: bad data", "Themis: md5_data", "Geneva: options-md5header"),
        "the option becomes NOP, so the server accepts what the filter accepts",
        (
            Script(
                (
                    Send(DUMMY, options=MD5, leaves={"options": b"\1" * 20}),
                    Expect(b"250"),
                    Send(EVIL, b"X" * 10, at=0),
                    *ALIVE,
                ),
                (DUMMY + DONE,),
                effective=True,
            ),
        ),
    ),
    Attack(
        "other-options",
        ("Handley, Paxson and Kreibich 2001", "Geneva: options-uto, options-wscale"),
        "unknown kinds, impossible lengths and duplicates become NOP",
        (
            with_options("user timeout", option(28, b"\x7f\xff"), b"\1" * 4),
            with_options("alternate checksum", option(14, b"\2"), b"\1" * 4),
            with_options("T/TCP", option(11, b"\0\0\0\1") + b"\1\1", b"\1" * 8),
            with_options("length 0", b"\x08\0\1\1", b"\1" * 4),
            with_options("length beyond", b"\x08\x28\1\1", b"\1" * 4),
            with_options("behind the end", b"\0\x08\x0a\1", b"\0" * 4),
            with_options("a second MSS", b"\2\4\5\xb4\2\4\0\1", b"\2\4\5\xb4\1\1\1\1"),
            with_options(
                "SACK of what was never sent",
                b"\1\1" + option(5, struct.pack("!LL", 77, 177)),
                b"\1\1" + option(5, struct.pack("!LL", 77, 177)),
            ),
        ),
    ),
    Attack(
        "urgent",
        ("Ptacek and Newsham 1998", "SymTCP: urgent data", "Themis: urgent_data"),
        "flag and pointer are cleared, so the server too reads every byte in line",
        (
            Script(
                (
                    Send(
                        b"!" + EVIL,
                        b"X" + MASKED,
                        flags=DATA | URG,
                        urgent=1,
                        leaves={"flags": DATA, "urgent": 0},
                    ),
                    Expect(b"500"),
                    *ALIVE,
                ),
                (b"X" + MASKED + DONE,),
                effective=True,
            ),
        ),
    ),
    Attack(
        "ecn-and-reserved-bits",
        ("Handley, Paxson and Kreibich 2001", "RFC 3168"),
        "the bits pass unchanged; the data is inspected",
        (
            Script(
                (
                    Send(
                        EVIL,
                        MASKED,
                        flags=DATA | ECE | CWR,
                        reserved=0xF,
                        leaves={"flags": DATA | ECE | CWR},
                    ),
                    Expect(b"500"),
                ),
                (MASKED,),
                effective=True,
            ),
        ),
    ),
    Attack(
        "low-ttl",
        ("Ptacek and Newsham 1998", "Geneva: PA, load, ttl", "lib·erate 2017: low TTL"),
        "passes and expires on the way; whatever repeats its sequence numbers passes with the same"
        " bytes and the same low TTL, so the sender has cut itself off",
        (
            Script(
                (
                    Send(DUMMY, ttl=2),
                    Send(EVIL, DUMMY, at=0, leaves={"hop_limit": 2}),
                    Send(DONE, Fate.HELD),
                    Send(
                        flags=RST, at=10, leaves={"hop_limit": 2}, released=(Why.CLOSED_CONNECTION,)
                    ),
                ),
                (b"",),
                effective=True,
            ),
        ),
    ),
    Attack(
        "conflicting-repetition",
        ("Ptacek and Newsham 1998", "Handley, Paxson and Kreibich 2001"),
        "passes with the bytes of the first version, or as `X` once that is acknowledged; the"
        " conflict is counted",
        (
            Script(
                (
                    Send(DUMMY),
                    Expect(b"250"),
                    Send(EVIL, b"X" * 10, at=0),
                    Send(EVIL + DUMMY, b"X" * 10 + DUMMY, at=0),
                    Expect(b"250"),
                    Send(DONE, at=20),
                    Expect(b"250"),
                ),
                (DUMMY + DUMMY + DONE,),
                "acknowledged",
            ),
            remembered("lost", stamp=OLD),
        ),
    ),
    Attack(
        "two-versions-beyond-a-gap",
        ("Novak and Sturges 2007", "SymTCP: data overlapping", "Themis: data_overlapping"),
        "a segment that adds nothing to the held ones is dropped, `repeated-held`; the segment"
        " that fills the gap decides, and held ones pass with its bytes",
        (
            Script(
                (
                    Send(LINE[20:30], Fate.HELD, at=20),
                    Send(TRICK[20:30], Why.REPEATED_HELD, at=20),
                    Send(LINE, at=0, released=(LINE[20:30],)),
                    Expect(b"250"),
                ),
                (LINE,),
                "decoy first",
            ),
            Script(
                (
                    Send(TRICK[20:30], Fate.HELD, at=20),
                    Send(LINE[20:30], Why.REPEATED_HELD, at=20),
                    Send(LINE, at=0, released=(LINE[20:30],)),
                    Expect(b"250"),
                ),
                (LINE,),
                "trick first",
            ),
        ),
    ),
    Attack(
        "closed-and-shrunk-windows",
        ("RFC 9293 section 3.8.6",),
        "pass as announced; the server waits, and the filter forgets nothing",
        (
            Script(
                (
                    Send(DUMMY, window=0),
                    Wait(0.3),
                    Send(flags=ACK, window=2),
                    Wait(0.3),
                    Send(flags=ACK, window=60000),
                    Expect(b"250"),
                    *evil(),
                ),
                (DUMMY + MASKED,),
                effective=True,
            ),
        ),
    ),
    Attack(
        "keep-alive-with-a-byte",
        ("RFC 9293 section 3.8.4",),
        "its byte, which the server already has, passes as `X`",
        (
            Script(
                (
                    Send(b"\0", b"X", at=-1, flags=ACK),
                    Send(flags=ACK, at=-1),
                    *evil(),
                ),
                (MASKED,),
                effective=True,
            ),
        ),
    ),
)
