"""Pure: finds the words in the JSON of an upstream's error answer, in whichever shape its provider writes errors.

In: the JSON of an answer that is known to be an error. Out: its message, code, field and details. The invariant: what
is kept of an answer is bounded, whatever its size and its nesting.
"""

import re
from collections.abc import Mapping
from typing import Any

from gateway.dialects.dialect import UpstreamMessage
from gateway.wire import json_text

MAX_WORDS = 2048  # characters that are read of a message: it is cut shorter once no secret stands in it
MAX_DETAIL = 600  # characters that are read of a text among the details, for the same reason
MAX_DEPTH = 6  # levels of objects that are searched, and kept
MAX_ENTRIES = 20  # members of an object, or elements of a list, that are kept
MAX_VALUES = 64  # values of an error that are kept, together
MAX_DETAILS = 2048  # characters of all texts and names among the details of an error: each is searched for secrets
MAX_KEY = 64  # characters of a name that is kept

# Colours, titles and other orders to a terminal (ECMA-48, sections 5.4 and 8.3.89).
_TERMINAL_ORDER = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?")
_WRAPPERS = ("error", "errors", "Error", "detail", "Response", "response", "fault", "exception", "data", "body")
_WORDS = (
    *("message", "Message", "msg", "error_message", "errorMessage", "error_msg", "errorMsg", "errmsg", "err_msg"),
    *("error_description", "status_msg", "faultstring", "detail", "error", "description", "reason", "title"),
    *("code", "type", "status"),  # better than no words at all
)
_CODES = ("code", "Code", "error_code", "errorCode", "err_code", "status_code", "error_type", "__type")
_SPENT = frozenset({"message", "code", "param", "type"})  # members that the gateway's envelope has itself
# Members of an entry of FastAPI's list of faults, which is kept as a whole.
_FAULT = frozenset({"loc", "ctx", "input", "url", "msg"})


def read_refusal(body: Any) -> UpstreamMessage | None:
    """The message of an error answer, or None if no words are found in it."""
    found = _find(body, 0)
    if found is None:
        return None
    text, holder = found
    text = with_raw_words(text, holder)
    code = next((holder[key] for key in _CODES if _is_code(holder.get(key))), None)
    param = holder.get("param") or _field_of(body)
    kept = details_of(holder, text, body)
    return UpstreamMessage(text, code, param, kept, kind=_word(holder.get("type")) or _word(holder.get("status")))


def words_in_json(text: str) -> str:
    """The words in a text that is itself the JSON of an error; the text as it is if it is no such JSON."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        found = _find(json_text.loads(text.encode("utf-8", "replace")), 1)
    except ValueError:
        return text
    return text if found is None else found[0]


def with_raw_words(text: str, holder: Mapping[str, Any]) -> str:
    """The message with the words of the provider behind a router, which OpenRouter has under `metadata.raw`."""
    metadata = holder.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    words = words_in_json(raw[:MAX_WORDS]) if isinstance(raw, str) else ""
    return f"{text}: {_clean(words)}" if words and words not in text else text


def _find(value: Any, depth: int) -> tuple[str, Mapping[str, Any]] | None:
    """The words in a value, and the object that holds them."""
    if isinstance(value, str):
        return (text, {}) if (text := _clean(value)) else None
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, list):
        return _find_in_list(value, depth)
    if not isinstance(value, dict):
        return None
    for key in _WRAPPERS:
        if isinstance(inner := value.get(key), dict | list) and inner:
            found = _find(inner, depth + 1)
            if found is not None:
                return found[0], {**value, **found[1]} if isinstance(inner, list) else found[1] or value
    return _find_in_object(value, depth)


def _find_in_list(entries: list[Any], depth: int) -> tuple[str, Mapping[str, Any]] | None:
    """The words of all entries, joined, since FastAPI tells each fault by an entry; the first entry holds them."""
    faults = [fault for entry in entries[:MAX_ENTRIES] if (fault := _find(entry, depth + 1)) is not None]
    if not faults:
        return None
    return "; ".join(dict.fromkeys(text for text, _ in faults))[:MAX_WORDS], faults[0][1]


def _find_in_object(value: Mapping[str, Any], depth: int) -> tuple[str, Mapping[str, Any]] | None:
    for key in _WORDS:
        words = value.get(key)
        if isinstance(words, dict | list) and key not in _WRAPPERS and words:
            found = _find(words, depth + 1)
            if found is not None:
                return found[0], {**value, **found[1]}
        if isinstance(words, str) and (text := _clean(words_in_json(words) if depth < 2 else words)):
            where = _path(value.get("loc"))
            return (f"{where}: {text}" if where else text), value
    return None


def _field_of(body: Any) -> str | None:
    """The field that the first fault of FastAPI's list names."""
    faults = body.get("detail") if isinstance(body, dict) else None
    first = faults[0] if isinstance(faults, list) and faults else None
    return _path(first.get("loc")) or None if isinstance(first, dict) else None


def _path(loc: Any) -> str:
    if not isinstance(loc, list):
        return ""
    steps = [str(step) for step in loc[:MAX_ENTRIES] if isinstance(step, str | int)]
    return ".".join(steps[1:] if steps[:1] == ["body"] else steps)


def details_of(holder: Mapping[str, Any], text: str, body: Any = None) -> dict[str, Any]:
    """What the object of an error says beside its message `text`, under its own keys; `body`: all of the answer."""
    budget = _Budget()
    faults = body.get("detail") if isinstance(body, dict) else None
    is_list = isinstance(faults, list)
    details = {
        budget.name(key): _kept(value, budget, 1)
        for key, value in list(holder.items())[:MAX_ENTRIES]
        if key not in _SPENT and value not in (None, text) and not (is_list and key in _FAULT)
    }
    if is_list:
        details["detail"] = _kept(faults, budget, 1)
    return details


class _Budget:
    """What may still be kept of the details of one error."""

    __slots__ = ("characters", "values")

    def __init__(self) -> None:
        self.values = MAX_VALUES
        self.characters = MAX_DETAILS

    def text(self, text: str) -> str:
        """The beginning of a text that may still be kept, without what no client could read."""
        return self._take(text, MAX_DETAIL)

    def name(self, name: str) -> str:
        """The beginning of a name that may still be kept."""
        return self._take(name, MAX_KEY)

    def _take(self, text: str, most: int) -> str:
        kept = _clean(text, min(most, self.characters))
        self.characters -= len(kept)
        return kept


def _kept(value: Any, budget: _Budget, depth: int) -> Any:
    """The value within the limits; None in place of what is beyond them."""
    budget.values -= 1
    if budget.values < 0:
        return None
    if isinstance(value, dict):
        entries = list(value.items())[:MAX_ENTRIES] if depth < MAX_DEPTH else []
        return {budget.name(key): _kept(entry, budget, depth + 1) for key, entry in entries if budget.values > 0}
    if isinstance(value, list):
        return [_kept(entry, budget, depth + 1) for entry in value[:MAX_ENTRIES]] if depth < MAX_DEPTH else []
    return budget.text(value) if isinstance(value, str) else value


def _is_code(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _clean(text: str, most: int = MAX_WORDS) -> str:
    """The beginning of a text, without lone surrogates and what `readable` leaves out."""
    return readable(text[:most].strip().encode("utf-8", "replace").decode())


def readable(text: str) -> str:
    """The text without what no client could read: orders to a terminal, and control characters but line ends."""
    if text.isprintable():
        return text
    text = _TERMINAL_ORDER.sub("", text)
    return "".join(character if character.isprintable() or character in "\n\t" else " " for character in text)
