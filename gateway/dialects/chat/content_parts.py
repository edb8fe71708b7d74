"""Pure: content that came as a list of parts instead of a string.

Where all parts are text or thoughts, as Mistral sends them, strict clients get strings. Where other parts stand among
them (an image, a reference), the list stays as it came: nothing of an answer is dropped.
"""

from typing import Any

MAX_PARTS = 10_000  # parts of one message; beyond it an upstream is broken, not verbose

_STRINGS = frozenset({"text", "thinking", "output_text"})


def flatten(body: dict[str, Any], content: Any) -> bool:
    """Put strings in the place of `content`, which is no string. Returns whether anything changed.

    Raises `ValueError` for more than `MAX_PARTS` parts.
    """
    parts = content if isinstance(content, list) else [content]
    if len(parts) > MAX_PARTS:
        raise ValueError(f"content of more than {MAX_PARTS} parts")
    if any(isinstance(part, dict) and not _is_text(part) for part in parts):
        return False
    body["content"] = _joined(parts, "text")
    if thoughts := _joined(parts, "thinking"):  # Mistral's way to send reasoning
        body["reasoning_content"] = thoughts
    return True


def text_of(content: Any) -> str:
    """The text among the parts of a content that is no string."""
    return _joined(content, "text") if isinstance(content, list) else ""


def _is_text(part: dict[str, Any]) -> bool:
    kind = part.get("type")
    return kind in _STRINGS if isinstance(kind, str) else not part or "text" in part or "thinking" in part


def _joined(parts: list[Any], kind: str) -> str:
    """The joined text of the parts that have the key `kind`; all other parts are left out.

    Under the key `thinking`, Mistral sends a list of text parts.
    """
    texts: list[Any] = []
    for part in parts:
        value = part.get(kind) if isinstance(part, dict) else part if kind == "text" else None
        texts += (
            [inner.get("text") for inner in value if isinstance(inner, dict)] if isinstance(value, list) else [value]
        )
    return "".join(str(text) for text in texts if isinstance(text, str | int | float))
