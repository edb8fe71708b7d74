"""Pure: what is odd about the dialects of an upstream: the mistakes that people make in the list.

In: the table of an upstream as it was read. Out: the key at fault, and a sentence for an operator. Of a provider only
that is said which it documents.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.config.base_urls import ANTHROPIC_FORMAT
from gateway.config.fields import Loc

_ANTHROPIC, _ANTHROPIC_KEY = "api.anthropic.com", "x-api-key"
# The dialects of hosts that surely speak no other. A host that is missing here may speak any.
_SPOKEN = {
    "api.openai.com": ("chat", "responses", "completions", "embeddings"),
    _ANTHROPIC: ("chat", "messages"),
}
_ALL = ("chat", "responses", "messages", "completions", "embeddings")


def warnings(upstream: Mapping[str, Any]) -> Iterator[tuple[Loc, str]]:
    """Every warning about the dialects of one upstream, with the path of its key in the upstream's table."""
    written = upstream.get("dialects")
    dialects = written if isinstance(written, list) else []
    host, path = _place_of(upstream.get("base_url"))
    for index, dialect in enumerate(dialects):
        if dialect not in _ALL:
            continue  # it is a fault, which is told
        if dialect in dialects[:index]:
            yield ("dialects", index), f'names "{dialect}" a second time: take it out'
        elif dialect not in _SPOKEN.get(host, _ALL):
            yield (
                ("dialects", index),
                f'{host} does not speak "{dialect}", so every such request fails there: take it out',
            )
    if ANTHROPIC_FORMAT.search(path) and "messages" not in dialects:
        yield ("base_url",), 'looks like an API in Anthropic\'s format: write dialects = ["messages"]'
    limited = [dialect for dialect in ("messages", "completions") if dialect in dialects]
    if limited and isinstance(renamed := upstream.get("rename"), dict) and "max_tokens" in renamed:
        only = f"is renamed in {' and '.join(limited)}, too, where it has no other name"
        yield ("rename", "max_tokens"), f"{only}: make two upstreams of this provider"
    if "messages" in dialects and host == _ANTHROPIC and _sends_another_key(upstream):
        key = f'auth_header = "{_ANTHROPIC_KEY}"'
        yield (
            ("auth_header",),
            f"{host} takes the key of messages in {_ANTHROPIC_KEY}, and answers 401 else: write {key}",
        )


def _place_of(base_url: object) -> tuple[str, str]:
    """The host and the path of a base URL; empty for one that has a fault, which is told."""
    try:
        parts = urlsplit(base_url if isinstance(base_url, str) else "")
        return parts.hostname or "", parts.path
    except ValueError:
        return "", ""


def _sends_another_key(upstream: Mapping[str, Any]) -> bool:
    """Whether the upstream is sent a key, and not in the header field that Anthropic reads."""
    header = upstream.get("auth_header", "Authorization")
    tables = (upstream.get(name) for name in ("header_env", "header_file"))
    names = [name.lower() for table in tables if isinstance(table, dict) for name in table]
    has_key = upstream.get("api_key_env") is not None or upstream.get("api_key_file") is not None
    return has_key and isinstance(header, str) and _ANTHROPIC_KEY not in (header.lower(), *names)
