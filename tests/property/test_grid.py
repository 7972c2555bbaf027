"""The duration of transfers under loss is recorded, so that any change is noticed."""

from __future__ import annotations

import pytest

from tests.fuzz.grid import SNAPSHOT, table

pytestmark = pytest.mark.pure


def test_transfers_under_loss_take_as_long_as_in_the_snapshot() -> None:
    assert table() == SNAPSHOT.read_text(), "python -m tests.fuzz.grid writes a new one"
