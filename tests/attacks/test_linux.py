"""Every attack through the live filter to a Linux server; and without the filter, to show that the
attacks work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nfinspect.lab.lab import Lab
from tests.attacks.catalogue import CASES
from tests.attacks.linux import AttackLab
from tests.attacks.mail import Mail
from tests.attacks.model import CONFIGURATION, Play
from tests.attacks.overlaps import RELATIONS
from tests.attacks.script import expected_of

LIVE = {name: case for name, case in CASES.items() if case[0].live}

REAL = {
    name: (script, family)
    for name, (script, family) in LIVE.items()
    if script.effective or (name.startswith("overlap-beyond-a-gap") and family == 4)
}
"""The attacks that are also played without the filter."""

Results = dict[str, tuple[list[Mail], str]]


@pytest.fixture(scope="module")
def results() -> Iterator[tuple[Results, Results, dict[str, int]]]:
    """The results without the filter, those with it, and ``show queue`` at the end."""
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
        finally:
            attack_lab.close()
        yield without, through, state


@pytest.mark.parametrize("name", LIVE)
def test_server_reads_what_was_approved_and_nothing_else(
    name: str, results: tuple[Results, Results, dict[str, int]]
) -> None:
    mails, complaint = results[1][name]
    assert not complaint
    assert tuple(bytes(mail.read) for mail in mails) == expected_of(LIVE[name][0])
    assert not [line for mail in mails for line in mail.commands if line.startswith(b"XEVL")]


@pytest.mark.parametrize("name", [name for name, (script, _) in REAL.items() if script.effective])
def test_attack_reaches_a_server_without_the_filter(
    name: str, results: tuple[Results, Results, dict[str, int]]
) -> None:
    mails, _ = results[0][name]
    assert [line for mail in mails for line in mail.commands if line.startswith(b"XEVL")]


def test_no_packet_is_left_without_a_verdict(
    results: tuple[Results, Results, dict[str, int]],
) -> None:
    state = results[2]
    assert (state["waiting"], state["held"]) == (0, 0)
    assert (state["kernel_dropped"], state["user_dropped"], state["enobufs"]) == (0, 0, 0)


@pytest.mark.parametrize("relation", RELATIONS)
def test_linux_model_resolves_overlaps_as_linux_does(
    relation: str, results: tuple[Results, Results, dict[str, int]]
) -> None:
    name = f"overlap-beyond-a-gap {relation}, beyond a gap IPv4"
    mails, _ = results[0][name]
    modelled = Play(CASES[name][0], "linux", 4, filtered=False).run()
    assert tuple(bytes(mail.read) for mail in mails) == modelled.received
