"""Pure: the content type of an answer as messages and logs may call it: by a word of a closed set."""

from collections.abc import Mapping

_KNOWN = frozenset(
    {"application/json", "text/html", "text/plain", "application/xml", "text/xml", "text/event-stream"}
)
UNKNOWN = "something else"


def told_type(headers: Mapping[str, str]) -> str:
    """The content type in these header fields, if it is a known one; "nothing" if there is none."""
    named = headers.get("content-type", "nothing").split(";")[0].strip().lower()
    return named if named in _KNOWN or named == "nothing" else UNKNOWN
