"""What the server's TCP can deliver is always a prefix of what the inspector approved, and nothing
stalls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from nfinspect.cli.configuration import default_configuration
from nfinspect.engine import Engine
from nfinspect.events import ConnectionTornDown, InspectionClosed, TeardownReason
from nfinspect.flow import opening
from nfinspect.tcp.limits import Ledger
from tests.model.endpoint import Endpoint
from tests.model.inspector import SwapCase
from tests.model.wire import ACK, CLIENT, FIN, SERVER, Packet
from tests.model.world import Link, World

pytestmark = pytest.mark.pure


@pytest.fixture(autouse=True)
def swap_case(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(opening, "Inspector", SwapCase)
    yield
    SwapCase.instances.clear()


def link(random: Random, loss: float) -> Link:
    slowest = random.choice((0.011, 0.5))
    return Link(loss * random.random(), random.choice((0.0, 0.1)), (0.01, slowest))


def text(random: Random, gates: int) -> bytes:
    """A client's stream: text, commands that are owed a reply, and some that shut the direction."""
    letters = bytearray(random.choices(b"abcdefgHIJKLM\r\n.?", k=random.randint(1, 3000)))
    for _ in range(random.randint(0, gates)):
        letters.insert(random.randint(0, len(letters)), ord("!"))
    return bytes(letters)


def build_world(seed: int) -> World:
    random = Random(seed)
    policy = random.choice(("first", "last"))
    client = Endpoint(
        "client",
        CLIENT,
        SERVER,
        random,
        initial=2**32 - random.randint(0, 3000),
        largest=random.choice((3, 40, 400, 1400)),
        policy=policy,
    )
    server = Endpoint(
        "server",
        SERVER,
        CLIENT,
        random,
        initial=random.randint(0, 2**32 - 1),
        largest=random.choice((3, 40, 400)),
        policy=policy,
        window=random.choice((300, 5000, 60000)),
    )
    client.write(text(random, gates=12))
    client.no_more = True
    server.write(b"Hello\r\n")

    def answer(data: bytes) -> None:
        server.write(b"+Ok\r\n" * (data.count(b"!") + data.count(b"?")))

    server.on_data = answer
    server.ends_after_peer = True
    loss = random.choice((0.0, 0.02, 0.2))
    engine = Engine(default_configuration().policy, started=0.0)
    return World(engine, client, server, random, link(random, loss), link(random, loss))


@pytest.mark.parametrize("seed", range(300))
def test_everything_arrives_as_approved_over_lossy_links(seed: int) -> None:
    world = build_world(seed)
    world.run()
    assert bytes(world.server.received) == bytes(world.client.stream).swapcase()
    assert bytes(world.client.received) == bytes(world.server.stream).swapcase()
    ends = [event for event in world.events if isinstance(event, ConnectionTornDown)]
    assert [event.reason for event in ends] == [TeardownReason.TCP_FINS]
    assert ends[0].bytes_passed == len(world.client.stream) + len(world.server.stream)
    assert not world.waiting
    assert world.engine.ledger == Ledger()


@pytest.mark.parametrize("seed", range(300))
def test_only_approved_bytes_are_delivered_despite_conflicting_segments(seed: int) -> None:
    world = build_world(seed)
    random = world.random

    def forge(packet: Packet) -> list[Packet]:
        if not packet.payload or random.random() > 0.4:
            return []
        forged = replace(
            packet,
            sequence=packet.sequence + random.randint(-30, 30),
            payload=bytes(random.choices(b"EVIL!?xyz", k=random.randint(1, 60))),
            flags=ACK | random.choice((0, 0, FIN)),
        )
        return [forged]

    world.hostile = forge
    world.until = 400.0
    world.run()
    inspector = SwapCase.instances[0]
    assert inspector.requests.startswith(world.server.received)
    assert inspector.replies.startswith(world.client.received)
    assert not world.waiting


@pytest.mark.parametrize("seed", range(300))
def test_closed_connection_delivers_nothing_more_except_the_replies_owed(seed: int) -> None:
    world = build_world(seed)
    stream = world.client.stream
    at = world.random.randint(0, len(stream))
    stream[at:at] = b"#"
    world.until = 3000.0
    world.run()
    inspector = SwapCase.instances[0]
    lawful = bytes(stream).split(b"#")[0].swapcase()
    assert lawful.startswith(inspector.requests)
    assert inspector.requests.startswith(world.server.received)
    assert any(isinstance(event, InspectionClosed) for event in world.events)
    received = bytes(world.client.received)
    assert received == bytes(world.server.stream)[: len(received)].swapcase()
    if world.server.received == inspector.requests:
        owed = inspector.requests.count(b"!") + inspector.requests.count(b"?")
        assert received.count(b"+") == owed
    assert not world.waiting
