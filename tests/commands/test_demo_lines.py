"""The lines that `rivergate demo` prints: one for each request."""

import io
import logging
from typing import Any

import pytest

from gateway.commands.demo_lines import RequestLines

ENDED: dict[str, Any] = {
    "request_id": "req_1",
    "dialect": "messages",
    "streamed": True,
    "model": "demo",
    "upstream": "swift",
    "ending": "completed",
    "ttft_ms": 120.4,
    "duration_ms": 1234.5,
    "prompt_tokens": 7,
    "completion_tokens": 42,
    "cost_usd": "0.0000264",
    "attempts": ["swift:won"],
}
REFUSED = {"request_id": "req_2", "status": 404, "code": "model_not_found", "request": "POST /v1/chat/completions"}


def printed(*events: tuple[str, dict[str, Any]]) -> list[str]:
    out = io.StringIO()
    lines = RequestLines(out)
    for event, fields in events:
        record = logging.LogRecord("rivergate", logging.INFO, "", 0, event, None, None)
        record.fields = fields
        lines.handle(record)
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "messages: demo from swift: completed, first token after 120 ms, 42 tokens in 1.2 s, 0.0000264 USD"),
        (
            {"attempts": ["broken:upstream_error", "swift:won"], "cost_usd": "9E-7"},
            "messages: demo from swift (after broken): completed, first token after 120 ms, "
            "42 tokens in 1.2 s, 0.0000009 USD",
        ),
        (
            {"attempts": ["swift:lost"], "ending": "abandoned", "ttft_ms": None, "completion_tokens": 0},
            "messages: demo from swift: abandoned, 0 tokens in 1.2 s, 0.0000264 USD",
        ),
        (
            {
                "attempts": ["broken:upstream_error"],
                "ending": "upstream_error",
                "upstream": None,
                "ttft_ms": None,
                "completion_tokens": None,
                "cost_usd": None,
            },
            "messages: demo from broken: upstream error",
        ),
        (
            {"model": "a\x1b[31m\nb", "cost_usd": None, "ttft_ms": None},
            "messages: a\\x1b[31m\\nb from swift: completed, 42 tokens in 1.2 s",
        ),
        ({"streamed": False}, "messages: demo from swift: completed, 42 tokens in 1.2 s, 0.0000264 USD"),
        (
            {"completion_tokens": 1, "ttft_ms": None},
            "messages: demo from swift: completed, 1 token in 1.2 s, 0.0000264 USD",
        ),
        (
            {
                "dialect": "count_tokens",
                "streamed": False,
                "completion_tokens": 0,
                "prompt_tokens": 0,
                "cost_usd": None,
            },
            "count_tokens: demo from swift: completed, 1.2 s",
        ),
        (
            {"dialect": "embeddings", "streamed": False, "completion_tokens": 0},
            "embeddings: demo from swift: completed, 7 tokens read in 1.2 s, 0.0000264 USD",
        ),
    ],
)
def test_a_completion_is_one_line(fields: dict[str, Any], line: str) -> None:
    assert printed(("completion ended", {**ENDED, **fields})) == [line]


def test_a_refused_request_is_one_line_too() -> None:
    no_request = {**REFUSED, "request_id": None, "request": None, "status": 400, "code": "invalid_request"}
    assert printed(("request refused", REFUSED), ("request refused", no_request)) == [
        "POST /v1/chat/completions: refused, HTTP 404 model not found",
        "bytes that are no request: refused, HTTP 400 invalid request",
    ]


def test_a_failed_completion_has_no_second_line_for_its_refusal() -> None:
    assert len(printed(("completion ended", ENDED), ("request refused", {**REFUSED, "request_id": "req_1"}))) == 1
    assert printed(("listening", {"listen": "127.0.0.1:8080"})) == []
