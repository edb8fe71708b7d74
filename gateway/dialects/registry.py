"""Wiring: the dialects that this gateway speaks. A new dialect is a package beside `chat/` and a line here."""

from collections.abc import Container

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.completions.dialect import COMPLETIONS
from gateway.dialects.count_tokens.dialect import COUNT_TOKENS
from gateway.dialects.dialect import Dialect
from gateway.dialects.embeddings.dialect import EMBEDDINGS
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.responses.dialect import RESPONSES

# The first is used where a request names none.
DIALECTS: tuple[Dialect, ...] = (CHAT, RESPONSES, MESSAGES, COUNT_TOKENS, COMPLETIONS, EMBEDDINGS)


def forwarded_to(speaks: tuple[str, ...]) -> dict[str, str | None]:
    """The client's header fields that go to an upstream with these `dialects`, as `Dialect.forwarded` has them."""
    found: dict[str, str | None] = {}
    for dialect in DIALECTS:
        if dialect.speaks in speaks:
            found.update(dialect.forwarded)
    return found


def dialect_at(path: str, headers: Container[str]) -> Dialect | None:
    """The dialect in which a request at this path expects its answer; None: at this path there is none of its own.

    At a path of no dialect, a client that sends a header field which a dialect forwards speaks this dialect.
    `headers`: names in any case.
    """
    for dialect in DIALECTS:
        if path.startswith(dialect.path) and path[len(dialect.path) :][:1] in ("", "/"):
            return dialect
    return next((dialect for dialect in DIALECTS if any(name in headers for name in dialect.forwarded)), None)
