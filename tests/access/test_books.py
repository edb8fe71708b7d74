"""The contract of the books, tried on each store of keys and usage records."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access.books import SUM_NAMES, Books, UsageGroup
from gateway.access.sqlite_books import SqliteBooks
from gateway.errors import LedgerError

from .books import NOW, new_key, record
from .memory_books import MemoryBooks, Store

DAY = 86_400
EVER = 1 << 40
Open = Callable[[], Books]


def opener(kind: str, folder: Path) -> Open:
    """A function that opens one more handle on the same books."""
    if kind == "sqlite":
        return lambda: SqliteBooks.open(folder / "ledger.db")
    store = Store()
    return lambda: MemoryBooks(store)


@pytest.fixture(params=["sqlite", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def beside(kind: str, tmp_path: Path) -> Iterator[Open]:
    """Opens further handles on the books of the test, and closes them at its end."""
    opened: list[Books] = []
    open_books = opener(kind, tmp_path)

    def open_one() -> Books:
        opened.append(open_books())
        return opened[-1]

    yield open_one
    for books in opened:
        books.close()
        books.close()  # a second close does nothing


@pytest.fixture
def books(beside: Open) -> Books:
    return beside()


def balances(books: Books) -> dict[str, int | None]:
    return {key.id: key.balance_microusd for key in books.all_keys()}


def requests(books: Books, *key_ids: str | None) -> int:
    """How many records the keys have."""
    return sum(row["requests"] for key_id in key_ids for row in books.report(key_id, 0, EVER, "day"))


# --- keys


def test_keys_come_back_as_they_were_stored_oldest_first(books: Books, beside: Open) -> None:
    key = new_key(models=("a/b", "c"), rpm=5, max_streams=2, balance_microusd=7, expires_at=NOW + 1)
    books.create(key)
    books.create(plain := new_key())
    books.create(older := new_key(created_at=NOW - 1))
    assert books.all_keys() == beside().all_keys() == [older, key, plain]


def test_a_key_that_is_there_already_is_not_stored_again(books: Books) -> None:
    books.create(key := new_key())
    with pytest.raises(LedgerError) as caught:
        books.create(key)
    assert caught.value.fault.startswith("storage.path: ")
    assert str(caught.value) == caught.value.reason
    assert books.all_keys() == [key]


def test_a_key_is_revoked_once(books: Books) -> None:
    books.create(key := new_key())
    assert books.revoke(key.id, NOW)
    assert not books.revoke(key.id, NOW + 1)
    assert not books.revoke("key_of_nobody", NOW)
    assert books.all_keys()[0].revoked_at == NOW


def test_credit_is_added_where_there_is_a_balance(books: Books) -> None:
    books.create(limited := new_key(balance_microusd=5))
    books.create(free := new_key())
    assert books.credit(limited.id, 10) == 15
    assert books.credit(free.id, 10) is None
    assert books.credit("key_of_nobody", 10) is None
    assert [key.balance_microusd for key in books.all_keys()] == [15, None]


def test_only_what_others_write_changes_the_version(books: Books, beside: Open) -> None:
    before = books.version()
    books.create(new_key())
    assert books.version() == before
    beside().create(new_key())
    assert books.version() != before


def test_a_check_changes_nothing(books: Books) -> None:
    books.create(key := new_key(balance_microusd=5))
    books.check()
    assert books.all_keys() == [key]


# --- usage


def test_records_and_what_they_take_are_written_together(books: Books) -> None:
    books.create(paying := new_key(balance_microusd=1000))
    books.create(two := new_key(balance_microusd=50))
    books.create(free := new_key())
    batch = [record(paying.id, 10), record(two.id, 60), record(free.id, 5), record(None, 7), record(paying.id, 90)]
    batch.append(record(paying.id, 1, hedge_cost_microusd=2))
    assert books.settle(batch) == {paying.id: 897, two.id: -10}
    assert balances(books) == {paying.id: 897, two.id: -10, free.id: None}
    sums = {key: books.report(key, 0, EVER, "model") for key in (paying.id, two.id, free.id, None)}
    assert {
        key: [(row["requests"], row["cost_microusd"] + row["hedge_cost_microusd"]) for row in rows]
        for key, rows in sums.items()
    } == {paying.id: [(3, 103)], two.id: [(1, 60)], free.id: [(1, 5)], None: [(1, 7)]}


def test_a_record_that_comes_twice_is_booked_once_and_its_balance_is_in_the_result(books: Books) -> None:
    books.create(key := new_key(balance_microusd=100))
    usage = record(key.id, 30)
    assert books.settle([usage, usage]) == {key.id: 70}
    assert books.settle([usage]) == {key.id: 70}
    assert books.settle([record(key.id, 20), usage]) == {key.id: 50}
    assert requests(books, key.id) == 2


def test_a_record_that_cannot_be_kept_is_an_error_and_takes_its_batch_with_it(books: Books) -> None:
    books.create(key := new_key(balance_microusd=100))
    for broken in ({"ending": None}, {"prompt_tokens": "many"}, {"prompt_tokens": 1 << 64}):
        with pytest.raises(LedgerError):
            books.settle([record(key.id), record(key.id, **broken)])
    assert requests(books, key.id) == 0
    assert balances(books) == {key.id: 100}
    assert books.settle([record(key.id)]) == {key.id: 90}


def test_a_credit_and_a_settlement_that_alternate_are_both_counted(books: Books, beside: Open) -> None:
    """The command line credits a key while the server settles: neither is lost."""
    books.create(key := new_key(balance_microusd=0))
    command = beside()
    for _ in range(20):
        command.credit(key.id, 10)
        books.settle([record(key.id, 3)])
    assert balances(books) == {key.id: 140}


AMOUNTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1000), st.integers(0, 5)), max_size=40)


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
@settings(max_examples=25)
@given(AMOUNTS, st.integers(1, 7))
def test_a_balance_is_what_it_was_less_the_records_in_whatever_batches_they_come(
    kind: str, tmp_path_factory: pytest.TempPathFactory, amounts: list[tuple[int, int, int]], size: int
) -> None:
    books = opener(kind, tmp_path_factory.mktemp("batches"))()
    keys = [new_key(balance_microusd=10_000) for _ in range(3)]
    for key in keys:
        books.create(key)
    usages = [record(keys[number].id, cost) for number, cost, _ in amounts]
    handed_in = usages + [usages[again % len(usages)] for _, _, again in amounts]
    for start in range(0, len(handed_in), size):
        books.settle(handed_in[start : start + size])
    assert requests(books, *(key.id for key in keys)) == len(usages)
    for key in keys:
        spent = sum(usage.cost_microusd for usage in usages if usage.key_id == key.id)
        assert balances(books)[key.id] == 10_000 - spent
    books.close()


# --- reports


def test_a_report_sums_a_keys_records_by_day_or_by_model(books: Books) -> None:
    midnight = NOW // DAY * DAY
    mine, other = "key_mine", "key_other"
    books.settle(
        [
            record(mine, 10, ended_at=midnight - 1, model="a"),
            record(mine, 20, ended_at=midnight, model="b", prompt_tokens=None, completion_tokens=None),
            record(mine, 30, ended_at=midnight + DAY - 1, model="a", estimated=True, hedge_cost_microusd=4),
            record(mine, 99, ended_at=midnight + DAY),
            record(other, 99, ended_at=midnight),
            record(None, 99, ended_at=midnight),
        ]
    )
    days = books.report(mine, midnight - DAY, midnight + DAY, "day")
    assert [(day["day"], day["requests"], day["cost_microusd"]) for day in days] == [
        ("2027-01-14", 1, 10),
        ("2027-01-15", 2, 50),
    ]
    assert days[1]["hedge_cost_microusd"] == 4
    assert days[1]["estimated_requests"] == 1
    assert (days[1]["prompt_tokens"], days[1]["completion_tokens"]) == (3, 5)
    models = books.report(mine, midnight - DAY, midnight + DAY, "model")
    assert [(row["model"], row["requests"], row["cost_microusd"]) for row in models] == [("a", 2, 40), ("b", 1, 20)]
    assert [row["cost_microusd"] for row in books.report(None, midnight, midnight + 1, "day")] == [99]
    assert books.report("key_of_nobody", 0, EVER, "day") == []


def test_totals_sum_all_records_for_each_combination(books: Books) -> None:
    midnight = NOW // DAY * DAY
    books.settle(
        [
            record("key_a", 10, model="x", ended_at=midnight),
            record("key_a", 20, model="y", upstream=None, ended_at=midnight + 1, hedge_cost_microusd=4),
            record("key_b", 30, model="x", ended_at=midnight + DAY - 1, estimated=True),
            record(None, 40, model="x", ended_at=midnight - 1),
            record(None, 99, ended_at=midnight + DAY),
        ]
    )

    def totals(*by: UsageGroup) -> list[tuple[object, ...]]:
        rows = books.totals(midnight - DAY, midnight + DAY, by)
        assert all(list(row) == [*by, *SUM_NAMES] for row in rows)
        return [(*(row[name] for name in by), row["requests"], row["cost_microusd"]) for row in rows]

    assert totals("key") == [(None, 1, 40), ("key_a", 2, 30), ("key_b", 1, 30)]
    assert totals("model") == [("x", 3, 80), ("y", 1, 20)]
    assert totals("upstream") == [(None, 1, 20), ("alpha", 3, 80)]
    assert totals("day", "key") == [
        ("2027-01-14", None, 1, 40),
        ("2027-01-15", "key_a", 2, 30),
        ("2027-01-15", "key_b", 1, 30),
    ]
    assert sum(row["hedge_cost_microusd"] for row in books.totals(0, EVER, ["model"])) == 4
    assert books.totals(0, 1, ["day"]) == []
