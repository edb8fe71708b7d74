"""Pure: the beginning of an answer: its first event, which has a text, known by its bytes.

In: this event of an answer that was read in full. Out: a `TextBeginning`, which finds the same event in the first
read of a later answer of the same upstream and model, where only the id, the time and the text differ. The invariant:
the beginning is proven by a parse with probes in place of the id and the time, and the place of the text was proven
by `learned_shape`. What does not match byte by byte is read in full.
"""

import re
from typing import NamedTuple

import orjson

from gateway.dialects.choices.envelope import PLAIN_EVENT
from gateway.dialects.choices.event_pattern import pattern_of
from gateway.dialects.completions.repair import PLAIN_CHOICE
from gateway.dialects.learned_shape import Around


class TextBeginning(NamedTuple):
    """The pattern of the first event, and the model and the choice that it names."""

    pattern: "re.Pattern[bytes]"
    model: str
    choice: int  # its index


def learn_beginning(around: Around) -> TextBeginning | None:
    """The beginning with these bytes around the text of its event, which was read as plain text.

    None: there is a doubt.
    """
    head, tail = around
    pattern = pattern_of(head, tail)
    if pattern is None or not (head.isascii() and tail.isascii()):
        return None
    event = orjson.loads((head + b"." + tail)[6:])
    (choice,) = event["choices"]
    if not (event.keys() <= PLAIN_EVENT and choice.keys() <= PLAIN_CHOICE and event["model"]):
        return None
    return TextBeginning(pattern, event["model"], choice["index"])
