"""Pure: the description of a real provider, as the simulated provider plays it.

A likeness is data: where the provider listens, how it wants its key, how it words errors, and which quirks its
answers have. `table.py` has one for each provider.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.simulate.likeness.quirks import Quirk
from gateway.simulate.likeness.shapes import Shape
from gateway.simulate.sse_style import Json

ENDPOINT = "/chat/completions"
BEARER = ("authorization", "Bearer ")  # a header field with the key, and the word before the key


@dataclass(frozen=True, slots=True)
class PlayedRefusal:
    """An answer that refuses a request. `body`: JSON, or text that is sent as it is."""

    status: int
    body: Any
    kind: str = "application/json"

    def encode(self) -> bytes:
        """The bytes of the body."""
        return self.body.encode() if self.kind != "application/json" else orjson.dumps(self.body)


@dataclass(frozen=True, slots=True)
class RefusedField:
    """A request field that a provider refuses. `models`: how the names of the models begin that refuse it."""

    field: str
    status: int
    body: Json
    models: tuple[str, ...] = ("",)


@dataclass(frozen=True, slots=True)
class Likeness:
    """One provider. `words`: its error bodies by status, as far as they are known; `shape` makes all others.

    A wrong key is refused with `wrong_key`, by default with the words of status 401.
    """

    title: str
    base: str  # the path of its base URL; a `*` stands for one segment
    shape: Shape
    unknown_path: PlayedRefusal  # its answer to a path, or a query, that it does not know
    words: Mapping[int, Any] = field(default_factory=dict)
    keys: tuple[tuple[str, str], ...] = (BEARER,)  # the header fields in which it takes a key; none: it needs no key
    wrong_key: PlayedRefusal | None = None
    query: tuple[str, ...] = ()  # the parameters that every request must have
    refuses: tuple[RefusedField, ...] = ()
    broken: Json = field(
        default_factory=lambda: {"error": {"message": "The server had an error", "type": "server_error"}}
    )
    quirks: tuple[Quirk, ...] = ()
    script: Mapping[str, Any] = field(default_factory=dict)  # what its script has other than a script's defaults
    models: tuple[str, ...] = ("sim",)
    lists_models: bool = True

    def knows(self, method: str, path: str) -> bool:
        """Whether the provider answers this method on this path."""
        end = {"POST": ENDPOINT, "GET": "/models" if self.lists_models else None}.get(method)
        base = "[^/]+".join(map(re.escape, self.base.split("*")))
        return end is not None and re.fullmatch(base + re.escape(end), path) is not None
