"""Whatever happens to connections that the kernel passes, lost events and restarts included: what is counted
is what connection tracking has, and in the end nothing is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nfinspect.engine import Engine, EngineOptions
from nfinspect.policy import parse_policy
from nfinspect.tcp.connection import ESTABLISHED
from nfinspect.tcp.kernel_connection import TrackedState
from nfinspect.tcp.limits import Limits
from tests.model.counts import check_counts
from tests.model.tracking import OVER, Tracking
from tests.model.wire import ACK, RST, SYN

MAIL = bytes([198, 51, 100, 25])
LIMITS = """
access-list gateway extended permit ip any host 198.51.100.25
class-map gateway
 match access-list gateway
policy-map global_policy
 class gateway
  no inspect esmtp
 class class-default
  set connection conn-max {} embryonic-conn-max {} per-client-max {} per-client-embryonic-max {}
  set connection timeout idle 0:5:0
static (inside,outside) 203.0.113.9 198.51.100.25 netmask 255.255.255.255 tcp {} {}
"""
POLICIES = [
    parse_policy(LIMITS.format(*numbers), "a.cfg").policy
    for numbers in ((3, 2, 0, 0, 0, 0), (0, 0, 2, 1, 4, 2), (5, 0, 0, 2, 3, 0))
]

WHO = st.integers(0, 5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["open", "open", "syn", "another syn", "answer"]), WHO),
        st.tuples(st.sampled_from(["fin", "finished", "reset", "killed", "carry"]), WHO),
        st.tuples(st.sampled_from(["forged rst", "forged syn-ack", "data here"]), WHO),
        st.tuples(st.sampled_from(["told", "told", "lost", "look", "restart"]), WHO),
        st.tuples(st.sampled_from(["clear", "clear all"]), WHO),
        st.tuples(st.just("wait"), st.sampled_from([1, 6, 31, 301, 4000])),
        st.tuples(st.just("policy"), st.integers(0, len(POLICIES) - 1)),
    ),
    min_size=10,
    max_size=80,
)


def ends_of(who: int) -> tuple[tuple[bytes, int], tuple[bytes, int]]:
    return (bytes([192, 0, 2, who % 3]), 2000 + who), (MAIL, (25, 80)[who % 2])


def check(engine: Engine) -> None:
    """Every count is what the table's connections make it."""
    check_counts(engine, engine.open_connections)


def same(tracked: Tracking) -> None:
    """After a look, the table is connection tracking's, but for those that never came to be known there,
    which are embryonic."""
    tracked.look()
    check(tracked.engine)
    here = {
        (each.identity.client.port, each.identity.server.port): each
        for each in tracked.engine._core.table.passed.values()
    }
    there = {(client[1], server[1]) for client, server in tracked.entries}
    full = tracked.engine._core.table.full
    assert full or there <= set(here) | followed(tracked)
    for ports in set(here) - there:
        assert here[ports].number == 0
        assert here[ports].phase < ESTABLISHED


def followed(tracked: Tracking) -> set[tuple[int, int]]:
    """Those whose packets come by after all."""
    table = tracked.engine._core.table
    identities = [each.identity for each in table.connections()]
    return {(identity.client.port, identity.server.port) for identity in identities}


def step(tracked: Tracking, what: str, who: int) -> None:
    ends = ends_of(who)
    client, server = ends
    here = ends in tracked.entries
    match what:
        case "open":
            if not here and tracked.syn(*ends) is None and ends in tracked.entries:
                tracked.move(ends, TrackedState.ANSWERED)
                tracked.move(ends, TrackedState.ESTABLISHED)
        case "syn":
            tracked.syn(*ends)
        case "another syn":
            if not here:
                tracked.syn(*ends, number=9000 + tracked.numbers)
        case "answer" if here:
            state = tracked.entries[ends].state
            tracked.move(ends, TrackedState(min(state + 1, TrackedState.ESTABLISHED)))
        case "fin" if here and tracked.entries[ends].state is TrackedState.ESTABLISHED:
            tracked.entries[ends].client_closed = True
            tracked.move(ends, TrackedState.ESTABLISHED)
        case "finished" | "reset" | "killed" if here:
            kinds = dict(zip(("finished", "reset", "killed"), OVER, strict=True))
            tracked.move(ends, kinds[what])
        case "carry" if here:
            tracked.carry(ends)
        case "forged rst":
            if not followed(tracked):
                tracked.packet(server, client, RST)
        case "forged syn-ack":
            tracked.packet(server, client, SYN | ACK)
        case "data here":
            tracked.packet(client, server, ACK, 1001)


@given(
    steps=STEPS,
    first=st.integers(0, len(POLICIES) - 1),
    bound=st.integers(1, 9),
    intercepts=st.booleans(),
)
def test_counts_are_those_of_connection_tracking_and_zero_at_the_end(
    steps: list[tuple[str, int]], first: int, bound: int, intercepts: bool
) -> None:
    options = EngineOptions(kernel_passes=True, limits=Limits(connections=bound))

    def begun(policy: int) -> Engine:
        engine = Engine(POLICIES[policy], options, started=-1e6)
        engine.interceptions.possible = intercepts
        return engine

    tracked = Tracking(begun(first), 1000.0)
    for what, value in steps:
        match what:
            case "policy":
                first = value
                tracked.engine.adopt(POLICIES[value])
            case "restart":
                tracked.told.clear()
                tracked.engine = begun(first)
                same(tracked)
            case "wait":
                tracked.now += value
                tracked.tick()
            case "told":
                tracked.deliver()
            case "lost":
                tracked.told.clear()
                tracked.now += 1
                same(tracked)
            case "look":
                same(tracked)
            case "clear" | "clear all":
                tracked.clear(ends_of(value)[0][0] if what == "clear" else None)
            case _:
                step(tracked, what, value)
        check(tracked.engine)
    # Connection tracking forgets all of them; who was never known there times out.
    for ends in list(tracked.entries):
        tracked.move(ends, TrackedState.GONE)
    tracked.now += 1
    same(tracked)
    tracked.now += 10_000
    while tracked.engine.connections:
        tracked.tick()
        tracked.look()
        tracked.now += 10_000
    check(tracked.engine)
    assert tracked.engine._core.table.admission.counted == 0
