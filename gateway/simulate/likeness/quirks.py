"""Pure: the small ways in which answers of real providers differ from OpenAI's.

A quirk is a function that changes a draft in place; most are made by a function with the quirk's values.
"""

from collections.abc import Callable
from copy import deepcopy
from itertools import groupby
from typing import Any

from gateway.simulate.likeness.draft import Draft
from gateway.simulate.sse_style import Json

Quirk = Callable[[Draft], None]

THOUGHTS = 20  # tokens of reasoning that are counted but not sent
BLANK_LINES = 3  # as many as a short wait of a busy provider brings


def on_every_event(**members: Any) -> Quirk:
    """Further members of every event and of the document."""

    def change(draft: Draft) -> None:
        for payload in (*draft.events(), draft.document):
            payload.update(deepcopy(members))

    return change


def on_every_choice(**members: Any) -> Quirk:
    """Further members of every choice."""

    def change(draft: Draft) -> None:
        for choice in draft.choices():
            choice.update(deepcopy(members))

    return change


def on_the_first_event(**members: Any) -> Quirk:
    """Further members of the event with the role."""

    def change(draft: Draft) -> None:
        draft.opening[0].update(deepcopy(members))

    return change


def on_the_finish(**members: Any) -> Quirk:
    """Further members of the choice that finishes, and of the choice of the document."""

    def change(draft: Draft) -> None:
        for payload in draft.finishes():
            payload["choices"][0].update(deepcopy(members))

    return change


def at_the_end(**members: Any) -> Quirk:
    """Further members of the last event, and of the document."""

    def change(draft: Draft) -> None:
        for payload in draft.ends():
            payload.update(deepcopy(members))

    return change


def before_all(event: Json) -> Quirk:
    """An event before the one with the role."""

    def change(draft: Draft) -> None:
        draft.opening.insert(0, deepcopy(event))

    return change


def behind_the_finish(event: Json) -> Quirk:
    """An event right behind the finish."""

    def change(draft: Draft) -> None:
        draft.closing.insert(1, deepcopy(event))

    return change


def with_usage(**members: Any) -> Quirk:
    """Further members of the usage."""

    def change(draft: Draft) -> None:
        for usage in draft.usages():
            usage.update(deepcopy(members))

    return change


def thoughts_beyond_completion(*, details: bool) -> Quirk:
    """Reasoning is in `total_tokens` only, and there is more of it than is sent; `details` says how much."""

    def change(draft: Draft) -> None:
        for usage in draft.usages():
            sent = usage.pop("completion_tokens_details", {}).get("reasoning_tokens", 0)
            usage["completion_tokens"] -= sent
            usage["total_tokens"] += THOUGHTS
            if details:
                usage["completion_tokens_details"] = {"reasoning_tokens": sent + THOUGHTS}

    return change


def zero_usage_before_the_end(draft: Draft) -> None:
    """Every event before the finish has a usage of zeros."""
    for event in (*draft.opening, *draft.reasoning, *draft.content):
        event["usage"] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def reasoning_under(name: str) -> Quirk:
    """Reasoning under another name than `reasoning_content`."""

    def change(draft: Draft) -> None:
        for delta in draft.deltas():
            if "reasoning_content" in delta:
                delta[name] = delta.pop("reasoning_content")

    return change


def role_on_every_delta(draft: Draft) -> None:
    """The role in every delta, not in the first alone."""
    for event in (*draft.opening, *draft.reasoning, *draft.content):
        event["choices"][0]["delta"] = {"role": "assistant", **event["choices"][0]["delta"]}


def whole_tool_calls(*, index: bool) -> Quirk:
    """Each tool call in one event, with or without its index."""

    def change(draft: Draft) -> None:
        calls = [event for event in draft.content if "tool_calls" in event["choices"][0]["delta"]]
        if calls:
            grouped = groupby(calls, key=lambda event: _call(event)["index"])
            draft.content = [_joined(list(events), index) for _, events in grouped]

    return change


def _call(event: Json) -> Json:
    call: Json = event["choices"][0]["delta"]["tool_calls"][0]
    return call


def _joined(events: list[Json], index: bool) -> Json:
    """The first event of a tool call, with the arguments of all."""
    first = _call(events[0])
    first["function"]["arguments"] = "".join(_call(event)["function"]["arguments"] for event in events)
    if not index:
        del first["index"]
    return events[0]


def content_in_parts(draft: Draft) -> None:
    """The first piece of text, and the text of the document, as a list of parts with a reference."""
    for delta in (next(iter(_texts(draft)), None), draft.document["choices"][0]["message"]):
        if delta and delta["content"]:
            reference = {"type": "reference", "reference_ids": [1]}
            delta["content"] = [{"type": "text", "text": delta["content"]}, reference]


def _texts(draft: Draft) -> list[Json]:
    deltas: list[Json] = [event["choices"][0]["delta"] for event in draft.content]
    return [delta for delta in deltas if delta.get("content")]


def logprobs_that_are_no_json(draft: Draft) -> None:
    """Log probabilities of -Infinity and NaN, which JSON does not have."""
    for event in draft.content:
        unlikely = [{"token": "x", "logprob": float("-inf")}, {"token": "y", "logprob": float("nan")}]
        entry = {"token": "t", "logprob": 0.0, "top_logprobs": unlikely}
        event["choices"][0]["logprobs"] = {"content": [entry]}
    draft.document["choices"][0]["logprobs"] = {"content": [{"token": "t", "logprob": float("-inf")}]}


def obfuscation(draft: Draft) -> None:
    """Random text on every event with content, so that its length does not betray the token."""
    for event in draft.content:
        event["obfuscation"] = "sYx8Qm2k"


def usage_in_x_groq(draft: Draft) -> None:
    """The usage of the stream in `x_groq` on the finish, whether it was asked for or not."""
    usage = draft.document.get("usage")
    for payload in draft.finishes():
        if payload is not draft.document and usage:
            payload["x_groq"] = {"id": "req_sim", "usage": {**usage, "total_time": 0.25}}


def blank_lines_first(draft: Draft) -> None:
    """Empty lines before the document, which keep the connection open while the provider is busy."""
    draft.blank_lines = BLANK_LINES
