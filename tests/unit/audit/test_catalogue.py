"""Every reason has one row in the catalogue, and the documents have the same."""

from __future__ import annotations

import enum
import re

import pytest

from nfinspect.actions import DropReason
from nfinspect.audit.catalogue import (
    COUNTERS,
    DROPPED_BECAUSE,
    FOUND,
    TABLES,
    Explanation,
    explained,
)
from nfinspect.audit.counters import Counters
from nfinspect.audit.syslog import MESSAGES
from nfinspect.events import CloseCause, CommandMaskReason, TeardownReason, UninspectedCause
from nfinspect.policy import default_policy
from tests.unit.audit.document import DOCS, TABLES_IN, written
from tests.unit.test_docs import anchors

KINDS = (DropReason, CloseCause, TeardownReason, UninspectedCause, CommandMaskReason)
ROWS = {
    **{str(reason): row for table in TABLES for reason, row in table.items()},
    **FOUND,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_reason_has_exactly_one_row(kind: type[enum.Enum]) -> None:
    rows = [reason for table in TABLES for reason in table if isinstance(reason, kind)]
    assert sorted(rows, key=str) == sorted(kind, key=str)
    assert kind in COUNTERS


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_row_is_complete_and_names_what_exists(row: Explanation) -> None:
    assert row.meaning
    name, _, anchor = row.section.partition("#")
    assert anchor in anchors(DOCS / name)
    assert set(row.syslog) <= {message.number for message in MESSAGES}


@pytest.mark.parametrize("name", [name for _, name in COUNTERS.values()])
def test_counter_is_in_the_json(name: str) -> None:
    assert name in Counters().to_json(default_policy(), {})


@pytest.mark.parametrize("document", TABLES_IN)
def test_document_has_the_tables_of_the_catalogue(document: str) -> None:
    assert (DOCS / document).read_text() == written(document)


def test_names_of_drop_reasons_are_unique() -> None:
    assert len(DROPPED_BECAUSE) == len(DropReason)


def test_cure_of_a_longer_beginning_wins_and_an_unknown_cause_has_none() -> None:
    bare = explained("recorded without the filter: bare LF answered")
    assert bare is not None
    assert bare.section == "troubleshooting.md#bare-line-feeds"
    assert explained("an eclipse") is None


def test_documents_explain_in_whole_words() -> None:
    for row in ROWS.values():
        assert not re.search(r"\s\s|^\s|\s$|\.$", row.meaning + row.cure)
