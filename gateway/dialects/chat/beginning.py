"""Pure: the beginning of an answer: its event with the role and its first event with text, known by their bytes.

In: these two events of an answer that was read in full. Out: a `Beginning`, which finds the same two events in the
first reads of a later answer of the same upstream and model, where only the id, the time and the text differ. To read
them in full takes 1,000 bytecodes in front of the first token; so it takes 150 (bench/README.md). The invariant: the
beginning is proven by a parse with probes in place of the id and the time, and the shape of the text was proven by
`learned_shape`. What does not match byte by byte is read in full.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from gateway.dialects.chat.repair import PLAIN_CHOICE, PLAIN_DELTA, Identity
from gateway.dialects.choices.envelope import PLAIN_EVENT
from gateway.dialects.choices.event_pattern import pattern_of
from gateway.dialects.learned_shape import Around

_TEXT_DELTA = PLAIN_DELTA | {"reasoning_content", "reasoning"}


class Beginning(NamedTuple):
    """The patterns of the event with the role and of the event with text; the model and choice that both name."""

    role: "re.Pattern[bytes]"
    text: "re.Pattern[bytes]"
    model: str
    choice: int  # its index
    spoken: int | tuple[int, str]  # the kind of the text, as `Identity.spoken` has it


def learn_beginning(role: bytes, around: Around) -> Beginning | None:
    """The beginning of which these are the event with the role and the bytes around the text of the next event.

    The first was read as plain text (`repair.plain_text`), and both are frames as they stand. None: there is a doubt.
    """
    head, tail = around
    role_pattern, text_pattern = pattern_of(role), pattern_of(head, tail)
    if role_pattern is None or text_pattern is None or not (role.isascii() and head.isascii() and tail.isascii()):
        return None
    first = orjson.loads(role[6:-2])
    model, choice = first["model"], first["choices"][0]["index"]
    spoken = _spoken(orjson.loads((head + b"." + tail)[6:-2]), choice)
    if not model or len(spoken) != 1:
        return None
    return Beginning(role_pattern, text_pattern, model, choice, *spoken)


def _spoken(payload: Mapping[str, Any], index: int) -> set[int | tuple[int, str]]:
    """What the choice with this index has brought after this event; nothing if the event may mean more than text."""
    (choice,) = payload["choices"]
    delta, seen = choice["delta"], Identity("", 0, "")
    plain = payload.keys() <= PLAIN_EVENT and choice.keys() <= PLAIN_CHOICE and delta.keys() <= _TEXT_DELTA
    if plain and choice["index"] == index:
        seen.note_spoken(index, delta)
    return seen.spoken
