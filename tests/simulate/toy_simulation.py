"""The toy dialect of tests/dialects as a simulated provider gives it: the second implementation of that seam."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.simulate.script import Script
from gateway.simulate.steps import Facts
from gateway.simulate.words import count_text_tokens, text_tokens
from tests.dialects.toy import COUNT, END, START, failure, text


class ToyAnswer:
    """One answer, with an event for each word."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def opening(self) -> Iterator[bytes]:
        yield START

    def reasoning(self) -> Iterator[bytes]:
        return iter(())

    def content(self) -> Iterator[bytes]:
        return map(text, text_tokens(self._script))

    def closing(self) -> Iterator[bytes]:
        yield COUNT
        if self._script.done:
            yield END

    def error(self) -> bytes:
        return failure("as it was told")

    def count_tokens(self) -> int:
        return count_text_tokens(self._script)

    def document(self) -> bytes:
        return orjson.dumps({"text": "".join(text_tokens(self._script)), "in": 3, "out": self.count_tokens()})


class ToySimulation:
    """The toy dialect for the simulated provider."""

    path = "/v1/toy"

    def facts(self, body: Mapping[str, Any], *, keep_alive: bool, chunked: bool) -> Facts:
        return Facts(stream=body.get("live") is True, keep_alive=keep_alive, chunked=chunked)

    def answer(self, script: Script, facts: Facts) -> ToyAnswer:
        return ToyAnswer(script)

    def error_document(self, status: int) -> bytes:
        return orjson.dumps({"reason": f"status {status}"})


TOY_SIMULATION = ToySimulation()
