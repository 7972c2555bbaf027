"""The kernel is kept in step with whom the engine wants intercepted."""

from __future__ import annotations

import threading

import pytest

from nfinspect.live import intercept, synproxy
from nfinspect.live.intercept import Intercept, Servers
from nfinspect.live.ipsets import SetsError
from nfinspect.packet.options import SynOptions
from nfinspect.tcp.interception import Interceptions, Target

SERVER, MAPPED = bytes([192, 0, 2, 1]), bytes([203, 0, 113, 1])
ALL = Target(b"", SERVER, 25)


class Kernel:
    def __init__(self, *, ready: bool = True) -> None:
        self.is_ready = ready
        self.put_in: list[tuple[Servers, set[Target], set[Target]]] = []
        self.error: Exception | None = None
        self.called = threading.Event()
        self.answered = 7

    def ready(self) -> bool:
        self.called.set()
        return self.is_ready

    def unproven(self) -> int:
        return self.answered

    def put(self, servers: Servers, wanted: set[Target], gone: set[Target]) -> None:
        self.called.set()
        if self.error is not None:
            raise self.error
        self.put_in.append((servers, wanted, gone))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(intercept, "monotonic", clock)
    return clock


class Stage:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.interceptions = Interceptions()
        self.said: list[str] = []
        self.keeper = Intercept(self.interceptions, lambda: True, self.said.append, kernel)

    def round(self) -> None:
        """Begin what is to be done, and take note that it has been."""
        self.kernel.called.clear()
        self.keeper.serve()
        assert self.kernel.called.wait(10)
        for aside in (self.keeper._looking, self.keeper._putting):
            if aside._future is not None:
                aside._future.exception(10)
        self.keeper.serve()

    def begin(self, mapped: tuple[bytes, int] | None = None, largest_mss: int = 0) -> None:
        self.round()
        self.round()
        assert self.kernel.put_in == [(frozenset(), set(), set())]
        self.kernel.put_in.clear()
        assert self.interceptions.begin(ALL, b"key", mapped, largest_mss)
        self.round()


def test_what_begins_is_put_in_place_renewed_and_taken_out(clock: Clock) -> None:
    stage = Stage(Kernel())
    stage.begin()
    there = frozenset({(SERVER, 25, None)})
    assert stage.kernel.put_in == [(there, {ALL}, set())]
    assert stage.said == ["notice: TCP intercept begins for 192.0.2.1 port 25"]
    clock.now += intercept.RENEWAL
    stage.round()
    assert stage.kernel.put_in[1:] == [(there, {ALL}, set())]
    stage.interceptions.fallen(b"key", 0, 1)
    stage.round()
    assert stage.kernel.put_in[2:] == [(there, set(), {ALL})]
    assert stage.said[1:] == ["notice: TCP intercept ends for 192.0.2.1 port 25"]
    clock.now += 60
    stage.round()
    assert stage.kernel.put_in[3:] == [(frozenset(), set(), set())]


def test_while_a_flood_lasts_it_does_not_end(clock: Clock) -> None:
    stage = Stage(Kernel())
    stage.begin()
    for _ in range(60):
        clock.now += 1
        stage.kernel.answered += 20
        stage.keeper.serve()
        stage.interceptions.fallen(b"key", 0, 100)
        assert stage.interceptions.active
    for _ in range(int(synproxy.WINDOW) + 1):
        clock.now += 1
        stage.keeper.serve()
    assert not stage.interceptions.active


def test_clients_use_the_mapped_address(clock: Clock) -> None:
    stage = Stage(Kernel())
    stage.begin((MAPPED, 2525))
    servers, wanted, _ = stage.kernel.put_in[0]
    assert servers == {(SERVER, 25, None), (MAPPED, 2525, None)}
    assert wanted == {ALL, Target(b"", MAPPED, 2525)}


@pytest.mark.parametrize(("offered", "announced"), [(None, 1200), (1100, 1100), (1460, 1200)])
def test_no_larger_mss_is_announced_than_the_policy_has_it(
    clock: Clock, offered: int | None, announced: int
) -> None:
    stage = Stage(Kernel())
    if offered is not None:
        stage.interceptions.answers(SERVER, 25, SynOptions(offered, 3, True, False))
    stage.begin(largest_mss=1200)
    (((_, _, options),), _, _) = stage.kernel.put_in[0]
    assert options is not None
    assert (options.mss, options.window_scale) == (announced, 7 if offered is None else 3)


def test_without_rules_it_is_said_once_and_looked_for_again(clock: Clock) -> None:
    stage = Stage(Kernel(ready=False))
    stage.keeper.begin()
    clock.now += intercept.RENEWAL
    for _ in range(3):
        stage.round()
        clock.now += intercept.RENEWAL
    assert len(stage.said) == 1
    assert "nfinspect rules --apply" in stage.said[0]
    assert not stage.interceptions.possible
    stage.kernel.is_ready = True
    stage.round()
    assert stage.interceptions.possible


def test_if_the_kernel_refuses_syns_pass_again(clock: Clock) -> None:
    stage = Stage(Kernel())
    stage.begin()
    stage.kernel.error = SetsError("why")
    clock.now += intercept.RENEWAL
    stage.round()
    said = ["warning: TCP intercept is not possible now, SYNs pass: why"]
    assert stage.said[1:] == said
    assert not stage.interceptions.active
    for _ in range(2):  # it is tried again, and the same is not said again
        clock.now += intercept.RENEWAL
        stage.round()
        stage.round()
    assert stage.said[1:] == [*said, "notice: TCP intercept ends for 192.0.2.1 port 25"]


def test_it_ends_with_the_filter(clock: Clock) -> None:
    stage = Stage(Kernel())
    stage.keeper.close()
    assert not stage.kernel.put_in
    stage.begin()
    stage.keeper.close()
    assert stage.kernel.put_in[-1] == (frozenset(), set(), {ALL})


def test_if_it_cannot_be_ended_the_filter_says_how_long_it_lasts(clock: Clock) -> None:
    stage = Stage(Kernel())
    stage.begin()
    stage.kernel.error = SetsError("why")
    stage.keeper.close()
    assert stage.said[-1] == "warning: TCP intercept goes on for 30 s: why"
