"""Pure: a whole completion, chat or text, the answer to a request that is not streamed."""

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any, ClassVar, Generic, Self

from gateway.dialects.choices.event_errors import read_choice_error, read_event_error
from gateway.dialects.choices.reader import MAX_EVENT_VALUES, Shared
from gateway.dialects.choices.usage_places import SeenUsage
from gateway.dialects.dialect import AnswerReport, ReportedFailure
from gateway.dialects.long_answer import abridged_answer, object_of, told_in_full, value_of
from gateway.dialects.usage import Usage, estimate
from gateway.errors import UpstreamError
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridged, Shape
from gateway.wire.json_filling import FilledText, hidden_text_bytes

# The limit of an answer with the probabilities of its tokens: twenty alternatives for each of 4,000 tokens fit.
MAX_VALUES_WITH_LOGPROBS = 2_000_000


class ChoicesDocument(ABC, Generic[Shared]):
    """A completion that strict clients accept, without the upstream's usage, which is kept beside it.

    `abridged`: what a long completion was made of, which holds its long texts. A subclass is the document of a
    dialect. `looks_at`: what it looks at of a long completion.
    """

    looks_at: ClassVar[Shape]

    __slots__ = ("_abridged", "_completion", "_echo", "_usage")

    def __init__(
        self, completion: dict[str, Any], usage: SeenUsage, abridged: Abridged | None = None, echo: int = 0
    ) -> None:
        self._completion = completion
        self._usage = usage
        self._abridged = abridged
        self._echo = echo  # how many bytes of its texts repeat the prompt

    @classmethod
    def read_in_steps(cls, content: bytes | bytearray, identity: Shared) -> Generator[None, None, Self]:
        """Read and repair a long completion in steps. Raises `UpstreamError` as `read` does."""
        abridged = yield from abridged_answer(content, cls.looks_at)
        try:
            return cls.read(abridged.text, identity, abridged)
        except ReportedFailure as failure:
            raise told_in_full(failure, abridged) from None

    @classmethod
    def read(cls, content: bytes | bytearray, identity: Shared, abridged: Abridged | None = None) -> Self:
        """Read and repair a completion. Raises `UpstreamError` if the content is none, or is an error object.

        `abridged`: a long completion, of which `content` is the short text.
        """
        completion = _object_in(content)
        if (message := read_event_error(completion)) is not None:
            raise ReportedFailure.of(message)
        try:
            cls._repair(completion, identity)
        except ValueError as problem:
            raise UpstreamError(f"the upstream's answer is not a completion: {problem}") from None
        if (message := read_choice_error(completion["choices"])) is not None:
            raise ReportedFailure.of(message)
        usage = SeenUsage()
        usage.take(completion, 0)
        completion.pop("usage", None)
        completion.pop("routing_metadata", None)  # an upstream may be a gateway, and speak of its own routing
        return cls(completion, usage, abridged, cls._echoed_bytes(identity))

    def usage(self, prompt_tokens: int) -> Usage:
        """The upstream's counts, else an estimate by the text, as of a stream of the same text."""
        bodies = [self._body(choice) for choice in self._completion["choices"]]
        spoken, size = sum(map(self._has_content, bodies)), sum(map(self._text_bytes, bodies))
        if self._abridged is not None:
            size += hidden_text_bytes(self._abridged, json_text.dumps(bodies))
        return self._usage.usage(estimate(prompt_tokens, spoken, size - self._echo), 0)

    def encode(self, report: AnswerReport) -> bytes | FilledText:
        """The completion with `usage` and `routing_metadata`. Raises `ValueError` if it is nested too deeply."""
        members = {"usage": report.usage.as_json(), "routing_metadata": report.metadata}
        text = json_text.dumps_line({**self._completion, **members})
        return text if self._abridged is None else FilledText(self._abridged, text)

    # --- what a dialect knows

    @staticmethod
    def _echoed_bytes(identity: Shared, /) -> int:
        """How many bytes of its texts repeat the prompt, and are no part of the answer."""
        return 0

    @staticmethod
    @abstractmethod
    def _repair(completion: dict[str, Any], identity: Shared, /) -> bool:
        """Repair a completion; returns whether it changed. Raises `ValueError` if that is impossible."""

    @staticmethod
    @abstractmethod
    def _body(choice: dict[str, Any], /) -> dict[str, Any]:
        """What holds the content of a choice."""

    @staticmethod
    @abstractmethod
    def _has_content(body: dict[str, Any], /) -> bool:
        """Whether what holds the content of a choice holds any."""

    @staticmethod
    @abstractmethod
    def _text_bytes(body: dict[str, Any], /) -> int:
        """The bytes of text in what holds the content of a choice."""


def _object_in(content: bytes | bytearray) -> dict[str, Any]:
    """The object that a whole answer is. Raises `UpstreamError`."""
    values = MAX_VALUES_WITH_LOGPROBS if b'"logprobs"' in content else MAX_EVENT_VALUES
    if json_text.holds_more_than(content, values):
        raise UpstreamError(f"the upstream's answer holds more than {values} values")
    return object_of(value_of(content)[0])
