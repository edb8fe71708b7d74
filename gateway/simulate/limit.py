"""Pure: the limit of an answer's length: what a request names as `max_tokens`, and a script that is cut down to it.

In: the body of a request, or a script and the facts of a request. Out: a number, or the script and the facts of a
shorter answer. Reasoning counts against the limit as text does; a call of a tool that does not fit is left out whole.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate, islice
from typing import Any

from gateway.simulate.script import Script
from gateway.simulate.steps import Facts
from gateway.simulate.words import argument_fragments, count_text_tokens, text_tokens, tool_inputs


def named_limit(body: Mapping[str, Any], *names: str) -> int | None:
    """The first of these members that is a whole number above 0; any other value counts as absent."""
    for name in names:
        value = body.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 and value % 1 == 0:
            return int(value)
    return None


def within_limit(script: Script, facts: Facts) -> tuple[Script, Facts]:
    """The script and the facts of an answer that is no longer than the request allows."""
    if facts.max_tokens is None:
        return script, facts
    reasoning = min(script.reasoning_tokens, facts.max_tokens)
    left = facts.max_tokens - reasoning
    shorter = _calls_within(script, left) if script.tool_calls else _text_within(script, left)
    shorter = replace(shorter, reasoning_tokens=reasoning)
    return shorter, replace(facts, is_cut=shorter != script)


def _text_within(script: Script, limit: int) -> Script:
    if count_text_tokens(script) <= limit:
        return script
    if script.text is None:
        return replace(script, tokens=limit)
    plain = replace(script, unicode_separators=False)
    return replace(script, text="".join(islice(text_tokens(plain), limit)))


def _calls_within(script: Script, limit: int) -> Script:
    """The script with as many calls as fit; one without any has an empty text."""
    lengths = accumulate(1 + len(argument_fragments(given)) for given in tool_inputs(script))
    calls = sum(length <= limit for length in lengths)
    return replace(script, tool_calls=calls) if calls else replace(script, tool_calls=0, text="")
