"""Whatever arrives: no exception, exactly one verdict for each packet, and no memory left in use."""

from __future__ import annotations

from random import Random

import pytest

from nfinspect.actions import Accept, Drop, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.cli.configuration import default_configuration
from nfinspect.engine import LIVE, RECORDED, Engine, EngineOptions
from tests.model.wire import ACK, CLIENT, FIN, PSH, RST, SERVER, SYN, URG, Packet

POLICY = default_configuration().policy
LINES = (
    b"EHLO client.example\r\n",
    b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n",
    b"Subject: x\r\n\r\nbody\r\n.\r\n",
    b"QUIT\r\n",
    b"220 mail.example ESMTP\r\n",
    b"250-mail.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n",
    b"354 go\r\n",
    b"250 ok\r\n",
    b"BDAT 10 LAST\r\nXXXX",
    b"\0\xff\r\r\n\n",
)


def packets(random: Random, count: int) -> list[bytes]:
    """Segments of a few connections in any order, with similar sequence numbers, many corrupted."""
    made: list[bytes] = []
    for _ in range(count):
        client = (CLIENT[0], 40000 + random.randrange(4))
        ends = (client, SERVER) if random.random() < 0.6 else (SERVER, client)
        flags = random.choice((ACK, ACK, ACK, ACK | PSH, SYN, SYN | ACK, RST, FIN | ACK, URG | ACK))
        if random.random() < 0.1:
            flags = random.randrange(256)
        datagram = Packet(
            *ends,
            2**32 - 50 + random.randrange(120),
            2**32 - 50 + random.randrange(120),
            flags,
            random.choice((0, 10, 1000, 65535)),
            random.choice(LINES) if random.random() < 0.7 else b"",
            bytes(random.randrange(256) for _ in range(random.choice((0, 0, 4, 12, 20, 40)))),
            random.choice((1, 64, 255)),
        ).build()
        kind = random.random()
        if kind < 0.3:
            at = random.randrange(len(datagram))
            datagram = datagram[:at] + bytes([random.randrange(256)]) + datagram[at + 1 :]
        elif kind < 0.4:
            datagram = datagram[: random.randrange(len(datagram))]
        elif kind < 0.5:
            datagram += bytes(random.randrange(40))
        made.append(datagram)
    return made


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_random_and_corrupt_packets_each_get_one_verdict(seed: int, recorded: bool) -> None:
    random = Random(seed)
    engine = Engine(
        POLICY, EngineOptions(RECORDED if recorded else LIVE, transcript=True), started=0.0
    )
    now, waiting, cut = 0.0, set[int](), set[int]()

    def act(actions: list[object]) -> None:
        for action in actions:
            if isinstance(action, Accept | Replace | Drop):
                if action.token not in waiting:  # the rest of a packet
                    assert recorded
                    assert action.token in cut
                    assert not isinstance(action, Accept)
                waiting.discard(action.token)
                if isinstance(action, Replace):
                    cut.add(action.token)
            elif isinstance(action, Inject):
                assert not recorded

    for token, datagram in enumerate(packets(random, 500)):
        now += random.choice((0.0, 0.01, 1.0, 40.0))
        waiting.add(token)
        checksum_ready = random.random() < 0.5
        known = {"checksum_ready": checksum_ready, "gso": not recorded and random.random() < 0.2}
        act(engine.arrive(Arrival(token, datagram, now, **known)))
        if random.random() < 0.1:
            act(engine.tick(now))
        assert len(waiting) <= engine.held if recorded else len(waiting) == engine.held
    act(engine.flush(now))
    assert not waiting
    for _ in range(100):
        now += 100
        act(engine.tick(now))
    assert engine.connections == 0
    assert engine.ledger.memory_bytes == engine.ledger.held_bytes == 0
