"""Shell: what a viewer may read, by its token, and the beginning of event streams: their position and first bytes."""

import random
from collections.abc import Mapping

from gateway import clock
from gateway.access.viewer_token import PREFIX, Viewer, read_token
from gateway.errors import InvalidParameter
from gateway.http.in_force import InForce
from gateway.stream.log import StreamLog
from gateway.wire import http1

_OURS = f"{PREFIX}_"
_JSON = "eyJ"  # `{"` in base64url, as the header of each JSON Web Token begins


def token_text(query: Mapping[str, str], headers: Mapping[str, str], in_force: InForce) -> str | None:
    """The token in a query, or in `Authorization` as no API key looks; None if there is none."""
    if (text := query.get("token")) is not None:
        return text
    if (field := headers.get("Authorization")) is None:
        return None
    scheme, _, text = field.partition(" ")
    text = text.strip()
    is_token = text.startswith(_OURS) or (in_force.application_tokens is not None and text.startswith(_JSON))
    return text if is_token and scheme.lower() == "bearer" else None


def viewer(text: str, in_force: InForce) -> Viewer:
    """The bearer of a token, the gateway's own or the application's: what it may read, and until when.

    Raises `AuthenticationFailed`, `PermissionDenied`.
    """
    tokens, now = in_force.application_tokens, clock.wall_time()
    if tokens is None or text.startswith(_OURS):
        return read_token(text, in_force.signing_keys, now)
    return tokens.read(text, now)


def key_is_known(text: str, in_force: InForce) -> bool:
    """Whether the key of a token is known; if not, the issuer may know it."""
    tokens = in_force.application_tokens
    return tokens is None or text.startswith(_OURS) or tokens.knows_key(text)


async def learn_key(text: str, in_force: InForce) -> None:
    """Ask the issuer for the key of a token, if it is not known."""
    if not key_is_known(text, in_force) and (tokens := in_force.application_tokens) is not None:
        await tokens.look_for_keys()


def position_of(headers: Mapping[str, str], query: Mapping[str, str]) -> tuple[str | None, bool]:
    """The id of the last event that the client has seen, and whether it wants only events from now on."""
    wanted = query.get("from", "start")
    if wanted not in ("start", "now"):
        raise InvalidParameter("from must be start or now", param="from")
    return last_event_id_of(headers, query), wanted == "now"


def last_event_id_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """The id of the last event that the client has seen."""
    return headers.get("Last-Event-ID") or (_id_in(query) if query else None)


def _id_in(query: Mapping[str, str]) -> str | None:
    """The id of the last event in a query, by whichever name a client gives it.

    The last one counts: a client that comes again adds its own behind the parameters that its page has given.
    """
    last = None
    for name, value in query.items():
        if value and name.lower().replace("_", "").replace("-", "") == "lasteventid":
            last = value
    return last


def prelude(log: StreamLog, *, reset: bool, chunked: bool) -> bytes:
    """The first bytes of an event stream: a comment, so that no proxy holds the head back, and a `retry`.

    Neither has a blank line behind it: they belong to the block of the first event, since many clients take a block
    without data for an empty event. `reset`: the client's position is not of this log, so that it has to begin anew.
    """
    frames = b": connected\nretry: %d\n" % jittered_retry_ms()
    if reset:
        frames += log.control("reset", {"epoch": log.epoch})
    return http1.encode_chunk(frames) if chunked else frames


def jittered_retry_ms() -> int:
    """A random wait from 1 to 3 seconds, so that not all subscribers come back at once when a server restarts."""
    return 1000 + int(random.random() * 2000)
