"""Whatever happens to connections, what is counted is what is open, and in the end nothing is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nfinspect.engine import Engine, EngineOptions
from nfinspect.events import LimitReached
from nfinspect.flow.permissions import LIVE, RECORDED
from nfinspect.policy import parse_policy
from nfinspect.tcp.limits import Limits
from tests.model.counts import check_counts
from tests.model.talk import ACK, FIN, RST, SYN, Talk
from tests.model.wire import SERVER

HOST = ".".join(map(str, SERVER[0]))
CLASS = "policy-map global_policy\n class class-default\n  set connection {}\n"
STATIC = f"static (inside,outside) 203.0.113.9 {HOST} netmask 255.255.255.255 tcp {{}} {{}}\n"
POLICIES = [
    parse_policy(text, "a.cfg").policy
    for text in (
        "",
        CLASS.format("conn-max 3 embryonic-conn-max 1") + STATIC.format(4, 2),
        CLASS.format("per-client-max 2 per-client-embryonic-max 1 conn-max 4"),
        CLASS.format("per-client-embryonic-max 1\n  set connection timeout idle 0:0:20 reset dcd"),
        STATIC.format(2, 0),
    )
]

WHO = st.integers(0, 3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["open", "open", "violated", "ack"]), WHO),
        st.tuples(st.sampled_from(["syn", "syn", "syn-ack", "ack"]), WHO),
        st.tuples(st.sampled_from(["fin", "server fin", "rst", "server rst", "old", "close"]), WHO),
        st.tuples(st.just("wait"), st.sampled_from([1, 6, 31, 601, 4000])),
        st.tuples(st.sampled_from(["clear", "clear all"]), WHO),
        st.tuples(st.sampled_from(["expect", "expect", "gone"]), WHO),
        st.tuples(st.just("policy"), st.integers(0, len(POLICIES) - 1)),
    ),
    min_size=10,
    max_size=60,
)


def step(talk: Talk, what: str) -> None:
    match what:
        case "open":
            for each in ("syn", "syn-ack", "ack"):
                step(talk, each)
        case "syn":
            before = talk.next["server"]
            if talk.client(flags=SYN, at=-1) == b"":
                talk.next = {"client": 0, "server": 0}
            elif talk.client(flags=SYN, at=100_000) == b"":  # the old number is taken
                talk.next = {"client": 100_001, "server": before}
        case "syn-ack":
            talk.server(flags=SYN | ACK, at=talk.next["server"] - 1)
        case "ack":
            talk.client(flags=ACK)
        case "violated":
            step(talk, "open")
            talk.server(b"220 x\r\n")
            talk.client(b"M" * 600)
        case "fin":
            talk.client(flags=FIN | ACK)
        case "server fin":
            talk.server(flags=FIN | ACK)
        case "close":
            talk.client(flags=FIN | ACK)
            talk.server(flags=FIN | ACK)
            talk.client(flags=ACK)
        case "rst":
            talk.client(flags=RST)
        case "server rst":
            talk.server(flags=RST | ACK, at=talk.next["server"] - (not talk.next["server"]))
        case "old":
            talk.client(b"NOOP\r\n", at=50, flags=ACK)


def key_of(client: tuple[bytes, int]) -> bytes:
    """The key of this client's packets."""
    return client[0] + SERVER[0] + client[1].to_bytes(2, "big") + SERVER[1].to_bytes(2, "big")


def check(engine: Engine) -> None:
    """Every count is what the table's open connections make it."""
    table = engine._core.table
    check_counts(engine, (*table.connections(), *table.expected.values()))


@given(
    steps=STEPS,
    bound=st.integers(1, 7),
    recorded=st.booleans(),
    start=st.sampled_from([1.0, 999.0]),
)
def test_counts_are_those_of_the_open_connections_and_zero_at_the_end(
    steps: list[tuple[str, int]], bound: int, recorded: bool, start: float
) -> None:
    options = EngineOptions(RECORDED if recorded else LIVE, limits=Limits(connections=bound))
    engine = Engine(POLICIES[1], options, started=0.0)
    talks = [
        Talk(engine=engine, client=(bytes([192, 0, 2, 1 + who % 3]), 2000 + who), now=start)
        for who in range(4)
    ]
    for number, talk in enumerate(talks):  # one may get the verdict of another's packet
        talk.tokens, talk._sent = number * 1_000_000, talks[0]._sent
    now = start
    for what, value in steps:
        if what == "policy":
            engine.adopt(POLICIES[value])
        elif what == "wait":
            talks[0].now = now
            talks[0].wait(value)
            now = talks[0].now
        elif what == "expect":
            client = talks[value].client_end
            engine.expect({key_of(client)}, now)
        elif what == "gone":
            engine.keep_expected({key_of(talks[value].client_end)}, now)
        elif what.startswith("clear"):
            address = None if what == "clear all" else talks[value].client_end[0]
            talks[0]._verdict(engine.clear(now, address), None)
        else:
            talks[value].now = now
            step(talks[value], what)
        check(engine)
        for talk in talks:
            for event in talk.emitted(LimitReached):
                assert event.count >= event.allowed > 0
            talk.events.clear()
    engine.clear(now)
    engine.keep_expected((), now)
    check(engine)
    assert engine._core.table.admission.counted == 0
