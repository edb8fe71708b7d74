"""Answers of real upstreams as data: `tests/cases/answers.toml`, the bytes of each, and what a client is to see.

An event of a case is written short: `+text` is a conforming event with this text, `=reason` a conforming finish, JSON
the data of an event as it stands, and anything else the bytes of a block. `[DONE]` follows unless `done = false`.
"""

import gzip
import json
import tomllib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent.parent / "cases" / "answers.toml"
SHARED = {"id": "chatcmpl-case", "object": "chat.completion.chunk", "created": 1_750_000_000, "model": "m"}
_COMPRESSED: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
}


@dataclass(frozen=True)
class AnswerCase:
    """One case. `expect`: what is seen of it; `expect_streamed` and `expect_whole` differ from it."""

    kind: str
    name: str
    events: tuple[str, ...] = ()
    document: str = ""
    done: bool = True
    type: str = ""
    encoding: str = ""
    expect: Mapping[str, Any] = field(default_factory=dict)
    expect_streamed: Mapping[str, Any] = field(default_factory=dict)
    expect_whole: Mapping[str, Any] = field(default_factory=dict)

    def expected(self, *, streamed: bool) -> dict[str, Any]:
        return {**self.expect, **(self.expect_streamed if streamed else self.expect_whole)}

    def response(self, *, streamed: bool) -> bytes:
        """The upstream's response, head and body; the connection ends with it."""
        content = self._stream() if streamed else self.document.encode()
        kind = self.type or ("text/event-stream" if streamed else "application/json")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n"
        if self.encoding:
            content = _COMPRESSED[self.encoding](content)
            head += f"Content-Encoding: {self.encoding}\r\n"
        return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content

    def _stream(self) -> bytes:
        blocks = [_block(event) for event in self.events]
        return "".join([*blocks, "data: [DONE]\n\n" if self.done else ""]).encode()


def _block(event: str) -> str:
    if event.startswith(("+", "=")):
        text, reason = (event[1:], None) if event.startswith("+") else (None, event[1:])
        delta = {} if text is None else {"content": text}
        return (
            f"data: {json.dumps({**SHARED, 'choices': [{'index': 0, 'delta': delta, 'finish_reason': reason}]})}\n\n"
        )
    return f"data: {event}\n\n" if event.startswith(("{", "[")) else event


def read_cases(file: Path = FILE) -> list[AnswerCase]:
    """All cases of a file."""
    cases = tomllib.loads(file.read_text())["case"]
    return [AnswerCase(**{**case, "events": tuple(case.get("events", ()))}) for case in cases]


@dataclass
class Seen:
    """What a client sees of an answer, joined as SDKs join it."""

    text: dict[int, str] = field(default_factory=dict)  # by the choice
    reasoning: dict[int, str] = field(default_factory=dict)
    calls: dict[tuple[int, int], list[str]] = field(default_factory=dict)  # name and arguments, by choice and index
    finish: dict[int, str] = field(default_factory=dict)
    usage: Any = None
    error: str | None = None

    def add(self, answer: Mapping[str, Any]) -> None:
        """Add an event of a stream, or a whole completion."""
        self.usage = answer.get("usage") or self.usage
        for position, choice in enumerate(answer.get("choices") or ()):
            index = choice.get("index") or 0
            body = choice.get("delta") or choice.get("message") or {}
            if isinstance(body.get("content"), str):
                self.text[index] = self.text.get(index, "") + body["content"]
            if body.get("reasoning_content"):
                self.reasoning[index] = self.reasoning.get(index, "") + body["reasoning_content"]
            for place, call in enumerate(body.get("tool_calls") or ()):
                number = (call.get("index") or 0) if "delta" in choice else place
                self._join(self.calls.setdefault((index, number), ["", ""]), call.get("function", {}))
            if choice.get("finish_reason"):
                self.finish[index or position] = choice["finish_reason"]

    def fields(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """The parts that an expectation may name."""
        seen: dict[str, Any] = {
            "text": [text for _, text in sorted(self.text.items()) if text],
            "reasoning": [text for _, text in sorted(self.reasoning.items()) if text],
            "calls": [[choice, *call] for (choice, _), call in sorted(self.calls.items())],
            "finish": [reason for _, reason in sorted(self.finish.items())],
        }
        return {name: value for name, value in seen.items() if name in names}

    @staticmethod
    def _join(call: list[str], function: Mapping[str, Any]) -> None:
        call[0] += function.get("name") or ""
        call[1] += function.get("arguments") or ""
