"""Providers that serve the same models and behave differently, and a model of its own for each test.

A gateway keeps the health of an upstream by model, so that tests with different models do not disturb each other.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .completions import QUICK, body, text
from .configuration import KEYS, Served, configuration
from .gateway import Gateway, LocalGateway
from .http_client import Answer, RawClient, fetch
from .upstreams import Upstream

MODELS = [f"m{number}" for number in range(150)]
LONE = [f"lone{number}" for number in range(50)]  # models that only the first upstream serves
WHOLE_TEXT = text(8)
METADATA = {"X_Usage_Event": "event"}  # asks `fetch` for the header after which the last event has the metadata

# Scripts of upstreams that fall silent for ever before the first content, each at another point.
SILENCES: dict[str, dict[str, Any]] = {
    "before the head": {"stall_before": "head"},
    "after the head": {"stall_before": "role"},
    "after the role chunk": {"stall_after": 0, "ttft_ms": 5},
}


@dataclass(frozen=True, slots=True)
class Rivals:
    """The providers of one file, in the order of its configurations."""

    first: Upstream
    second: Upstream

    def served(self) -> list[tuple[Upstream, list[str]]]:
        """The providers with their models, as `configuration` takes them."""
        return [(self.first, [*MODELS, *LONE]), (self.second, MODELS)]

    def both(self) -> tuple[Upstream, Upstream]:
        return self.first, self.second

    def reset(self) -> None:
        for upstream in self.both():
            upstream.follow(**QUICK)

    def requests(self) -> tuple[int, int]:
        """How many requests each has seen."""
        return self.first.statistics().requests, self.second.statistics().requests

    def wait_until_quiet(self) -> None:
        """Wait until no provider has an answer under way: the attempts that lost have been closed."""
        for upstream in self.both():
            upstream.wait_until(lambda now: now.streams_running == 0, "no stream left", 5)


@contextmanager
def serving(
    folder: Path, served: Served, sections: str = "", prices: Mapping[str, tuple[float, float]] | None = None
) -> Iterator[LocalGateway]:
    """A gateway for these upstreams and their models."""
    gateway = LocalGateway(folder, configuration(served, sections, prices), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


def request_for(model: str, simulate: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A streamed request for this model."""
    return body(simulate, **{"model": model, "stream": True, **fields})


def routed(model: str, **options: Any) -> dict[str, Any]:
    """A streamed request with routing options."""
    return request_for(model, gateway={"routing": options})


def metadata(answer: Answer) -> dict[str, Any]:
    """The `routing_metadata` of the last event before `[DONE]`, or of a whole answer."""
    events = answer.events()[-2] if "text/event-stream" in answer.headers["content-type"] else json.loads(answer.body)
    found: dict[str, Any] = events["routing_metadata"]
    return found


def attempts(answer: Answer) -> list[dict[str, Any]]:
    """The attempts that an answer lists: in its metadata, or beside its error, as a status or in the stream."""
    found: list[dict[str, Any]] = metadata(answer)["attempts"]
    return found


def failure(answer: Answer) -> dict[str, Any]:
    """The error that ended a stream; `[DONE]` must follow."""
    *_, last, done = answer.events()
    assert done == "[DONE]"
    error: dict[str, Any] = last["error"]
    return error


def ended(gateway: Gateway, answer: Answer) -> dict[str, Any]:
    """The log line that says how the completion of this answer ended."""
    return gateway.ending(answer.headers["x-request-id"])


def stream(gateway: Gateway, request: dict[str, Any], **headers: str) -> Answer:
    """A streamed answer that must be whole."""
    answer = fetch(gateway.port, request, **METADATA, **headers)
    assert answer.status == 200, answer.body
    assert answer.text() == WHOLE_TEXT
    return answer


def together(gateway: Gateway, requests: Sequence[dict[str, Any]], **headers: str) -> list[Answer]:
    """Requests that are under way at the same time; their answers in the same order."""
    clients = [RawClient(gateway.port) for _ in requests]
    try:
        for client, request in zip(clients, requests, strict=True):
            client.post(request, **METADATA, **headers)
        return [client.answer() for client in clients]
    finally:
        for client in clients:
            client.close()
