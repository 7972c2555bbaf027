"""Which forms of the filter are measured."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bench import forms, paths
from bench.forms import COMPILED, FORCED_PURE, PURE, form, form_in
from bench.summary import ACCEPT_ONLY, FILTER, PLAIN, PURE_FILTER, SPINNING
from nfinspect.lab.topology import LabError


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("nfinspect 0.1.0", PURE),
        ("nfinspect 0.1.0 (pure Python: not compiled)", PURE),
        ("nfinspect 0.1.0 (compiled)", COMPILED),
    ],
)
def test_form_is_the_one_that_the_version_names(version: str, expected: str) -> None:
    assert form_in(version) == expected


def test_filter_can_be_forced_to_be_pure_python() -> None:
    assert form(FORCED_PURE) == PURE


def pretend(monkeypatch: pytest.MonkeyPatch, loaded: str, forced: str) -> None:
    def pretended(environment: Mapping[str, str] = forms.AS_LOADED) -> str:
        return forced if environment == FORCED_PURE else loaded

    monkeypatch.setattr(forms, "form", pretended)


def test_compiled_filter_is_measured_beside_the_pure_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, COMPILED, PURE)
    assert paths.paths() == [PLAIN, ACCEPT_ONLY, FILTER, SPINNING, PURE_FILTER]


def test_pure_filter_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, PURE, PURE)
    assert paths.paths() == [PLAIN, ACCEPT_ONLY, FILTER, SPINNING]


def test_filter_that_stays_compiled_is_not_measured_as_pure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, COMPILED, COMPILED)
    with pytest.raises(LabError):
        paths.paths()
