"""Pure: the parser of the small request bodies of `/v1/streams`."""

import orjson

from gateway.errors import ClientError, InvalidParameter
from gateway.wire.json_members import Buffer

DEFAULT_TTL_SECONDS = 3600
MAX_TTL_SECONDS = 30 * 86400  # whoever has a viewer token can read the stream, so it should not outlive a month


def token_ttl(content: Buffer) -> int:
    """The `ttl_seconds` of a request for a viewer token; an empty body means the default. Raises `ClientError`."""
    if not content.strip():
        return DEFAULT_TTL_SECONDS
    try:
        body = orjson.loads(content)
    except ValueError as error:
        raise ClientError(f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise ClientError("the body must be a JSON object")
    if unknown := set(body) - {"ttl_seconds"}:
        raise InvalidParameter("the only field is ttl_seconds", param=sorted(unknown)[0])
    return check_ttl(body.get("ttl_seconds", DEFAULT_TTL_SECONDS))


def check_ttl(ttl: object) -> int:
    """The `ttl_seconds` of a body, checked. Raises `InvalidParameter`."""
    if not isinstance(ttl, int) or isinstance(ttl, bool) or not 1 <= ttl <= MAX_TTL_SECONDS:
        message = f"ttl_seconds must be a whole number from 1 to {MAX_TTL_SECONDS}"
        raise InvalidParameter(message, param="ttl_seconds")
    return ttl
