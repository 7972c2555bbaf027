"""Lies below TCP: fragments, lengths, IP options, extension headers."""

from __future__ import annotations

from nfinspect.actions import DropReason as Why
from tests.attacks.script import Attack, Expect, Fate, Script, Send
from tests.attacks.words import DUMMY, EVIL, MASKED, evil

LOOSE_SOURCE_ROUTE = bytes((131, 7, 4, 198, 51, 100, 25))
ROUTER_ALERT = bytes((148, 4, 0, 0))


def inspected(name: str, family: int = 0, **fields: object) -> Script:
    return Script(
        (Send(EVIL, MASKED, **fields), Expect(b"500")),
        (MASKED,),
        name,
        family=family,
        effective=True,
    )


def lost(
    name: str, becomes: Why | str, family: int = 0, *, effective: bool = True, **fields: object
) -> Script:
    """A decoy without effect; then the line itself."""
    steps = (Send(DUMMY, becomes, at=0, **fields), *evil())
    return Script(steps, (MASKED,), name, family=family, effective=effective)


NETWORK = (
    Attack(
        "fragments",
        ("Ptacek and Newsham 1998", "RFC 1858"),
        "the kernel reassembles them before the filter; then inspected",
        (
            inspected("in order", pieces=((0, 24), (24, 99))),
            inspected("backwards", pieces=((24, 99), (0, 24))),
            inspected("header cut", family=4, pieces=((0, 8), (8, 16), (16, 99))),
        ),
    ),
    Attack(
        "overlapping-fragments",
        ("Ptacek and Newsham 1998", "Shankar and Paxson 2003", "RFC 5722"),
        "the kernel discards the whole datagram before it reaches the filter",
        (
            lost("behind", Fate.UNSEEN, pieces=((0, 24), (16, 32), (24, 99)), noise=EVIL),
            lost("in front", Fate.UNSEEN, pieces=((24, 99), (16, 32), (0, 24)), noise=EVIL),
        ),
    ),
    Attack(
        "length-lies",
        ("Geneva: PA, IP len", "lib·erate 2017: longer and shorter length"),
        "too long: dropped by the kernel, or `truncated`; too short: the rest is not data, and the"
        " checksum is wrong",
        (
            lost("longer", Why.TRUNCATED, length=24),
            lost("shorter", Why.BAD_CHECKSUM, length=-4),
        ),
    ),
    Attack(
        "ip-options",
        ("Ptacek and Newsham 1998", "lib·erate 2017: invalid IP option"),
        "source routes and impossible lengths are dropped, by the kernel or as `malformed`; other"
        " options pass",
        (
            lost("source route", Why.MALFORMED, family=4, ip_options=LOOSE_SOURCE_ROUTE),
            lost("impossible length", Why.MALFORMED, family=4, ip_options=b"\x07\x01\x01\x01"),
            inspected("router alert", family=4, ip_options=ROUTER_ALERT),
        ),
    ),
    Attack(
        "extension-headers",
        ("RFC 8200 section 4", "RFC 7112"),
        "hop-by-hop, routing (with no segments left) and destination options headers are skipped,"
        " up to 16 of them; a hop-by-hop header that is not the first: dropped, `malformed`",
        (
            inspected("hop-by-hop and two of options", family=6, chain=(0, 60, 60)),
            inspected("routing at its end", family=6, chain=(60, 43)),
            inspected("sixteen", family=6, chain=(60,) * 16),
            lost("seventeen", Why.MALFORMED, family=6, chain=(60,) * 17, effective=False),
            lost("hop-by-hop second", Why.MALFORMED, family=6, chain=(60, 0)),
            inspected("atomic fragment", family=6, chain=(44,)),
        ),
    ),
)
