"""Pure: text completions as a simulated provider gives them.

In: a script and the facts of a request. Out: JSON and frames. Every prompt has an answer, or as many as `n` says, and
all of them say the same; a token of each of them comes before the next token of any.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.simulate.choices import MARK, ChoicesAnswer, error_object
from gateway.simulate.limit import named_limit
from gateway.simulate.script import Script
from gateway.simulate.sse_style import Json
from gateway.simulate.steps import Facts
from gateway.simulate.words import count_text_tokens, reasoning_tokens, text_tokens

MAX_ALTERNATIVES = 128  # answers to one request


class CompletionsSimulation:
    """The dialect of text completions, as the simulated provider speaks it."""

    path = "/v1/completions"

    def facts(self, body: Mapping[str, Any], *, keep_alive: bool, chunked: bool) -> Facts:
        """The facts of a request that a plan needs; fields of a wrong type count as absent."""
        options, model, prompt, n = (body.get(name) for name in ("stream_options", "model", "prompt", "n"))
        is_list = isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)
        alternatives = (len(prompt or "") if is_list else 1) * (n if type(n) is int and n > 0 else 1)
        return Facts(
            model=model if isinstance(model, str) else "sim",
            stream=body.get("stream") is True,
            include_usage=isinstance(options, dict) and options.get("include_usage") is True,
            prompt=orjson.dumps(prompt),
            keep_alive=keep_alive,
            chunked=chunked,
            max_tokens=named_limit(body, "max_tokens"),
            alternatives=min(alternatives, MAX_ALTERNATIVES),
        )

    def answer(self, script: Script, facts: Facts) -> "CompletionsAnswer":
        """The answer to a request, as the script describes it."""
        return CompletionsAnswer(script, facts)

    def error_document(self, status: int) -> bytes:
        """An error in OpenAI's shape."""
        return orjson.dumps(error_object(status))


COMPLETIONS = CompletionsSimulation()


class CompletionsAnswer(ChoicesAnswer):
    """One text completion."""

    __slots__ = ()

    event_object = whole_object = "text_completion"
    id_begins = "cmpl-sim-"

    def opening(self) -> Iterator[bytes]:
        """Nothing: the first event has a text."""
        return iter(())

    def reasoning(self) -> Iterator[bytes]:
        """The frames of the reasoning, one for each token."""
        return self._texts(self._event(0, {"text": "", "reasoning_content": MARK}), reasoning_tokens(self._script))

    def content(self) -> Iterator[bytes]:
        """The frames of the text: one for each token of each alternative."""
        template = [self._event(index, {"text": MARK}) for index in range(self._facts.alternatives)]
        if len(template) == 1:
            return self._texts(template[0], text_tokens(self._script))
        return (
            frame
            for token in text_tokens(self._script)
            for event in template
            for frame in self._texts(event, iter((token,)))
        )

    def _finishes(self) -> Iterator[bytes]:
        return (self._event(index, {"text": ""}, self._finish_reason()) for index in range(self._facts.alternatives))

    def _count_content(self) -> int:
        return count_text_tokens(self._script) * self._facts.alternatives

    def _finish_reason(self) -> str:
        return "length" if self._facts.is_cut else "stop"

    def _whole_choices(self) -> list[Json]:
        text = "".join(text_tokens(self._script))
        choice: Json = {"text": text, "logprobs": None, "finish_reason": self._finish_reason()}
        choices = [{"index": index, **choice} for index in range(self._facts.alternatives)]
        if self._script.reasoning_tokens:
            choices[0]["reasoning_content"] = "".join(reasoning_tokens(self._script))
        return choices

    def _event(self, index: int, texts: Json, finish_reason: str | None = None) -> bytes:
        choice: Json = {"index": index, "logprobs": None, **texts, "finish_reason": finish_reason}
        if finish_reason is None and "finish_reason" in self._script.omit:
            del choice["finish_reason"]
        return self._event_with(choice, finish_reason)
