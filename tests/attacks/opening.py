"""Attacks during the handshake, and connections that are confused with others."""

from __future__ import annotations

from nfinspect.actions import DropReason as Why
from tests.attacks.script import (
    ACK,
    ALIVE,
    FIN,
    HANDSHAKE,
    PSH,
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
from tests.attacks.words import DUMMY, EVIL, MASKED, OLD, evil

SEGMENT_SIZE = b"\2\4\5\xb4"
ANSWERED = (Send(flags=ACK), Expect(b"220"), *evil())


def from_the_syn(
    *steps: Send | Expect, name: str = "", effective: bool = True, **other: object
) -> Script:
    received = (MASKED,)
    return Script(tuple(steps), received, name, greeting=False, effective=effective, **other)


OPENING = (
    Attack(
        "data-on-syn",
        ("Ptacek and Newsham 1998", "SymTCP: SYN with data", "Themis: syn_data", "Geneva: S, load"),
        "cut off; the client has to send it again, and it is then inspected",
        (
            from_the_syn(
                Send(DUMMY, b"", flags=SYN, at=-1, leaves={"flags": SYN}), Expect(), *ANSWERED
            ),
        ),
    ),
    Attack(
        "data-on-repeated-syn",
        ("SymTCP: retransmitted SYN data", "Themis: syn_data2"),
        "cut off",
        (
            from_the_syn(
                Send(flags=SYN, at=-1),
                Expect(),
                Send(DUMMY, b"", flags=SYN, at=-1, leaves={"flags": SYN}),
                *ANSWERED,
            ),
        ),
    ),
    Attack(
        "data-on-syn-out-of-window",
        ("SymTCP: out-of-window SYN data",),
        "dropped, `duplicate-syn`",
        (
            from_the_syn(
                Send(flags=SYN, at=-1),
                Expect(),
                Send(DUMMY, Why.DUPLICATE_SYN, flags=SYN, at=1_000_000),
                *ANSWERED,
            ),
        ),
    ),
    Attack(
        "syn-with-fin",
        ("Themis: syn_fin",),
        "dropped, `bad-flags`",
        (
            from_the_syn(
                Send(b"", Why.BAD_FLAGS, flags=SYN | FIN, at=99),
                Send(flags=SYN, at=-1),
                Expect(),
                *ANSWERED,
            ),
        ),
    ),
    Attack(
        "syn-ack-first",
        ("Themis: tcb_turnaround", "Geneva: S, flags SA"),
        "dropped, 106015. In the first 300 s, when it may be taken for an older connection,"
        " whatever follows on that connection is dropped until the server's RST has ended it",
        (
            from_the_syn(
                Send(b"", Why.NO_CONNECTION, flags=SYN | ACK, at=-1),
                Send(flags=SYN, at=-1),
                Expect(),
                *ANSWERED,
            ),
        ),
    ),
    Attack(
        "syn-inside-a-connection",
        ("SymTCP: multiple SYN", "Themis: multiple_syn, in_window_syn"),
        "dropped: `duplicate-syn` and 419002 if its sequence number differs, `bad-syn` if it is"
        " the same",
        tuple(
            Script((Send(b"", why, flags=SYN, at=at), *evil()), (MASKED,), name, effective=True)
            for name, at, why in (
                ("below", -12_345, Why.DUPLICATE_SYN),
                ("ten above", 10, Why.DUPLICATE_SYN),
                ("in the window", 1, Why.DUPLICATE_SYN),
                ("its own", -9, Why.BAD_SYN),
            )
        ),
    ),
    Attack(
        "data-before-the-syn-ack",
        ("Ptacek and Newsham 1998", "Handley, Paxson and Kreibich 2001"),
        "dropped, `not-established`",
        (
            from_the_syn(
                Send(flags=SYN, at=-1),
                Send(DUMMY, Why.NOT_ESTABLISHED, at=0, before_answer=True),
                Expect(),
                *ANSWERED,
            ),
        ),
    ),
    Attack(
        "data-of-half-a-handshake",
        ("Ptacek and Newsham 1998",),
        "dropped: `bad-flags` without ACK, `invalid-ack` with a wrong acknowledgement number",
        (
            from_the_syn(
                Send(flags=SYN, at=-1),
                Expect(),
                Send(DUMMY, Why.BAD_FLAGS, at=0, flags=PSH),
                Send(DUMMY, Why.INVALID_ACK, at=0, ack=-5),
                Send(DUMMY, Why.INVALID_ACK, at=0, ack=500),
                *ANSWERED,
            ),
        ),
    ),
    Attack(
        "data-on-the-last-ack",
        ("Ptacek and Newsham 1998",),
        "cut to its bare ACK: the client may send nothing before the greeting",
        (
            from_the_syn(
                Send(flags=SYN, at=-1),
                Expect(),
                Send(EVIL, b"", at=0),
                Expect(b"220"),
                *evil(),
            ),
        ),
    ),
    Attack(
        "fast-open",
        ("RFC 7413",),
        "the option becomes NOP and the data is cut off",
        (
            from_the_syn(
                Send(
                    DUMMY,
                    b"",
                    flags=SYN,
                    at=-1,
                    options=option(34, b"\x5a" * 8),
                    leaves={"options": SEGMENT_SIZE + b"\1" * 12},
                ),
                Expect(),
                *ANSWERED,
            ),
        ),
    ),
    Attack(
        "mptcp",
        ("RFC 8684",),
        "the option becomes NOP: the connection is an ordinary one",
        (
            from_the_syn(
                Send(
                    flags=SYN,
                    at=-1,
                    options=option(30, b"\1\x81" + b"k" * 8),
                    leaves={"options": SEGMENT_SIZE + b"\1" * 12},
                ),
                Expect(),
                Send(flags=ACK, options=option(30, b"\1\x81" + b"k" * 16)),
                Expect(b"220"),
                *evil(),
            ),
        ),
    ),
    Attack(
        "window-scale-lies",
        ("RFC 7323 section 2",),
        "passes; a shift above 14 counts as 14, and the option has no effect on an established"
        " connection",
        (
            from_the_syn(
                Send(flags=SYN, at=-1, options=option(3, b"\xff")),
                Expect(),
                Send(flags=ACK, window=4),
                Expect(b"220"),
                *evil(),
                name="255",
            ),
            from_the_syn(
                Send(flags=SYN, at=-1, options=option(3, b"\7")),
                Send(flags=SYN, at=-1, before_answer=True),
                Expect(),
                Send(flags=ACK, window=60000),
                Expect(b"220"),
                Send(EVIL, MASKED, options=option(3, b"\2")),
                Expect(b"500"),
                name="taken back",
            ),
        ),
    ),
    Attack(
        "split-handshake",
        ("Beardsley and Qian 2010", "RFC 9293 section 3.5"),
        "the server's SYN and the client's SYN-ACK are dropped, `bad-syn`; data is dropped,"
        " `not-established`",
        (
            Script(
                (
                    Send(flags=SYN, at=-1),
                    Send(flags=ACK, by_server=True),
                    Send(b"", Why.BAD_SYN, flags=SYN, by_server=True),
                    Send(b"", Why.BAD_SYN, flags=SYN | ACK, at=-1),
                    Send(DUMMY, Why.NOT_ESTABLISHED, at=0),
                ),
                (),
                "by the server",
                greeting=False,
                server=False,
                live=False,
            ),
        ),
    ),
    Attack(
        "simultaneous-open",
        ("RFC 9293 section 3.5",),
        "the server's SYN is dropped, `bad-syn`: no mail server opens a connection this way",
        (
            Script(
                (
                    Send(flags=SYN, at=-1),
                    Send(b"", Why.BAD_SYN, flags=SYN, by_server=True),
                    Send(b"", Why.BAD_SYN, flags=SYN | ACK, at=-1),
                    Send(b"", Why.BAD_SYN_ACK, flags=SYN | ACK, at=-1, by_server=True, ack=-1),
                ),
                (),
                greeting=False,
                server=False,
                live=False,
            ),
        ),
    ),
    Attack(
        "data-on-syn-ack",
        ("RFC 7413",),
        "dropped, `bad-syn-ack`, as is a SYN-ACK that acknowledges more than the SYN",
        (
            Script(
                (
                    Send(flags=SYN, at=-1),
                    Send(b"220 x\r\n", Why.BAD_SYN_ACK, flags=SYN | ACK, by_server=True),
                    Send(b"", Why.BAD_SYN_ACK, flags=SYN | ACK, by_server=True, ack=10),
                ),
                (),
                greeting=False,
                server=False,
                live=False,
            ),
        ),
    ),
    Attack(
        "port-reuse",
        ("RFC 9293 section 3.6.1", "RFC 6191"),
        "in the minute after both FINs, a SYN with a higher number starts a new connection, which"
        " is inspected; one with a lower number is dropped, `bad-syn`",
        (
            Script(
                (
                    Send(b"QUIT\r\n"),
                    Expect(b"221"),
                    Expect(end=True),
                    Send(flags=FIN | ACK),
                    Wait(0.2),
                    Reconnect(-3000),
                    Send(b"", Why.BAD_SYN, flags=SYN, at=-1),
                    Reconnect(200_000),
                    *HANDSHAKE,
                    Expect(b"220"),
                    *evil(),
                ),
                (b"QUIT\r\n", MASKED),
                effective=True,
            ),
        ),
    ),
    Attack(
        "port-reuse-after-reset",
        ("Themis: rst_after_fin",),
        "a SYN with any other number starts a new connection, which is inspected",
        (
            Script(
                (
                    Send(flags=RST),
                    Reconnect(-100),
                    *HANDSHAKE,
                    Expect(b"220"),
                    *evil(),
                ),
                (b"", MASKED),
                effective=True,
            ),
        ),
    ),
    Attack(
        "syn-from-port-25",
        ("RFC 9293 section 3.5",),
        "a SYN from an inspected port is dropped, `bad-syn`. Otherwise a client could forge one from"
        " the server to itself, after an RST that the server ignored, and go on uninspected; and from"
        " port 25 to port 25 its commands would be taken for replies",
        (
            Script(
                (Send(flags=SYN, becomes=Why.BAD_SYN, at=-1), Send(EVIL, Why.NO_CONNECTION, at=0)),
                (),
                "from port 25",
                greeting=False,
                port=25,
            ),
            Script(
                (
                    Send(flags=RST, ttl=2),
                    Send(b"", Why.BAD_SYN, flags=SYN, forged=True),
                    Send(b"", Why.NO_CONNECTION, flags=SYN | ACK),
                    Send(b"", Why.NO_CONNECTION, flags=ACK, forged=True),
                    Send(EVIL, Why.NO_CONNECTION, at=0),
                ),
                (b"",),
                "in the server's name",
                effective=True,
            ),
        ),
    ),
    Attack(
        "in-the-servers-name",
        ("nfinspect",),
        "anything in the server's name on the interface on which the client's SYN arrived is"
        " dropped, `wrong-side`. Otherwise a client could send a DATA that the server discards for"
        " its old timestamp, forge the reply to it, and pass off commands as the text of a message",
        (
            Script(
                (
                    Send(b"MAIL FROM:<a@b>\r\n"),
                    Expect(b"250"),
                    Send(b"RCPT TO:<c@d>\r\n"),
                    Expect(b"250"),
                    Send(b"DATA\r\n", stamp=OLD),
                    Send(b"354 go on\r\n", Why.WRONG_SIDE, forged=True),
                    Send(EVIL, Fate.HELD),
                    Send(b"DATA\r\n", at=32, released=(EVIL,)),
                    Expect(b"354"),
                    Send(b".\r\n"),
                    Expect(b"250"),
                    *ALIVE,
                ),
                (b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n" + EVIL + b".\r\nNOOP\r\n",),
                "a reply",
                timestamps=True,
            ),
            Script(
                (
                    Send(DUMMY, stamp=OLD),
                    Send(b"", Why.WRONG_SIDE, flags=ACK, forged=True),
                    Send(EVIL, DUMMY, at=0),
                    Expect(b"250"),
                    *ALIVE,
                ),
                (DUMMY + b"NOOP\r\n",),
                "an acknowledgement",
                timestamps=True,
                effective=True,
            ),
            Script(
                (
                    Send(b"", Why.WRONG_SIDE, flags=RST, forged=True),
                    Send(b"", Why.WRONG_SIDE, flags=FIN | ACK, forged=True),
                    *evil(),
                ),
                (MASKED,),
                "an end",
            ),
        ),
    ),
)
