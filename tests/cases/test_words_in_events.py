"""A failure that an upstream tells of in a way of its own is redacted as any other, and no log has a word of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dialects.messages.events import START, TEXT
from tests.dialects.messages.events import delta as message_delta
from tests.dialects.responses.events import created, delta
from tests.kit.completions import UPSTREAM_KEY
from tests.kit.error_bench import ErrorBench, shown
from tests.kit.http_client import call
from tests.kit.scripted_upstream import STREAM_HEAD, response

from .cases import cases

TURN = {"role": "user", "content": "hello"}
ASKED: dict[str, dict[str, Any]] = {
    "responses": {"input": "hello"},
    "messages": {"max_tokens": 9, "messages": [TURN]},
}
BEGUN = {"responses": created() + delta(1, "word"), "messages": START + TEXT + message_delta("word")}


@pytest.fixture(scope="module")
def bench(logs: Path) -> Iterator[ErrorBench]:
    bench = ErrorBench(logs)
    yield bench
    bench.close()


@pytest.mark.parametrize("case", cases("words_in_events.toml"))
def test_the_words_of_an_odd_failure_are_redacted_and_not_logged(bench: ErrorBench, case: dict[str, Any]) -> None:
    dialect, begun = case["dialect"], case.get("begun", False)
    if "whole" in case:
        played = response(200, shown(json.dumps(case["whole"])).encode())
    else:
        sent = b"".join(f"data: {shown(json.dumps(event))}\n\n".encode() for event in case["events"])
        played = STREAM_HEAD + (BEGUN[dialect] if begun else b"") + sent
    bench.first.play(lambda _: [played])
    body = {"model": "one", "stream": "whole" not in case, **ASKED[dialect]}
    answer = call(bench.gateway, "POST", f"/v1/{dialect}", body)
    told = answer.body.decode()
    assert (answer.status == 200) is begun
    assert '"error":{' in told
    assert case.get("words", "") in told
    page = call(bench.gateway, "GET", "/v1/streams").body + call(bench.gateway, "GET", "/metrics").body
    for text in (told, bench.gateway.errors(), page.decode()):
        assert UPSTREAM_KEY not in text
    assert "Tell-tale" not in bench.gateway.errors() + page.decode()
