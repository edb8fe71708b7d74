"""Pure: what the simulated model says, before anything of SSE or HTTP.

In: a script and the facts of a request. Out: tokens, tool-call deltas, usage, the whole completion.
The same seed and request give the same answer, and the streamed one joins up to the whole one.
"""

import hashlib
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from .script import Script
from .steps import Facts

CREATED = 1_750_000_000  # a fixed date: the same seed gives the same bytes on any day
FRAGMENT_CHARS = 8  # of a tool call's arguments in one delta
SEPARATORS = ("\u2028", "\u2029", "\u0085")
WORDS = re.findall(
    r"\w+",
    "river water bridge stone gate light wind boat bank reed current morning lantern path field cloud "
    "slow clear deep narrow quiet early bright distant small steady open warm grey long first new "
    "runs turns carries meets follows crosses rises falls leaves reaches bends rests opens keeps finds shows "
    "the a over under past through toward between along beyond until while because and then still",
)

Json = dict[str, Any]


def words(seed: int) -> Iterator[str]:
    """Words without end, each but the first with a leading space; Knuth's 64-bit congruential generator."""
    state = (seed * 2 + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    space = ""
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        yield space + WORDS[state >> 58]
        space = " "


def text_tokens(script: Script) -> Iterator[str]:
    """The tokens of the text; a given text joins up to itself."""
    tokens = words(script.seed) if script.text is None else iter(_split(script.text))
    tokens = islice(tokens, script.tokens) if script.text is None else tokens
    if not script.unicode_separators:
        return tokens
    return (token + SEPARATORS[n % len(SEPARATORS)] for n, token in enumerate(tokens))


def reasoning_tokens(script: Script) -> Iterator[str]:
    """The tokens of the thinking before the answer."""
    return islice(words(script.seed + 1), script.reasoning_tokens)


def tool_deltas(script: Script) -> list[Json]:
    """The deltas of all tool calls: for each its name, then its arguments in fragments."""
    deltas = []
    for index, call in enumerate(_tool_calls(script)):
        function = {"name": call["function"]["name"], "arguments": ""}
        deltas.append({"index": index, "id": call["id"], "type": "function", "function": function})
        arguments = call["function"]["arguments"]
        for start in range(0, len(arguments), FRAGMENT_CHARS):
            delta: Json = {
                "index": index,
                "function": {"arguments": arguments[start : start + FRAGMENT_CHARS]},
            }
            deltas.append(delta | {"type": None} if script.null_types else delta)
    return deltas


def count_tokens(script: Script) -> int:
    """How many deltas the whole answer has, reasoning included."""
    if script.tool_calls:
        return script.reasoning_tokens + len(tool_deltas(script))
    content = script.tokens if script.text is None else len(_split(script.text))
    return script.reasoning_tokens + content


def completion_id(script: Script, facts: Facts) -> str:
    """`chatcmpl-sim-<16 hex digits>`: of seed, model and prompt."""
    seen = b"\0".join((str(script.seed).encode(), facts.model.encode(), facts.prompt))
    return f"chatcmpl-sim-{hashlib.blake2b(seen, digest_size=8).hexdigest()}"


def usage(script: Script, facts: Facts) -> Json:
    """The usage object: every delta counts as a token, and four bytes of the prompt do."""
    prompt, completion = max(1, len(facts.prompt) // 4), count_tokens(script)
    counts: Json = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if script.reasoning_tokens:
        counts["completion_tokens_details"] = {"reasoning_tokens": script.reasoning_tokens}
    return counts


def finish_reason(script: Script) -> str:
    return "tool_calls" if script.tool_calls else "stop"


def completion(script: Script, facts: Facts) -> Json:
    """The whole `chat.completion` object, for a request that is not streamed."""
    message: Json = {
        "role": "assistant",
        "content": None if script.tool_calls else "".join(text_tokens(script)),
    }
    if script.reasoning_tokens:
        message["reasoning_content"] = "".join(reasoning_tokens(script))
    if script.tool_calls:
        message["tool_calls"] = _tool_calls(script)
    whole: Json = {
        "id": completion_id(script, facts),
        "object": "chat.completion",
        "created": CREATED,
        "model": facts.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(script)}],
    }
    if script.usage != "never":
        whole["usage"] = usage(script, facts)
    return whole


def error(status: int) -> Json:
    """An error in OpenAI's shape for a status, of an in-stream error too (status 500)."""
    kind, code = _ERRORS.get(status, ("server_error", "server_error"))
    if 400 <= status < 500 and status not in _ERRORS:
        kind, code = "invalid_request_error", "invalid_request"
    message = f"The simulated provider failed with status {status}, as it was told."
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


_ERRORS = {
    401: ("authentication_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", "insufficient_permissions"),
    404: ("not_found_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


def _split(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)


def _tool_calls(script: Script) -> list[Json]:
    names = words(script.seed)
    calls: list[Json] = []
    for n in range(script.tool_calls):
        query = "".join(islice(names, 3)).strip()
        function = {"name": "lookup", "arguments": orjson.dumps({"query": query, "limit": n + 1}).decode()}
        calls.append({"id": f"call_sim_{script.seed}_{n}", "type": "function", "function": function})
    return calls
