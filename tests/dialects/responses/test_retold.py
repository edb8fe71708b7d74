"""A response that is asked for again, as far as its frames tell it."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from gateway.dialects.responses.retold import retold
from gateway.errors import StreamAborted, UpstreamError
from gateway.wire import sse

from .events import USAGE, answer, completed, created, delta, event, reader, response

LONG = "A" * 100_000
IMAGE = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": LONG}


def told(frames: Sequence[bytes]) -> tuple[Any, int]:
    """The response that the frames tell, and the number of steps that it took."""
    steps, telling = 0, retold(frames)
    while True:
        try:
            next(telling)
        except StopIteration as end:
            return (None if end.value is None else orjson.loads(bytes(end.value))), steps
        steps += 1


def test_the_response_as_far_as_its_frames_tell_it() -> None:
    frames = answer("Hel", "lo")
    whole, _ = told(frames)
    assert (whole["status"], whole["output"][0]["content"][0]["text"]) == ("completed", "Hello")
    assert told([frames[0], frames[-1]]) == (whole, 0)
    half, _ = told(frames[:-1])
    assert (half["id"], half["status"], half["output"]) == ("resp_1", "in_progress", whole["output"])
    begun, _ = told(frames[:5])
    assert (begun["id"], begun["output"]) == ("resp_1", [])


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [delta(1, "a")],
        [created(), sse.frame(b"nonsense")],
        [created(), sse.frame(b"[" * 50_000)],
        [sse.frame(b'{"type":"response.completed","response":7}')],
    ],
    ids=["no frame", "no beginning", "nonsense", "long nonsense", "no response"],
)
def test_nothing_is_made_up(frames: list[bytes]) -> None:
    assert told(frames)[0] is None


def test_a_response_that_was_stopped_is_cancelled_and_one_that_broke_off_has_failed() -> None:
    found = reader()
    frames = [created(0), delta(1, "a")]
    for frame in frames:
        found.read(frame)
    stopped, _ = told([*frames, *found.break_frames(StreamAborted("stopped"))])
    assert (stopped["id"], stopped["status"], stopped["error"]) == ("resp_1", "cancelled", None)
    failed, _ = told([*frames, *found.break_frames(UpstreamError("gone"))])
    assert (failed["status"], failed["error"]["code"]) == ("failed", "upstream_error")


@pytest.mark.parametrize(
    "order",
    [
        ["type", "sequence_number", "response"],
        ["response", "sequence_number", "type"],
        ["x", "response", "type"],
        ["type", "response", "x"],
    ],
    ids=lambda order: "-".join(order),
)
def test_a_long_response_is_told_in_steps_wherever_it_stands(order: list[str]) -> None:
    whole = response("completed", output=[IMAGE], usage=USAGE)
    members = {"type": "response.completed", "sequence_number": 1, "response": whole, "x": {"type": "y"}}
    found, steps = told([created(0), sse.frame(orjson.dumps({name: members[name] for name in order}))])
    assert found == whole
    assert steps >= 1
    assert told([created(0), completed(1, output=[IMAGE])])[0] == whole


def test_a_long_response_that_was_stopped_is_cancelled() -> None:
    failure = {"code": StreamAborted.code, "message": "stopped"}
    failed = response("failed", instructions=LONG, error=failure)
    found, _ = told([created(0), event("response.failed", 1, response=failed)])
    assert found == {**failed, "status": "cancelled", "error": None}


def test_long_items_of_a_response_that_runs_are_told() -> None:
    begun = created(0, instructions=LONG, tools=[{"name": LONG}] * 3)
    frames = [begun, *[event("response.output_item.done", n, output_index=n, item=IMAGE) for n in (1, 2)]]
    found, steps = told([*frames, delta(3, "a")])
    assert found == response(instructions=LONG, tools=[{"name": LONG}] * 3, output=[IMAGE, IMAGE])
    assert steps >= 3
