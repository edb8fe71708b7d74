"""The last changes of breakers, of each upstream the newest ones."""

from gateway.routing.breaker_history import MAX_CHANGES, BreakerChange, BreakerHistory


def change(at: float, upstream: str = "a") -> BreakerChange:
    return BreakerChange(at, upstream, "m", "open", "failures in a row", "HTTP 500", 10.0)


def test_the_newest_changes_of_each_upstream_are_kept_and_the_others_only_counted() -> None:
    history = BreakerHistory()
    history.add(change(0.5, "b"))
    for at in range(MAX_CHANGES + 1):
        history.add(change(float(at)))
    rows = history.as_json()
    assert history.count == MAX_CHANGES + 2
    assert [row["at"] for row in rows] == [*range(MAX_CHANGES, 0, -1), 0.5]
    assert rows[0] == {**change(float(MAX_CHANGES))._asdict()}


def test_upstreams_that_are_gone_are_forgotten() -> None:
    history = BreakerHistory()
    history.add(change(1.0))
    history.add(change(2.0, "b"))
    history.keep(["b"])
    assert [row["upstream"] for row in history.as_json()] == ["b"]
