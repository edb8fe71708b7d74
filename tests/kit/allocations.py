"""Counts the blocks of memory that CPython gives to this thread, by phase; allocations.c does the counting."""

import asyncio
import ctypes
import shutil
import statistics
import subprocess
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

COMPILER = shutil.which("cc")
SOURCE = Path(__file__).with_suffix(".c")


class Allocations:
    """The counts of one thread, by round and by the phase that the test has set.

    The rounds do the same, and the median counts: what works by the clock falls into some of them. Objects that come
    from one of the interpreter's free lists are no blocks.
    """

    def __init__(self, library: ctypes.PyDLL) -> None:
        self._library = library
        self._phase, self._since = "", 0
        self._rounds: list[Counter[str]] = [Counter()]

    @classmethod
    @contextmanager
    def counting(cls, folder: Path) -> Iterator["Allocations"]:
        """Count what the thread that enters the block takes, until it leaves it. `folder` is for the counter."""
        if COMPILER is None:
            pytest.skip("a C compiler is not installed")
        compiled = folder / "allocations.so"
        subprocess.run([COMPILER, "-O1", "-shared", "-fPIC", f"-o{compiled}", f"{SOURCE}"], check=True)
        library = ctypes.PyDLL(f"{compiled}")
        library.counted.restype = ctypes.c_long
        library.begin()
        try:
            yield cls(library)
        finally:
            library.end()

    def begin(self, phase: str) -> None:
        """Count for this phase from now on; any thread may say so."""
        now = int(self._library.counted())
        self._rounds[-1][self._phase] += now - self._since
        self._phase, self._since = phase, now

    @contextmanager
    def counted_round(self) -> Iterator[None]:
        """The block that is one round."""
        self.begin("")
        self._rounds.append(Counter())
        try:
            yield
        finally:
            self.begin("")

    def typical(self, phase: str) -> float:
        """The blocks that a round takes in this phase."""
        return statistics.median(counts[phase] for counts in self._rounds[1:])


async def play_apart(main: Coroutine[Any, Any, None]) -> None:
    """Run clients and upstreams in a thread and an event loop of their own, so that nothing of theirs is counted."""
    await asyncio.to_thread(asyncio.run, main)
