"""Pure: the words and tokens that the simulated model says, in no dialect yet.

In: a script. Out: tokens, without end or as many as the script asks for. One seed always gives the same words.
"""

import hashlib
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from gateway.simulate.script import Script
from gateway.simulate.steps import Facts

FRAGMENT_CHARS = 8  # characters of a tool's arguments in one delta
SEPARATORS = ("\u2028", "\u2029", "\u0085")
WORDS = re.findall(
    r"\w+",
    "river water bridge stone gate light wind boat bank reed current morning lantern path field cloud "
    "slow clear deep narrow quiet early bright distant small steady open warm grey long first new "
    "runs turns carries meets follows crosses rises falls leaves reaches bends rests opens keeps finds shows "
    "the a over under past through toward between along beyond until while because and then still",
)


def words(seed: int) -> Iterator[str]:
    """Words without end, each but the first with a leading space; Knuth's 64-bit congruential generator."""
    state = (seed * 2 + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    space = ""
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        yield space + WORDS[state >> 58]
        space = " "


def text_tokens(script: Script) -> Iterator[str]:
    """The tokens of the text; the tokens of a given text, joined, are that text."""
    tokens = words(script.seed) if script.text is None else iter(_split(script.text))
    tokens = islice(tokens, script.tokens) if script.text is None else tokens
    if not script.unicode_separators:
        return tokens
    return (token + SEPARATORS[n % len(SEPARATORS)] for n, token in enumerate(tokens))


def reasoning_tokens(script: Script) -> Iterator[str]:
    """The tokens of the reasoning before the answer."""
    return islice(words(script.seed + 1), script.reasoning_tokens)


def count_text_tokens(script: Script) -> int:
    """How many tokens the text has."""
    return script.tokens if script.text is None else len(_split(script.text))


def tool_inputs(script: Script) -> list[dict[str, Any]]:
    """The arguments of each call of a tool that the script asks for."""
    names = words(script.seed)
    return [{"query": "".join(islice(names, 3)).strip(), "limit": n + 1} for n in range(script.tool_calls)]


def argument_fragments(given: dict[str, Any]) -> list[str]:
    """The arguments of one call in pieces of JSON."""
    text = orjson.dumps(given).decode()
    return [text[start : start + FRAGMENT_CHARS] for start in range(0, len(text), FRAGMENT_CHARS)]


def answer_digest(script: Script, facts: Facts) -> str:
    """The name of an answer, in 16 hexadecimal digits: a digest of seed, model, prompt and salt."""
    seen = b"\0".join((str(script.seed).encode(), facts.model.encode(), facts.prompt, facts.salt))
    return hashlib.blake2b(seen, digest_size=8).hexdigest()


def _split(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)
