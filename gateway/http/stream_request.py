"""Pure: the small request bodies of `/v1/streams`."""

import orjson

from gateway.errors import ClientError, InvalidParameter

DEFAULT_TTL_SECONDS = 3600
MAX_TTL_SECONDS = 30 * 86400  # a token is a bearer's right to read: it should not outlive a month


def token_ttl(content: bytes) -> int:
    """`ttl_seconds` of a token request; an empty body asks for the default. Raises `ClientError`."""
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
    ttl = body.get("ttl_seconds", DEFAULT_TTL_SECONDS)
    if not isinstance(ttl, int) or isinstance(ttl, bool) or not 1 <= ttl <= MAX_TTL_SECONDS:
        message = f"ttl_seconds must be a whole number from 1 to {MAX_TTL_SECONDS}"
        raise InvalidParameter(message, param="ttl_seconds")
    return ttl
