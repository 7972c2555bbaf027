"""Verdicts as the kernel reads them."""

import struct

from nfinspect.live.netlink import messages, walk
from nfinspect.live.verdicts import SYN, Verdicts

NUMBER = b"\0\0\1\2"


def parsed(sent: bytes) -> list[tuple[int, dict[int, bytes]]]:
    """Resource and attributes of each message."""
    found = []
    for kind, body in messages(sent):
        assert kind == 3 << 8 | 1
        family, version, resource = struct.unpack_from("!BBH", body)
        assert (family, version) == (0, 0)
        found.append((resource, {kind: value for _, kind, value in walk(body[4:])}))
    return found


def test_accept_drop_and_replace() -> None:
    verdicts = Verdicts(7)
    verdicts.accept(NUMBER)
    verdicts.drop(NUMBER)
    verdicts.replace(NUMBER, b"other")
    (group,) = verdicts.take()
    assert parsed(b"".join(group)) == [
        (7, {2: struct.pack("!I", 1) + NUMBER}),
        (7, {2: struct.pack("!I", 0) + NUMBER}),
        (7, {2: struct.pack("!I", 1) + NUMBER, 10: b"other"}),
    ]


def test_verdicts_on_syns_are_for_their_queue() -> None:
    verdicts = Verdicts(7)
    verdicts.accept(SYN + NUMBER)
    verdicts.drop(SYN + NUMBER)
    verdicts.accept(NUMBER)
    verdicts.replace(SYN + NUMBER, b"other")
    (group,) = verdicts.take()
    assert parsed(b"".join(group)) == [
        (32775, {2: struct.pack("!I", 1) + NUMBER}),
        (32775, {2: struct.pack("!I", 0) + NUMBER}),
        (7, {2: struct.pack("!I", 1) + NUMBER}),
        (32775, {2: struct.pack("!I", 1) + NUMBER, 10: b"other"}),
    ]


def test_verdicts_are_taken_once() -> None:
    verdicts = Verdicts(0)
    verdicts.accept(NUMBER)
    assert len(list(verdicts.take())) == 1
    assert list(verdicts.take()) == []


def test_what_is_sent_at_once_is_bounded_and_in_order() -> None:
    verdicts = Verdicts(0)
    sizes = [60_000, 0, 65_531, 65_531, 1, 2, 3, 65_531]
    for number, size in enumerate(sizes):
        verdicts.replace(number.to_bytes(4, "big"), bytes(size))
    groups = list(verdicts.take())
    assert all(sum(map(len, group)) <= Verdicts.LIMIT for group in groups)
    assert len(groups) == 3
    order = [entry[2][4:] for group in groups for _, entry in parsed(b"".join(group))]
    assert order == [number.to_bytes(4, "big") for number in range(len(sizes))]
