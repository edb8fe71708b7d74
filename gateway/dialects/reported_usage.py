"""Pure: reads the token counts that upstreams report, whatever they call them, and believes only what can be true.

In: the JSON value under a key such as `usage`. Out: `ReportedUsage`, or None. The counts become money, so a count
that is no whole number, negative or absurdly large makes the object nonsense, and a zero beside content is no count.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeGuard

from gateway.dialects.usage import TEXT_BYTES_PER_TOKEN, Usage
from gateway.wire import json_text

MAX_TOKENS = 1 << 24  # tokens of one answer; the longest contexts have ten million, so a larger count is nonsense
MAX_DETAILS = 256  # members of the objects of one answer that are put together
# The longest tokens of the usual tokenizers have 128 blanks. A count that is too low for the text of an answer is one
# of a single event, or of the beginning.
MAX_BYTES_OF_TOKEN = 128
_MAX_OWN_TOKENS_OF_ONE = MAX_BYTES_OF_TOKEN // TEXT_BYTES_PER_TOKEN  # of our own estimate
_MAX_TEXT = 65536  # characters of a usage object that came as a string

# The names of the counts: OpenAI's, Anthropic's and responses', Bedrock's, Gemini's, Ollama's.
_PROMPT = (
    *("prompt_tokens", "input_tokens", "promptTokens", "inputTokens", "promptTokenCount", "inputTokenCount"),
    *("prompt_token_count", "input_token_count", "prompt_eval_count"),
)
_COMPLETION = (
    *("completion_tokens", "output_tokens", "completionTokens", "outputTokens", "candidatesTokenCount"),
    *("outputTokenCount", "responseTokenCount", "candidates_token_count", "output_token_count", "eval_count"),
)
_TOTAL = ("total_tokens", "totalTokens", "totalTokenCount", "total_token_count")
_THOUGHTS = ("thoughtsTokenCount", "thoughts_token_count")  # Gemini counts them beside its candidates
# Anthropic counts a cached prompt beside its input.
_CACHED = (
    *("cache_read_input_tokens", "cache_creation_input_tokens"),
    *("cacheReadInputTokens", "cacheWriteInputTokens"),
)
# Gemini counts what its own tools have read beside its prompt.
_TOOLS = ("toolUsePromptTokenCount", "tool_use_prompt_token_count")
_INNER = ("tokens", "billed_units")  # members of Cohere's object that hold the counts
_PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_COMPLETION_DETAILS = ("completion_tokens_details", "output_tokens_details")
# OpenAI's own object. Where it has no other members, and its total is the sum, nothing is left to interpret.
_OPENAI = frozenset({_PROMPT[0], _COMPLETION[0], _TOTAL[0], _PROMPT_DETAILS[0], _COMPLETION_DETAILS[0]})


class ReportedUsage(NamedTuple):
    """What an upstream reported; None: it did not tell this count. `details`: its object, as it came.

    `total`: of an upstream that tells neither of the others.
    """

    prompt: int | None
    completion: int | None
    details: Mapping[str, Any]
    total: int | None = None

    @property
    def tells(self) -> bool:
        """Whether any count is more than zero."""
        return bool(self.prompt or self.completion or self.total)

    def over(self, earlier: "ReportedUsage") -> "ReportedUsage":
        """This report, with the counts of an earlier one where it has none."""
        if self.prompt and self.completion:
            return self
        is_much = len(earlier.details) + len(self.details) > MAX_DETAILS
        details = self.details if is_much else {**earlier.details, **self.details}
        prompt, completion = self.prompt or earlier.prompt, self.completion or earlier.completion
        return ReportedUsage(prompt, completion, details, self.total or earlier.total)

    def usage(self, own: Usage, *, stale: bool = False) -> Usage:
        """The usage of an answer, with our own estimate `own` in place of what is missing or cannot be true.

        `stale`: more of the answer came after this report, so that its count of the completion is a lower bound.
        """
        if self.total and not self.prompt and not self.completion:
            return self._split(own, stale=stale)
        prompt, completion = self.prompt or own.prompt_tokens, self.completion or own.completion_tokens
        if stale or (own.completion_tokens - 1) // _MAX_OWN_TOKENS_OF_ONE >= completion:
            completion = max(completion, own.completion_tokens)
        if not self.tells and completion:
            return own
        counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        as_told = (prompt, completion) == (self.prompt or 0, self.completion or 0)
        return Usage(prompt, completion, estimated=not as_told, reported={**self.details, **counts})

    def _split(self, own: Usage, *, stale: bool) -> Usage:
        """The usage by a total alone: what it has beyond our own estimate of both was generated, as everywhere.

        A total that is not more than the answer which has come cannot be true.
        """
        total = self.total or 0
        if total >= own.prompt_tokens + own.completion_tokens:
            completion = total - own.prompt_tokens
        elif total > own.completion_tokens and not stale:
            completion = own.completion_tokens
        else:
            return own
        counts = {"prompt_tokens": total - completion, "completion_tokens": completion, "total_tokens": total}
        return Usage(total - completion, completion, estimated=True, reported={**self.details, **counts})


def read_usage(value: Any) -> ReportedUsage | None:
    """The counts in a usage object, which may be a JSON text itself; None if there are none, or nonsense."""
    if isinstance(value, str) and value.lstrip().startswith("{") and len(value) <= _MAX_TEXT:
        try:
            value = json_text.loads(value.encode("utf-8", "surrogatepass"))
        except ValueError:
            return None
    if not isinstance(value, dict):
        return None
    if value.keys() <= _OPENAI and (plain := _summed_up(value)) is not None:
        return plain
    if isinstance(inner := _first(value, _INNER), dict):
        value = {**inner, **value}
    prompt, completion, total = _first(value, _PROMPT), _first(value, _COMPLETION), _first(value, _TOTAL)
    if not _is_count(total):
        total = None
    if total is not None and completion is None and _is_count(prompt):
        completion = total - prompt
    elif total is not None and prompt is None and _is_count(completion):
        prompt = total - completion
    counts = [count for count in (prompt, completion) if count is not None]
    if not all(map(_is_count, counts)):
        return None
    if not any(counts) and total:
        return ReportedUsage(None, None, value, total)
    if not counts:
        return None
    if prompt is not None and completion is not None:
        prompt, completion = _with_uncounted(value, prompt, completion, total)
    return ReportedUsage(prompt, completion, value)


def _summed_up(value: dict[str, Any]) -> ReportedUsage | None:
    """The counts of OpenAI's own object, as nearly every upstream sends it; None: it has to be interpreted."""
    prompt, completion = value.get("prompt_tokens"), value.get("completion_tokens")
    if type(prompt) is not int or type(completion) is not int or prompt < 0 or completion < 0:
        return None
    if value.get("total_tokens") != prompt + completion or prompt + completion > MAX_TOKENS:
        return None
    details = value.get("completion_tokens_details")
    reasoning = details.get("reasoning_tokens") if isinstance(details, dict) else None
    if reasoning and not (type(reasoning) is int and 0 < reasoning <= completion):
        return None  # it may have been counted beside the completion
    return ReportedUsage(prompt, completion, value)


def is_plain_usage(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether this is OpenAI's own object, whose counts mean what they say, whatever numbers they are."""
    zeros = {_PROMPT[0]: 0, _COMPLETION[0]: 0, _TOTAL[0]: 0}
    return isinstance(value, dict) and value.keys() <= _OPENAI and _summed_up({**value, **zeros}) is not None


def summed(reports: Iterable[ReportedUsage]) -> ReportedUsage | None:
    """The usage of an answer whose alternatives report their own: one prompt, and the sum of the completions."""
    reports = list(reports)
    if len(reports) < 2:
        return reports[0] if reports else None
    prompts = [report.prompt for report in reports if report.prompt is not None]
    completion = sum(report.completion or 0 for report in reports)
    return ReportedUsage(max(prompts, default=None), completion, reports[-1].details)


def _with_uncounted(usage: Mapping[str, Any], prompt: int, completion: int, total: int | None) -> tuple[int, int]:
    """The counts with what stands beside them: what a total has beyond prompt and completion was generated."""
    surplus = 0 if total is None else total - prompt - completion
    cached, tools, reasoning = (
        sum(_count(usage, (name,)) for name in _CACHED),
        _count(usage, _TOOLS),
        _reasoning(usage),
    )
    if surplus <= 0:
        thoughts = _count(usage, _THOUGHTS) if total is None else 0
        beside = thoughts or (reasoning if reasoning > completion else 0)
        return prompt + tools * (total is None) + (cached if "prompt_tokens" not in usage else 0), completion + beside
    if tools <= surplus:
        prompt, surplus = prompt + tools, surplus - tools
    of_prompt = cached or _count(_details(usage, _PROMPT_DETAILS), ("cached_tokens",))
    if surplus == of_prompt != reasoning:
        return prompt + surplus, completion
    return prompt, completion + surplus


def _reasoning(usage: Mapping[str, Any]) -> int:
    return _count(_details(usage, _COMPLETION_DETAILS), ("reasoning_tokens",)) or _count(usage, ("reasoning_tokens",))


def _details(usage: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    found = _first(usage, names)
    return found if isinstance(found, dict) else {}


def _first(mapping: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first of these members that is there and not null; OpenAI's own name comes first."""
    if (own := mapping.get(names[0])) is not None:
        return own
    return next((mapping[name] for name in names if mapping.get(name) is not None), None)


def _count(mapping: Mapping[str, Any], names: tuple[str, ...]) -> int:
    value = _first(mapping, names)
    return value if _is_count(value) else 0


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS
