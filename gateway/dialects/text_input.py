"""Pure: the member of a request that holds its texts: the prompts of completions, the input of embeddings.

In: the body of a request and the name of the member, whose value is a text, a list of texts, a list of tokens, or a
list of such lists. Out: how many texts there are, and the tokens of all that goes upstream, estimated before any
provider has counted them. The invariant: every byte that goes upstream counts, but for the values of the usual
parameters; a text counts by its bytes, four a token, and a token in a list as one.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from gateway.dialects.relayed_request import NOT_SENT
from gateway.dialects.request_body import BodyReading, RequestBody
from gateway.dialects.usage import text_tokens
from gateway.errors import InvalidParameter
from gateway.wire import json_text
from gateway.wire.json_members import Buffer

_SHORT_BYTES = 66  # a value of a usual parameter that is longer is counted
_BYTES_OF_TOKEN = 2  # a digit and a comma: the shortest token in a list
_STEP_BYTES = 262144  # of a long list of tokens that are counted in one step: 0.5 ms
_IN_THE_LIST = b"{["  # the brackets around a text of the list


class TextInput(NamedTuple):
    """What a member holds: the number of its texts, and the tokens of all that goes upstream."""

    texts: int
    tokens: int


class InputCount:
    """Watches the reading of one long body (`StringObserver` of wire/json_outline.py).

    `listed`: the strings that are elements of the member; `strings`: all strings in it. `tokens` and `lists` are
    counted by `InputReading`, and only where the member holds no strings.
    """

    __slots__ = ("_name", "listed", "lists", "strings", "tokens")

    def __init__(self, name: str) -> None:
        self._name = name
        self.listed = self.strings = self.tokens = self.lists = 0

    def on_string(self, data: Buffer, start: int, end: int, member: str, brackets: bytes | bytearray) -> None:
        """Count a string of the body."""
        if member == self._name:
            self.strings += 1
            self.listed += brackets == _IN_THE_LIST


class InputReading(BodyReading):
    """The reading of one long body, behind which the tokens in its lists are counted, in short steps, too."""

    def __init__(self, content: Buffer, name: str) -> None:
        self._count = InputCount(name)
        super().__init__(content, (), self._count)
        self._bytes, self._name = content, name
        self._ranges: list[tuple[int, int]] | None = (
            None  # what is left to be counted; None: the body is not read yet
        )

    def step(self) -> bool:
        """Read or count on for some milliseconds; returns whether all is done. Raises `ClientError`."""
        if self._ranges is None:
            if not super().step():
                return False
            members = () if self._count.strings else self.body().members()
            self._ranges = [(each.start, each.end) for each in members if each.name == self._name]
        if self._ranges:
            start, end = self._ranges.pop()
            stop = min(start + _STEP_BYTES, end)
            self._count.tokens += self._bytes.count(b",", start, stop)
            self._count.lists += self._bytes.count(b"[", start, stop)
            if stop < end:
                self._ranges.append((stop, end))
        return not self._ranges


def check_input(document: dict[str, Any], name: str) -> None:
    """Refuse a body whose member is missing, empty or no texts; what a list holds is the upstream's to judge.

    Raises `InvalidParameter`.
    """
    value = document.get(name)
    if value is None:
        where = " (a body with `messages` is for another path)" if "messages" in document else ""
        raise InvalidParameter(f"{name}: is required{where}", param=name)
    if not isinstance(value, str | list | dict):
        raise InvalidParameter(f"{name}: Input should be a text or a list", param=name)
    if value == []:
        raise InvalidParameter(f"{name}: List should have at least 1 item after validation, not 0", param=name)


def count_input(source: RequestBody, name: str, parameters: Collection[str]) -> TextInput:
    """What the member of this name holds, and what stands beside it but the values of these usual parameters."""
    if source.outline is not None:
        return _count_long(source, name)
    texts = tokens = counted = 0
    members = source.members()
    is_alone = sum(member.name == name for member in members) == 1
    for member in members:
        size = member.end - member.at
        if member.name == name:
            text = source.content[member.start : member.end]
            value = source.document[name] if is_alone else json_text.loads_numbers(text)
            found = _count_value(value, member.end - member.start)
            texts, tokens = max(texts, found.texts), tokens + found.tokens
        elif member.name not in NOT_SENT and not (
            member.name in parameters and size <= len(member.name) + _SHORT_BYTES
        ):
            counted += size
    return TextInput(max(texts, 1), tokens + text_tokens(counted))


def _count_value(value: Any, size: int) -> TextInput:
    """What a value of this size holds."""
    if isinstance(value, str):
        return TextInput(1, text_tokens(len(value.encode("utf-8", "surrogatepass"))))
    if not isinstance(value, list):
        return TextInput(1, text_tokens(size))
    if set(map(type, value)) == {int}:
        return TextInput(1, len(value))
    texts = tokens = counted = 0
    for element in value:
        if isinstance(element, str):
            counted += len(element.encode("utf-8", "surrogatepass"))
        elif isinstance(element, list) and set(map(type, element)) == {int}:
            tokens += len(element)
        elif type(element) is int:
            tokens, texts = tokens + 1, texts - 1
        else:
            return TextInput(len(value), text_tokens(size))
        texts += 1
    return TextInput(max(texts, 1), tokens + text_tokens(counted))


def _count_long(source: RequestBody, name: str) -> TextInput:
    count = source.observer if isinstance(source.observer, InputCount) else InputCount(name)
    size = sum(member.end - member.at for member in source.members() if member.name not in NOT_SENT)
    if count.strings:
        return TextInput(max(count.listed, 1), text_tokens(size))
    tokens = count.tokens + 1
    lists = sum(member.end - member.start for member in source.members() if member.name == name)
    beside = text_tokens(max(size - lists, 0))
    # Each list but the outermost one is a text of its own.
    return TextInput(max(count.lists - 1, 1), min(tokens, lists // _BYTES_OF_TOKEN + 1) + beside)
