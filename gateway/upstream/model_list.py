"""Shell: the question that an upstream is asked without a client: which models does it have (`GET /models`).

In: an endpoint and a limit of time. Out: what it answered. The invariant: the connection is closed in any case, and
nothing of an answer but the ids of models is handed out.
"""

import asyncio
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from gateway import clock
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.question import ask
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridger, Shape
from gateway.wire.json_filling import object_of

PATH = "/models"
MAX_LIST_BYTES = 1 << 23  # OpenRouter's list, the longest that we know, has 700 KB
_MAX_ENTRY_BYTES = 65536  # what a list says of one model; OpenRouter says 2 KB
_ENTRIES_OF_STEP = 10
_LIST = Shape({"data": Shape(elements=Shape()), "models": Shape(elements=Shape())}, elements=Shape())
MAX_ID_CHARACTERS = 256  # as of an id in the configuration; no longer one can be the id of a configured model


@dataclass(frozen=True, slots=True)
class ModelList:
    """The answer of an upstream. `ids`: None if the answer is no list of models."""

    status: int
    ids: frozenset[str] | None
    seconds: float  # from the dial to the end of the answer


async def ask_models(endpoint: Endpoint, seconds: float) -> ModelList:
    """What the upstream answers to `GET /models`. Raises `UpstreamError` if no answer comes within these seconds."""
    began = clock.monotonic()
    status, body = await ask(endpoint, "GET", PATH, seconds, MAX_LIST_BYTES)
    answered = clock.monotonic()
    return ModelList(status, await _ids_in(body) if 200 <= status < 300 else None, answered - began)


async def _ids_in(body: bytearray) -> frozenset[str] | None:
    """The ids in the body; None if it is no list of models."""
    reading = read_ids(body)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            ids: frozenset[str] | None = end.value
            return ids
        await asyncio.sleep(0)


def read_ids(body: bytes | bytearray) -> Generator[None, None, frozenset[str] | None]:
    """The ids in the JSON of a list of models, read in steps of some milliseconds; None if it is none."""
    abridger = Abridger(body, _LIST)
    try:
        yield from abridger.steps()
        abridged = abridger.abridged()
        value = json_text.loads(abridged.text)
    except ValueError:
        return None
    if (ids := model_ids(value)) is None:
        return None
    found = set(ids)
    for number, entry in enumerate(_entries(value)):
        if isinstance(entry, dict) and (text := object_of(abridged, entry)) is not None:
            if len(text) <= _MAX_ENTRY_BYTES:
                found |= model_ids([json_text.loads(text)]) or set()
            if number % _ENTRIES_OF_STEP == 0:
                yield
    return frozenset(found)


def model_ids(body: Any) -> frozenset[str] | None:
    """The ids in a list of models, in the shapes that there are; None if it is none.

    OpenAI and most others answer `{"data": [{"id"}]}`, Together a bare list, Gemini and Ollama
    `{"models": [{"name"}]}`; Gemini's names begin with `models/`, which requests may leave out.
    """
    entries = _entries(body)
    if not isinstance(entries, list):
        return None
    named = [entry.get("id", entry.get("name")) for entry in entries if isinstance(entry, dict)]
    ids = {name for name in named if isinstance(name, str) and 0 < len(name) <= MAX_ID_CHARACTERS}
    return frozenset(ids | {name.removeprefix("models/") for name in ids})


def _entries(body: Any) -> Any:
    return body.get("data", body.get("models")) if isinstance(body, dict) else body
