"""The kernel's table of queues in /proc."""

from pathlib import Path

import pytest

from nfinspect.live import queue_table
from nfinspect.live.queue_table import QueueRow

# Two queues, from Linux 6.18. For the columns see seq_show in nfnetlink_queue.c.
TABLE = """\
    0  20107     3 2 65531    17     4     1002  1
   12 4294966  200 2  4016     0     0        0  1
"""


def test_each_line_is_parsed_as_a_queue() -> None:
    assert queue_table.parse(TABLE) == {
        0: QueueRow(
            0, 20107, waiting=3, copy_range=65531, queue_dropped=17, user_dropped=4, last=1002
        ),
        12: QueueRow(
            12, 4294966, waiting=200, copy_range=4016, queue_dropped=0, user_dropped=0, last=0
        ),
    }


def test_table_without_queues_has_no_rows() -> None:
    assert queue_table.parse("") == {}


def test_line_of_another_form_is_ignored() -> None:
    assert queue_table.parse("0 1 2\nqueue peer waiting copy range dropped user\n") == {}


def test_missing_table_has_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_table, "TABLE", tmp_path / "nfnetlink_queue")
    assert queue_table.read(0) is None


def test_row_is_found_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "nfnetlink_queue"
    table.write_text(TABLE)
    monkeypatch.setattr(queue_table, "TABLE", table)
    row = queue_table.read(12)
    assert row is not None
    assert row.waiting == 200
    assert queue_table.read(1) is None
