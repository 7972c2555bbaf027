"""Malformed segments inside live sessions, for a few seconds; for longer see malformed.py."""

from nfinspect.lab.lab import Lab
from tests.end_to_end import malformed


def test_filter_lives_and_nothing_hidden_passes() -> None:
    with Lab(offloads=False) as lab:
        running = lab.filter()
        outcome = malformed.run(lab, 8.0, seed=1)
        state = running.show_json("queue")
        running.end()
    assert outcome.sessions > 5
    assert outcome.malformed > 100
    assert any(b"MAIL" in text for text in outcome.read)
    assert outcome.hidden() == []
    assert len(state["dropped"]) >= 4  # many reasons, not one
    assert state["received"] >= outcome.malformed
    assert running.complaints == []
