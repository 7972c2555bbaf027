"""How the table remembers finished connections."""

from __future__ import annotations

from nfinspect.events import Connection, Endpoint
from nfinspect.packet.segment import reverse_key
from nfinspect.policy.model import Plan
from nfinspect.tcp.connection import TcpConnection
from nfinspect.tcp.limits import Ledger, Limits
from nfinspect.tcp.table import Table


def connection(port: int) -> TcpConnection:
    nobody = Endpoint("", b"", 0)
    key = b"\xc0\0\2\1\xc6\x33\x64\x19" + port.to_bytes(2, "big") + b"\0\x19"
    return TcpConnection(Connection(port, nobody, nobody), key, Plan(None), 0.0, Ledger())


def test_oldest_finished_connection_is_forgotten_at_the_bound() -> None:
    table = Table(Limits(connections=4))
    ended = [connection(port) for port in range(1000, 1010)]
    for number, each in enumerate(ended):
        table.finish(each, float(number))
        kept = [e.key for e in ended[max(0, number - 3) : number + 1]]
        assert list(table.finished) == kept
    for number, each in enumerate(ended):
        for key in (each.key, reverse_key(each.key)):
            assert (table.find_finished(key, 10.0) is not None) == (number >= 6)


def test_finished_connection_is_forgotten_after_its_time() -> None:
    table = Table(Limits())
    early, late, last = (connection(port) for port in (1, 2, 3))
    table.finish(early, 0.0)
    table.finish(late, 1.0)
    table.finish(last, 60.5)
    assert list(table.finished) == [late.key, last.key]
    assert table.find_finished(late.key, 60.9) is not None
    assert table.find_finished(late.key, 61.0) is None
