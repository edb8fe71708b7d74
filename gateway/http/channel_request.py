"""Pure: the parser of requests for several streams and feeds at once: of queries, and of bodies.

In: the pairs of a query, or the JSON of a body. Out: the names of the channels, `<stream id>` or `feed:<name>`, and
those of them that begin with the next event.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

import orjson

from gateway.errors import ClientError, InvalidParameter
from gateway.http.stream_request import DEFAULT_TTL_SECONDS, check_ttl
from gateway.merge.event_order import MAX_CHANNELS
from gateway.wire.json_members import Buffer

FEED = "feed:"  # begins the name of the channel of a feed


class ChannelRequest(NamedTuple):
    """The channels that a client asks for, each once, in the order in which they were named."""

    names: tuple[str, ...]
    now: frozenset[str]  # those that begin with the next event; the others begin with all there is

    def query(self) -> str:
        """The query that asks for these channels."""
        feeds = [("feed", name.removeprefix(FEED)) for name in self.names if name.startswith(FEED)]
        streams = [("stream", name) for name in self.names if not name.startswith(FEED)]
        later = [("from", f"{name}:now") for name in self.names if name in self.now]
        return urlencode([*streams, *feeds, *later], safe=":")


def audience_of(name: str) -> str:
    """What a viewer token says of a channel that its bearer may read."""
    return name if name.startswith(FEED) else f"stream:{name}"


def channels_in_query(pairs: Iterable[tuple[str, str]], default: Sequence[str] = ()) -> ChannelRequest:
    """The channels that a query asks for; `default`: the audience of a viewer token, if the query names none.

    Raises `InvalidParameter`.
    """
    pairs = list(pairs)
    streams = [_name(value, "stream") for key, value in pairs if key == "stream"]
    feeds = [FEED + _name(value, "feed") for key, value in pairs if key == "feed"]
    names = _names([*streams, *feeds] or [audience.removeprefix("stream:") for audience in default])
    return ChannelRequest(names, _later(names, [value for key, value in pairs if key == "from"]))


def channels_in_body(content: Buffer) -> ChannelRequest:
    """The channels of the body of `POST /v1/events`. Raises `ClientError`."""
    body = _object(content, {"streams", "feeds", "from"})
    names = _names_in(body)
    begin = body.get("from", "start")
    begins = [f"{name}:{value}" for name, value in begin.items()] if isinstance(begin, dict) else [begin]
    return ChannelRequest(names, _later(names, begins))


def token_in_body(content: Buffer) -> tuple[tuple[str, ...], int]:
    """The channels of a viewer token that is asked for, and how long it is to be good. Raises `ClientError`."""
    body = _object(content, {"streams", "feeds", "ttl_seconds"})
    return _names_in(body), check_ttl(body.get("ttl_seconds", DEFAULT_TTL_SECONDS))


def _object(content: Buffer, known: set[str]) -> dict[str, Any]:
    try:
        body = orjson.loads(content)
    except ValueError as error:
        raise ClientError(f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise ClientError("the body must be a JSON object")
    if unknown := sorted(set(body) - known):
        raise InvalidParameter(f"the fields are {', '.join(sorted(known))}", param=unknown[0])
    return body


def _names_in(body: dict[str, Any]) -> tuple[str, ...]:
    names: list[str] = []
    for field, prefix in (("streams", ""), ("feeds", FEED)):
        values = body.get(field, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise InvalidParameter(f"{field} must be a list of strings", param=field)
        names += [prefix + _name(value, field) for value in values]
    return _names(names)


def _name(value: str, param: str) -> str:
    if not value or any(character <= " " for character in value):
        raise InvalidParameter(f"{param} must be the id of a stream or the name of a feed", param=param)
    return value


def _names(names: Sequence[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(names))
    if not found:
        raise InvalidParameter("name at least one stream or feed", param="stream")
    if len(found) > MAX_CHANNELS:
        message = f"one subscription has at most {MAX_CHANNELS} streams and feeds, not {len(found)}"
        raise InvalidParameter(message, param="stream")
    return found


def _later(names: Sequence[str], begins: Iterable[object]) -> frozenset[str]:
    """The channels that begin with the next event: all of them (`now`), or each by its name (`<name>:now`)."""
    chosen: dict[str, str] = {}
    rest = "start"
    for begin in begins:
        name, _, word = begin.rpartition(":") if isinstance(begin, str) else ("", "", "")
        if word not in ("start", "now") or (name and name not in names):
            raise InvalidParameter("from must be start, now, or NAME:now with one of the channels", param="from")
        if name:
            chosen[name] = word
        else:
            rest = word
    return frozenset(name for name in names if chosen.get(name, rest) == "now")
