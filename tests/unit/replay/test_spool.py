"""What is spooled to disk comes back complete and in order."""

from __future__ import annotations

import random

import pytest

from nfinspect.replay import spool as module
from nfinspect.replay.spool import Spool, SpooledList, SpooledTable, items, texts


@pytest.mark.parametrize("in_memory", [0, 100, 10**6])
def test_lists_that_grow_in_turns_come_back_each_in_order(
    in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 50)
    monkeypatch.setattr(module, "IN_MEMORY", in_memory)
    spool = Spool()
    lists = [SpooledList(spool) for _ in range(3)]
    expected: list[list[object]] = [[], [], []]
    chance = random.Random(1)
    for number in range(500):
        which = chance.randrange(3)
        item = chance.choice([f'line {number} é \x00"\\', {"packet": number}])
        lists[which].append(item)
        expected[which].append(item)
    for spooled, whole in zip(lists, expected, strict=True):
        spooled.settle()
        assert list(items(spool, spooled.chunks)) == whole
        assert spooled.count == len(whole)
    spool.close()


def test_pending_part_of_a_list_is_never_larger_than_a_chunk() -> None:
    spooled = SpooledList(Spool())
    for _ in range(10_000):
        spooled.append("x" * 100)
        assert spooled._pending_size <= module.CHUNK
    assert spooled.chunks


def test_empty_list_has_no_text() -> None:
    spool = Spool()
    spooled = SpooledList(spool)
    spooled.settle()
    assert list(texts(spool, spooled.chunks)) == []


def test_table_filled_in_any_order_is_read_in_the_order_of_its_numbers() -> None:
    spool = Spool()
    table = SpooledTable(spool)
    numbers = list(range(1, 10_001))
    random.Random(2).shuffle(numbers)
    for number in numbers:
        if number % 3:
            table.put(number, {"number": number})
    assert [item["number"] for item in table] == [n for n in range(1, 10_001) if n % 3]
    table.close()
    spool.close()
