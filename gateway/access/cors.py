"""Pure: which browser origins may call, and the headers that say so (WHATWG Fetch, section 3.2).

A page sends its credentials in headers that it sets itself. There are no cookies, so `*` never stands beside them.
"""

from collections.abc import Mapping, Sequence

EXPOSED = (
    "x-request-id, x-stream-id, x-upstream, x-ttft-ms, x-attempts, retry-after, x-should-retry, "
    "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    "x-credits-balance-microdollars"
)
METHODS = "GET, POST, DELETE"
MAX_AGE_SECONDS = 86400
_MAX_NAMES_CHARACTERS = 2000  # a preflight's list of header names is repeated to it up to this length


class Cors:
    """The origins that one server allows: `scheme://host[:port]`, with `*` for any port, or `*` for any origin."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = "*" in origins
        self._exact = frozenset(origins)
        self._any_port = tuple(origin[:-1] for origin in origins if origin.endswith(":*"))

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may call."""
        if self._any or origin in self._exact:
            return True
        ports = [origin[len(start) :] for start in self._any_port if origin.startswith(start)]
        return any(port.isascii() and port.isdigit() for port in ports)

    def is_foreign(self, origin: str | None, host: str | None) -> bool:
        """Whether a request comes from a page of another site which may not call."""
        if origin is None or self.allows(origin):
            return False
        scheme, _, own = origin.partition("://")  # only a page of the web can be a page of the gateway itself
        return scheme not in ("http", "https") or own.lower() != (host or "").lower()

    def headers(self, origin: str | None) -> Mapping[str, str]:
        """The headers of an answer to a request from `origin`."""
        if not self._exact:
            return {}
        if origin is None or not self.allows(origin):
            return {"Vary": "Origin"}
        allowed = "*" if self._any else origin
        return {"Access-Control-Allow-Origin": allowed, "Access-Control-Expose-Headers": EXPOSED, "Vary": "Origin"}

    def preflight(self, asked_headers: str) -> Mapping[str, str]:
        """The headers of the answer to a preflight from an origin that is allowed, beside `headers`."""
        return {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": asked_headers[:_MAX_NAMES_CHARACTERS] or "Authorization, Content-Type",
            "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
        }
