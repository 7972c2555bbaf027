"""Flowtables, parsed from nftables messages."""

import struct

from nfinspect.live import flowtables


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


# As nf_tables_fill_flowtable_info writes it: table, name, use count, handle, a nested hook.
FLOWTABLE = (
    bytes((1, 0, 0, 5))
    + attribute(1, b"firewall\0")
    + attribute(2, b"fast\0")
    + attribute(4, struct.pack("!I", 1))
    + attribute(5, struct.pack("!Q", 2))
    + attribute(3 | 0x8000, attribute(1, struct.pack("!I", 0)))
)


def test_flowtable_is_named_by_its_table_and_name() -> None:
    assert flowtables.name(FLOWTABLE) == "firewall fast"


def test_messages_of_one_read_are_separated() -> None:
    data = message(10 << 8 | 22, FLOWTABLE) + message(3, bytes(4))
    assert list(flowtables.messages(data)) == [(10 << 8 | 22, FLOWTABLE), (3, bytes(4))]


def test_message_of_length_zero_does_not_loop() -> None:
    assert len(list(flowtables.messages(bytes(64)))) == 4
