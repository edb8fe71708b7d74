"""Pure: embeddings as a simulated provider gives them: a vector for each text of the input.

In: a script and the facts of a request. Out: one JSON document. A seed and a text always give the same vector.
"""

import base64
import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.simulate.choices import error_object
from gateway.simulate.script import Script
from gateway.simulate.sse_style import Json, SseStyle
from gateway.simulate.steps import Facts

DIMENSIONS = 8  # numbers of a vector whose request asks for no other number
MAX_DIMENSIONS = 4096
MAX_TEXTS = 4096  # texts of one request


class EmbeddingsSimulation:
    """The dialect of embeddings, as the simulated provider speaks it."""

    path = "/v1/embeddings"

    def facts(self, body: Mapping[str, Any], *, keep_alive: bool, chunked: bool) -> Facts:
        """The facts of a request that a plan needs; its prompt is the input, and how the vectors are to be."""
        model, asked = body.get("model"), (body.get(name) for name in ("input", "encoding_format", "dimensions"))
        return Facts(
            model=model if isinstance(model, str) else "sim",
            stream=False,
            prompt=orjson.dumps([*asked]),
            keep_alive=keep_alive,
            chunked=chunked,
        )

    def answer(self, script: Script, facts: Facts) -> "EmbeddingsAnswer":
        """The answer to a request, as the script describes it."""
        return EmbeddingsAnswer(script, facts)

    def error_document(self, status: int) -> bytes:
        """An error in OpenAI's shape."""
        return orjson.dumps(error_object(status))


EMBEDDINGS = EmbeddingsSimulation()


class EmbeddingsAnswer:
    """One answer with embeddings. It is never streamed, so that it has no frames."""

    __slots__ = ("_facts", "_script")

    def __init__(self, script: Script, facts: Facts) -> None:
        self._script = script
        self._facts = facts

    def opening(self) -> Iterator[bytes]:
        """Nothing."""
        return iter(())

    def reasoning(self) -> Iterator[bytes]:
        """Nothing."""
        return iter(())

    def content(self) -> Iterator[bytes]:
        """Nothing."""
        return iter(())

    def closing(self) -> Iterator[bytes]:
        """Nothing."""
        return iter(())

    def error(self) -> bytes:
        """The frame of an error, which no answer has."""
        return SseStyle(self._script).encode(error_object(500))

    def count_tokens(self) -> int:
        """None: the answer is there at once."""
        return 0

    def document(self) -> bytes:
        """The list of all embeddings."""
        given, encoding, dimensions = orjson.loads(self._facts.prompt)
        texts = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
        size = dimensions if type(dimensions) is int and 0 < dimensions <= MAX_DIMENSIONS else DIMENSIONS
        vectors = (_vector(self._script.seed, text, size) for text in texts[:MAX_TEXTS])
        data: list[Json] = [
            {"object": "embedding", "index": index, "embedding": _encoded(vector, encoding)}
            for index, vector in enumerate(vectors)
        ]
        answer: Json = {"object": "list", "data": data, "model": self._facts.model}
        if self._script.usage != "never":
            tokens = max(1, len(orjson.dumps(given)) // 4)
            answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return orjson.dumps(answer)


def _vector(seed: int, text: Any, dimensions: int) -> list[float]:
    """The vector of a text: numbers from -1 to 1, each of which is a float of 32 bits."""
    digest = hashlib.shake_128(b"%d\0%b" % (seed, orjson.dumps(text))).digest(2 * dimensions)
    return [number / 32768 for number in struct.unpack(f"<{dimensions}h", digest)]


def _encoded(vector: list[float], encoding: Any) -> list[float] | str:
    if encoding != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
