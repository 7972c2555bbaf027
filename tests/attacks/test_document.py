"""docs/attacks.md agrees with the catalogue."""

from __future__ import annotations

import re
from pathlib import Path

from tests.attacks.catalogue import SECTIONS
from tests.attacks.document import document

ROOT = Path(__file__).parents[2]

THEMIS = (
    "bad_acknum_data bad_acknum_rstack bad_checksum_data bad_checksum_rst bad_flags_data"
    " bad_seqnum_data bad_seqnum_fin bad_seqnum_rst bad_timestamp_data bad_timestamp_rst big_gap"
    " data_in_closing_states data_overlapping dataofs_large_data dataofs_small_data in_window_fin"
    " in_window_rst in_window_syn md5_data md5_rst multi_segmentation multiple_syn"
    " no_ack_flag_data no_ack_flag_fin partial_in_window_rst rst_after_fin rst_rightmost_sack"
    " seq_before_isn small_segments syn_data syn_data2 syn_fin tcb_turnaround time_gap urgent_data"
).split()


def attacks() -> list[tuple[str, tuple[str, ...]]]:
    return [(each.name, each.sources) for section in SECTIONS.values() for each in section]


def test_document_is_printed_from_the_catalogue() -> None:
    assert (ROOT / "docs/attacks.md").read_text() == document()


def test_names_are_unique() -> None:
    names = [name for name, _ in attacks()]
    assert len(set(names)) == len(names)


def test_every_single_attack_of_themis_is_listed() -> None:
    listed = " ".join(source for _, sources in attacks() for source in sources)
    assert len(THEMIS) == 35
    assert [name for name in THEMIS if not re.search(rf"\b{name}\b", listed)] == []
