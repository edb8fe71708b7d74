"""The collector takes young objects behind answers, old ones in a quiet moment, and those of the start never."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from gateway.run import gc_policy as garbage
from gateway.run.gc_policy import NEVER, YOUNG, YOUNG_COLLECTIONS, GarbagePolicy


class Node:
    """An object that refers to itself, so that only the collector can free it."""

    def __init__(self) -> None:
        self.me: Node | None = self


@contextmanager
def running(*, is_quiet: Callable[[], bool] = lambda: False) -> Iterator[GarbagePolicy]:
    """A policy from its start to its stop, in the midst of traffic unless a test says otherwise."""
    control = GarbagePolicy(is_quiet)
    control.start()
    try:
        yield control
    finally:
        control.stop()


@contextmanager
def noted() -> Iterator[list[int]]:
    """The generations of the collections that are made meanwhile."""
    looks: list[int] = []

    def note(phase: str, details: dict[str, int]) -> None:
        if phase == "start":
            looks.append(details["generation"])

    gc.callbacks.append(note)
    try:
        yield looks
    finally:
        gc.callbacks.remove(note)


def grow_old() -> None:
    """Let all that is alive outlive two collections, so that only a full one covers it."""
    gc.collect(0)
    gc.collect(1)


async def answer(control: GarbagePolicy) -> None:
    """An answer that has made enough objects for a collection, which follows."""
    made = [Node() for _ in range(YOUNG + 1)]
    control.after_answer()
    made.clear()
    await asyncio.sleep(0)


async def a_survivor_is_taken(count: int = 1) -> None:
    """Make enough garbage that has become old, and wait until the first of it is freed."""
    taken = asyncio.Event()
    nodes = [Node() for _ in range(count)]
    gone = weakref.ref(nodes[0], lambda _: taken.set())
    grow_old()
    nodes.clear()
    await asyncio.wait_for(taken.wait(), 5)
    assert gone() is None


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    gc.collect()
    yield
    assert gc.get_threshold() == thresholds
    assert gc.callbacks == callbacks


def test_a_start_looks_at_nothing_and_sets_all_that_is_there_apart() -> None:
    async def main() -> None:
        with noted() as looks:
            before = gc.get_objects()
            with running():
                looked_at = set(map(id, gc.get_objects()))
                assert [known for known in before if id(known) in looked_at] == []
                assert 2 not in looks

    asyncio.run(main())


def test_the_youngest_are_looked_at_behind_an_answer_if_they_are_many() -> None:
    async def is_found(control: GarbagePolicy) -> bool:
        gone = weakref.ref(Node())
        control.after_answer()
        await asyncio.sleep(0)
        assert gone() is not None  # too few of them
        many = [[] for _ in range(YOUNG + 1)]  # type: ignore[var-annotated]
        with noted() as looks:
            control.after_answer()
            await asyncio.sleep(0)
        assert looks == [0]
        many.clear()
        return gone() is None

    async def main() -> None:
        with running() as control:
            assert await is_found(control)

    asyncio.run(main())


def test_what_two_collections_have_left_is_looked_at_again_only_in_a_quiet_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(garbage, "PERIOD", 0.01)
    monkeypatch.setattr(garbage, "REST", 0.0)

    async def main() -> None:
        quiet = False
        with running(is_quiet=lambda: quiet) as control:
            node = Node()
            grow_old()
            taken = asyncio.Event()
            gone = weakref.ref(node, lambda _: taken.set())
            del node
            for _ in range(2 * YOUNG_COLLECTIONS):
                await answer(control)
            await asyncio.sleep(0.05)
            assert gone() is not None
            quiet = True
            await asyncio.wait_for(taken.wait(), 5)

    asyncio.run(main())


def test_garbage_that_was_alive_at_one_collection_is_found_some_answers_later() -> None:
    async def main() -> None:
        with running() as control:
            node = Node()
            gc.collect(0)
            gone = weakref.ref(node)
            del node
            for _ in range(YOUNG_COLLECTIONS + 1):
                await answer(control)
            assert gone() is None

    asyncio.run(main())


def test_no_collection_walks_what_was_there_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "PERIOD", 0.01)
    monkeypatch.setattr(garbage, "PATIENCE", 0.02)

    async def main() -> None:
        first = Node()
        with running():
            await a_survivor_is_taken()  # by a full collection, which is not put off for ever
            assert not any(known is first for known in gc.get_objects())
            assert gc.get_threshold()[2] == NEVER  # the collector begins no full collection by itself

    asyncio.run(main())


def test_many_survivors_are_looked_at_in_the_midst_of_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "PERIOD", 0.01)
    monkeypatch.setattr(garbage, "GROWTH", 1.0)
    monkeypatch.setattr(garbage, "MORE", 5000)

    async def main() -> None:
        with running():
            await a_survivor_is_taken(10_000)

    asyncio.run(main())
