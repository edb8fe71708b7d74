"""The ids of published events: the newest are known, and to forget the oldest costs no more than to add one."""

import time

from gateway.feeds.remembered_ids import RememberedIds

LIMIT = 50_000


def seconds_for(ids: RememberedIds, first: int, count: int) -> float:
    began = time.thread_time()
    for number in range(first, first + count):
        ids.add(f"id-{number}", number)
    return time.thread_time() - began


def test_the_newest_ids_are_known_and_those_of_an_earlier_process_count() -> None:
    ids = RememberedIds(3, {"a": 0, "b": 1, "c": 2, "d": 3})
    ids.add("e", 4)
    assert ids.all() == {"c": 2, "d": 3, "e": 4}
    assert (ids.find("b"), ids.find("c"), len(ids)) == (None, 2, 3)


def test_an_id_for_which_another_is_forgotten_costs_about_as_much_as_the_first_ones() -> None:
    ids = RememberedIds(LIMIT, {})
    filling = seconds_for(ids, 0, LIMIT)
    assert seconds_for(ids, LIMIT, LIMIT) < 10 * filling  # with a dict a hundred times as much
    assert len(ids) == LIMIT
