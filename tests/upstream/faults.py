"""The faults of the simulated provider, each with the outcome that an attempt must have."""

from dataclasses import dataclass, field
from typing import Any

from gateway.dialects.dialect import ReportedFailure
from gateway.errors import (
    RateLimited,
    UpstreamCredentialRefused,
    UpstreamError,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamUnable,
)
from gateway.simulate import Script
from gateway.upstream.patience import PatienceOver

FAST = Script(ttft_ms=0, gap_ms=0, tokens=5)
SIMULATED = "The simulated provider failed with status {0}, as it was told."
REFUSED = SIMULATED
REPORTED = "alpha: the upstream reported an error: " + SIMULATED.format(500)


@dataclass(frozen=True)
class Fault:
    script: dict[str, Any]
    outcome: list[str]
    message: str
    kind: type[Exception] = UpstreamError
    status: int = 502
    limits: dict[str, Any] = field(default_factory=dict)
    retry_after: int | None = None


CONTENT = ["content", "failed"]
NO_CONTENT = ["failed"]
FAULTS = {
    "stall before the head": Fault(
        {"stall_before": "head"},
        NO_CONTENT,
        "alpha: no answer within head_timeout_ms (100)",
        PatienceOver,
        limits={"head_timeout_ms": 100},
    ),
    "stall after the head": Fault(
        {"stall_before": "role"},
        NO_CONTENT,
        "alpha: no content, and no byte for first_content_timeout_ms (100)",
        PatienceOver,
        limits={"first_content_timeout_ms": 100},
    ),
    "stall after the role": Fault(
        {"stall_after": 0},
        NO_CONTENT,
        "alpha: no content, and no byte for first_content_timeout_ms (100)",
        PatienceOver,
        limits={"first_content_timeout_ms": 100},
    ),
    "stall before the head, the limit of content being shorter": Fault(
        {"stall_before": "head"},
        NO_CONTENT,
        "alpha: no content, and no byte for first_content_timeout_ms (100)",
        PatienceOver,
        limits={"first_content_timeout_ms": 100, "head_timeout_ms": 5000},
    ),
    "stall in mid-stream": Fault(
        {"stall_after": 2},
        CONTENT,
        "alpha: no byte for idle_timeout_ms (100)",
        kind=UpstreamStalled,
        limits={"idle_ms": 100},
    ),
    "reset before content": Fault(
        {"reset_after": 0}, NO_CONTENT, "alpha: the upstream closed the connection in mid-answer"
    ),
    "reset in mid-stream": Fault(
        {"reset_after": 2, "gap_ms": 20}, CONTENT, "alpha: the upstream closed the connection in mid-answer"
    ),
    "cut before content": Fault(
        {"cut_after": 0}, NO_CONTENT, "alpha: the upstream closed the connection in mid-answer"
    ),
    "cut in mid-stream": Fault({"cut_after": 2}, CONTENT, "alpha: the upstream closed the connection in mid-answer"),
    "cut, the body being delimited by the close": Fault(
        {"cut_after": 2, "body": "close"},
        CONTENT,
        "alpha: the upstream ended in mid-stream, with neither a finish nor [DONE]",
    ),
    "cut, the length being known": Fault(
        {"cut_after": 2, "body": "length"}, CONTENT, "alpha: the upstream closed the connection in mid-answer"
    ),
    "end before content": Fault(
        {"close_after": 0},
        NO_CONTENT,
        "alpha: the upstream ended before any content, with neither a finish nor [DONE]",
    ),
    "end in mid-stream": Fault(
        {"close_after": 2}, CONTENT, "alpha: the upstream ended in mid-stream, with neither a finish nor [DONE]"
    ),
    "neither finish nor done": Fault(
        {"done": False, "finish": False},
        CONTENT,
        "alpha: the upstream ended in mid-stream, with neither a finish nor [DONE]",
    ),
    "done without content": Fault(
        {"tokens": 0, "finish": False}, NO_CONTENT, "alpha: the upstream ended before any content"
    ),
    "error event first": Fault({"error_first": True}, NO_CONTENT, REPORTED, ReportedFailure),
    "error event in mid-stream": Fault({"error_after": 2}, CONTENT, REPORTED, ReportedFailure),
    "JSON instead of a stream": Fault(
        {"json_instead": True},
        NO_CONTENT,
        REPORTED,
        ReportedFailure,
    ),
    "HTML with 200": Fault(
        {"html_error": True},
        NO_CONTENT,
        "alpha: it answered with text/html instead of an event stream: Bad gateway",
    ),
    "HTML with 502": Fault({"html_error": True, "status": 502}, NO_CONTENT, "alpha: HTTP 502: Bad gateway"),
    "compressed 429": Fault(
        {"gzip": True, "status": 429, "retry_after": 7},
        NO_CONTENT,
        "alpha: over its limit (HTTP 429): " + SIMULATED.format(429),
        kind=RateLimited,
        status=429,
        retry_after=7,
    ),
    "compressed 400": Fault(
        {"gzip": True, "status": 400},
        NO_CONTENT,
        REFUSED.format(400),
        kind=UpstreamRefused,
        status=400,
    ),
    "400": Fault({"status": 400}, NO_CONTENT, REFUSED.format(400), kind=UpstreamRefused, status=400),
    "401": Fault(
        {"status": 401},
        NO_CONTENT,
        "alpha: it refused the gateway's credential (HTTP 401)",
        kind=UpstreamCredentialRefused,
    ),
    "403": Fault(
        {"status": 403},
        NO_CONTENT,
        "alpha: it refused the gateway's access (HTTP 403): " + SIMULATED.format(403),
        kind=UpstreamCredentialRefused,
    ),
    "404": Fault({"status": 404}, NO_CONTENT, REFUSED.format(404), kind=UpstreamUnable, status=404),
    "408": Fault({"status": 408}, NO_CONTENT, "alpha: HTTP 408: " + SIMULATED.format(408)),
    "413": Fault({"status": 413}, NO_CONTENT, REFUSED.format(413), kind=UpstreamRefused, status=413),
    "422": Fault({"status": 422}, NO_CONTENT, REFUSED.format(422), kind=UpstreamRefused, status=422),
    "429": Fault(
        {"status": 429, "retry_after": 7},
        NO_CONTENT,
        "alpha: over its limit (HTTP 429): " + SIMULATED.format(429),
        kind=RateLimited,
        status=429,
        retry_after=7,
    ),
    "500": Fault({"status": 500}, NO_CONTENT, "alpha: HTTP 500: " + SIMULATED.format(500)),
    "503": Fault(
        {"status": 503, "retry_after": 3}, NO_CONTENT, "alpha: HTTP 503: " + SIMULATED.format(503), retry_after=3
    ),
}


WHOLE_FAULTS = {
    "stall": Fault(
        {"stall_before": "head"},
        NO_CONTENT,
        "alpha: no answer within response_timeout_ms (100)",
        PatienceOver,
        limits={"response_timeout_ms": 100},
    ),
    "stall after the head": Fault(
        {"stall_before": "role"},
        NO_CONTENT,
        "alpha: no byte of the answer within response_timeout_ms (100)",
        PatienceOver,
        limits={"response_timeout_ms": 100},
    ),
    "cut": Fault({"cut_after": 0}, NO_CONTENT, "alpha: the upstream closed the connection in mid-answer"),
    "reset": Fault({"reset_after": 0}, NO_CONTENT, "alpha: the upstream closed the connection in mid-answer"),
    "JSON error with 200": Fault({"json_instead": True}, NO_CONTENT, REPORTED, ReportedFailure),
    "HTML with 200": Fault({"html_error": True}, NO_CONTENT, "alpha: the upstream's answer is not JSON"),
    "400": FAULTS["400"],
    "429": FAULTS["429"],
    "500": FAULTS["500"],
}


DIALECTS: dict[str, dict[str, Any]] = {
    "as it should be": {},
    "no done": {"done": False},
    "no finish": {"finish": False},
    "length": {"body": "length"},
    "close": {"body": "close"},
    "close without done": {"body": "close", "done": False},
    "CRLF": {"line_end": "\r\n"},
    "CR": {"line_end": "\r"},
    "no space": {"space": False},
    "byte order mark": {"bom": True},
    "pretty": {"pretty": True},
    "event names": {"event_names": True},
    "comments": {"comments": 1},
    "compressed": {"gzip": True},
    "compressed, of known length": {"gzip": True, "body": "length"},
    "usage everywhere": {"usage": "null_everywhere"},
    "omissions": {"omit": ["created", "model", "index", "finish_reason", "role", "id", "object"]},
    "finish in the delta": {"finish_in_delta": True},
    "error null": {"error_null": True},
    "one byte at a time": {"split": 1},
    "one byte at a time, CRLF, pretty": {"split": 1, "line_end": "\r\n", "pretty": True, "bom": True},
    "separators": {"unicode_separators": True},
}
