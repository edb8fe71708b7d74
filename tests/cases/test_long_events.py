"""A long event that is read in steps means what it means if it is read at once."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.chat.reader import ChatReader
from gateway.dialects.chat.repair import Identity
from gateway.dialects.dialect import AnswerReport, Meaning
from gateway.dialects.long_event import LONG_BYTES

pytestmark = pytest.mark.deep

CASES: list[Mapping[str, Any]] = tomllib.loads((Path(__file__).parent / "long_events.toml").read_text())["case"]
CHUNK = '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[%s]%s}'
CALL = '{"index":%d,"id":"c%d","type":"function","function":{"name":"f","arguments":"%s"}}'
LONG = {
    "§": "a word " * 10_000,
    "µ": ",".join([CALL % (number, number, "x" * 900) for number in range(200)]),
    "¥": ",".join(["1"] * 9000),
}


def chunk(case: Mapping[str, Any]) -> str:
    """The chunk object of a case, or the object that is all of its event."""
    delta, choice, event = (f",{case[key]}" if key in case else "" for key in ("delta", "choice", "event"))
    text = case.get("alone") or CHUNK % (
        f'{{"index":0,"delta":{{"content":"a"{delta}}},"finish_reason":null{choice}}}',
        event,
    )
    for mark, long in LONG.items():
        text = text.replace(mark, long)
    return text


def block(case: Mapping[str, Any]) -> bytes:
    """The event of a case."""
    data = "" if case.get("bare") else "data: "
    return f"{case.get('before', '')}{data}{chunk(case)[case.get('cut', 0) :]}{case.get('after', '')}\n\n".encode()


def in_steps(reader: ChatReader, block: bytes) -> Meaning:
    reading = reader.read_in_steps(block)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            meaning: Meaning = end.value
            return meaning


def read(block: bytes, earlier: str, *, at_once: bool) -> tuple[Meaning, Any, list[bytes]]:
    """What an event means behind others, the usage, and the frames at the end."""
    reader = ChatReader(Identity("chatcmpl-1", 1, "m"))
    reader.read(b"data: " + (CHUNK % ('{"index":0,"delta":{"content":"hi"}}', "")).encode() + b"\n\n")
    if earlier:
        reader.read(f"data: {earlier}\n\n".encode())
    meaning = reader.read(block) if at_once else in_steps(reader, block)
    usage = reader.usage(10)
    return meaning, usage, reader.closing_frames(AnswerReport(usage, {}), None)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_long_event_means_the_same_in_steps(case: Mapping[str, Any]) -> None:
    event = block(case)
    assert len(event) > LONG_BYTES or "¥" in str(case)
    once, usage, closing = read(event, case.get("earlier", ""), at_once=True)
    steps, other_usage, other_closing = read(event, case.get("earlier", ""), at_once=False)
    if once.frame is None:
        assert steps == once
        return
    assert steps.frame is not None
    assert steps.frame.startswith(b"data: {")
    assert steps.frame.count(b"\n") == 2
    assert json.loads(steps.frame[6:]) == json.loads(once.frame[6:])
    assert steps._replace(frame=None) == once._replace(frame=None)
    counts = [(told.prompt_tokens, told.completion_tokens, told.estimated) for told in (usage, other_usage)]
    assert counts[0] == counts[1]
    assert b"u0001" not in b"".join(other_closing)
    assert len(other_closing) == len(closing)
