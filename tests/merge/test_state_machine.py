"""Whatever happens in whatever order, a viewer of several channels gets each of them in order, each event once.

The machine appends to streams and rings, ends streams, and lets viewers come, go, stop reading, come back and change
their channels, while the merges are small enough to forget what they had. A viewer checks each event that it gets
(`world.py`); at the end of each run every viewer must have seen, or been told to have missed, all that was written.
"""

import asyncio
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.merge.merge import Memory
from tests.merge.world import Viewer, World

STREAMS = ["a", "b", "c"]
RINGS = ["r"]
NAMES = [*STREAMS, "feed:r"]
ROOMS = [1, 60, 400, 1 << 30]  # bytes that a viewer takes before it takes no more for a while
SETS = st.sets(st.sampled_from(NAMES), min_size=1)


class MergeMachine(RuleBasedStateMachine):
    memory = Memory(frames=4, events=1 << 18)

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world: World = self.call(World, STREAMS, RINGS, self.memory)
        self.viewers: list[Viewer] = []

    def call(self, act: Any, *arguments: Any) -> Any:
        """Call `act` inside the loop, and let everything run that it causes."""

        async def run() -> Any:
            result = act(*arguments)
            for _ in range(4):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(run())

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 12))
    def append(self, name: str, count: int) -> None:
        if name not in self.world.ended:
            self.call(self.world.append, name, count)

    @rule(name=st.sampled_from(STREAMS))
    def end(self, name: str) -> None:
        if name not in self.world.ended:
            self.call(self.world.end, name)

    @precondition(lambda self: len(self.viewers) < 4)
    @rule(names=SETS, now=SETS)
    def come(self, names: set[str], now: set[str]) -> None:
        self.viewers.append(self.call(Viewer, self.world, names, now & names if len(now) < 3 else set()))

    def pick(self, data: st.DataObject) -> Viewer:
        return self.viewers[data.draw(st.integers(0, len(self.viewers) - 1))]

    @precondition(lambda self: self.viewers)
    @rule(data=st.data(), room=st.sampled_from(ROOMS))
    def take(self, data: st.DataObject, room: int) -> None:
        self.call(self.pick(data).make_room, room)

    @precondition(lambda self: self.viewers)
    @rule(data=st.data(), arrived=st.integers(0, 12), room=st.sampled_from(ROOMS))
    def be_cut_off_and_come_back(self, data: st.DataObject, arrived: int, room: int) -> None:
        viewer = self.pick(data)
        self.call(viewer.drop, arrived)
        self.call(viewer.arrive, room)

    @precondition(lambda self: self.viewers)
    @rule(data=st.data())
    def be_away_for_a_while(self, data: st.DataObject) -> None:
        self.call(self.pick(data).leave)

    @precondition(lambda self: self.viewers)
    @rule(data=st.data(), names=SETS)
    def change_channels(self, data: st.DataObject, names: set[str]) -> None:
        self.call(self.pick(data).change, names)

    @invariant()
    def every_event_that_has_come_is_the_next_of_its_channel(self) -> None:
        for viewer in self.viewers:
            viewer.read()

    def teardown(self) -> None:
        try:
            for viewer in self.viewers:
                self.call(viewer.leave)
                self.call(viewer.arrive)
                self.call(viewer.read)
                assert viewer.is_up_to_date, (viewer.seen, self.world.written)
                self.check_told(viewer)
                self.call(viewer.leave)
                assert viewer.is_done or not self.world.ended >= viewer.names or self.comes_to_an_end(viewer)
        finally:
            for name in set(STREAMS) - self.world.ended:
                self.call(self.world.end, name)
            self.loop.close()

    def comes_to_an_end(self, viewer: Viewer) -> bool:
        self.call(viewer.arrive)
        return viewer.is_done

    def check_told(self, viewer: Viewer) -> None:
        assert (viewer.resets, viewer.missed) == (0, 0)


class ForgetfulMachine(MergeMachine):
    """The same moves, with merges that soon do not know any more which channel an event came from."""

    memory = Memory(frames=2, events=8)

    def check_told(self, viewer: Viewer) -> None:
        """Viewers may have to begin anew, and are told so."""


TestMerge = MergeMachine.TestCase
TestForgetful = ForgetfulMachine.TestCase
