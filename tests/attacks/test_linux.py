"""Every attack through the live filter to a Linux server; and without the filter, to show that the
attacks work."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from nfinspect.lab.lab import Lab
from tests.attacks.catalogue import CASES
from tests.attacks.linux import AttackLab
from tests.attacks.mail import Mail
from tests.attacks.model import CONFIGURATION, Play
from tests.attacks.overlaps import RELATIONS
from tests.attacks.script import expected_of
from tests.end_to_end import test_intercept as intercept
from tests.end_to_end.test_handshake_loss import KEPT

LIVE = {name: case for name, case in CASES.items() if case[0].live}

REAL = {
    name: (script, family)
    for name, (script, family) in LIVE.items()
    if script.effective or (name.startswith("overlap-beyond-a-gap") and family == 4)
}
"""The attacks that are also played without the filter."""

EXCEPT = (
    # Connection tracking takes it for invalid, and then SYNPROXY for a wrong cookie.
    "acknowledgement-of-the-future inside the window",
    # The new connection's numbers lie in the window of the old one, whose ACK it is taken for.
    "port-reuse-after-reset",
    "rst-after-fin",
)
INTERCEPTED = {
    name: (script, family)
    for name, (script, family) in LIVE.items()
    if script.greeting and not script.port and not name.startswith(EXCEPT)
}
"""The attacks that are also played through TCP intercept: where the handshake is that of any client."""

Results = dict[str, tuple[list[Mail], str]]


@pytest.fixture(scope="module")
def results() -> Iterator[tuple[Results, Results, dict[str, int], Results]]:
    """The results without the filter, those with it, ``show queue`` at the end, and those through TCP
    intercept."""
    with Lab(offloads=False) as lab:
        attack_lab = AttackLab(lab)
        try:
            without = attack_lab.run(REAL, filtered=False)
            configuration = lab.directory / "attacks.cfg"
            configuration.write_text(CONFIGURATION)
            running = lab.filter(configuration)
            through = attack_lab.run(LIVE, filtered=True)
            state = running.show_json("queue")
            running.stop()
            proven, intercepted = _intercepted(lab, attack_lab)
            assert proven >= len(INTERCEPTED)
        finally:
            attack_lab.close()
        yield without, through, state, intercepted


def _intercepted(lab: Lab, attack_lab: AttackLab) -> tuple[int, Results]:
    """Perform attacks while the kernel answers all SYNs; with how many clients it has connected."""
    case = intercept.CASES["IPv4"]
    case = case._replace(text=CONFIGURATION + case.text + KEPT)
    running = intercept.filtered(lab, case, lab.directory)
    for each in (case, intercept.CASES["IPv6"]):
        intercept.flood(lab, each, 1)
        assert running.wait(partial(_is_active, lab, each.members), 10)
    found = attack_lab.run(INTERCEPTED, filtered=True, first_port=40_000)
    proven = intercept.proxied(running)
    running.stop()
    return proven, found


def _is_active(lab: Lab, members: str) -> bool:
    return members in intercept.in_place(lab)


@pytest.mark.parametrize("name", LIVE)
def test_server_reads_what_was_approved_and_nothing_else(
    name: str, results: tuple[Results, Results, dict[str, int], Results]
) -> None:
    _check(name, results[1])


@pytest.mark.parametrize("name", INTERCEPTED)
def test_so_it_does_through_tcp_intercept(
    name: str, results: tuple[Results, Results, dict[str, int], Results]
) -> None:
    _check(name, results[3])


def _check(name: str, results: Results) -> None:
    mails, complaint = results[name]
    assert not complaint
    assert tuple(bytes(mail.read) for mail in mails) == expected_of(LIVE[name][0])
    assert not [line for mail in mails for line in mail.commands if line.startswith(b"XEVL")]


@pytest.mark.parametrize("name", [name for name, (script, _) in REAL.items() if script.effective])
def test_attack_reaches_a_server_without_the_filter(
    name: str, results: tuple[Results, Results, dict[str, int], Results]
) -> None:
    mails, _ = results[0][name]
    assert [line for mail in mails for line in mail.commands if line.startswith(b"XEVL")]


def test_no_packet_is_left_without_a_verdict(
    results: tuple[Results, Results, dict[str, int], Results],
) -> None:
    state = results[2]
    assert (state["waiting"], state["held"]) == (0, 0)
    assert (state["kernel_dropped"], state["user_dropped"], state["enobufs"]) == (0, 0, 0)


@pytest.mark.parametrize("relation", RELATIONS)
def test_linux_model_resolves_overlaps_as_linux_does(
    relation: str, results: tuple[Results, Results, dict[str, int], Results]
) -> None:
    name = f"overlap-beyond-a-gap {relation}, beyond a gap IPv4"
    mails, _ = results[0][name]
    modelled = Play(CASES[name][0], "linux", 4, filtered=False).run()
    assert tuple(bytes(mail.read) for mail in mails) == modelled.received
