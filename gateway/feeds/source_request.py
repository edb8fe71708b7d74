"""Pure: the requests to an SSE source: where it is asked, with which fields, and where a redirect leads.

In: the URL and the fields of a configuration, the source's last id, the `Location` of an answer. Out: addresses, and
the bytes of requests. The invariant: the fields of the configuration, which hold its secrets, go to no origin but the
one that it names.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, urljoin, urlsplit

from gateway.config.base_urls import is_public
from gateway.config.values import is_host
from gateway.errors import UpstreamError
from gateway.feeds.source_events import LAST_EVENT_ID
from gateway.upstream.dial import Dialer, Origin
from gateway.wire import http1

MAX_HOPS = 5  # redirects of one request
_UNQUOTED = "!#$%&'()*+,/:;=?@[]~"  # characters that stay as they are in a path or a query


@dataclass(frozen=True, slots=True)
class Address:
    """Where a source is asked: an origin, and the path with its query."""

    origin: Origin
    path: str

    @classmethod
    def parse(cls, url: str) -> "Address":
        """The address of an http(s) URL. Raises `ValueError`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not is_host(parts.hostname or ""):
            raise ValueError("no http(s) URL with a host")
        path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_UNQUOTED)
        tls = parts.scheme == "https"
        return cls(Origin(parts.hostname or "", parts.port or (443 if tls else 80), tls, ""), path)

    @property
    def url(self) -> str:
        """The URL of the address."""
        return f"{'https' if self.origin.tls else 'http'}://{self.origin.authority}{self.path}"


@dataclass(frozen=True, slots=True)
class SourceRequests:
    """Makes the requests to one source. `dial_to` gives the way to an origin."""

    home: Address
    dial_to: Callable[[Origin], Dialer]
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def encode(self, address: Address, last_id: bytes) -> bytes:
        """The request for the events behind this id; empty: for those that come now."""
        dialer = self.dial_to(address.origin)
        fields = {
            "Host": address.origin.authority,
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "Cache-Control": "no-cache",
        }
        own = self.fields if address.origin == self.home.origin else ()
        last = [(LAST_EVENT_ID, last_id.decode("latin-1"))] if last_id else []
        named = _by_name([*fields.items(), *dialer.hop_fields(), *own, *last])
        return http1.encode_request("GET", dialer.target(address.path), named)

    def redirected(self, here: Address, status: int, location: str, hops: int) -> Address:
        """The address to which an answer from `here` leads; `hops`: how many redirects were followed before.

        Raises `UpstreamError` for one that is not followed: it is one too many, gives up TLS, or leads from a public
        host into a private network.
        """
        try:
            there = Address.parse(urljoin(here.url, location.strip()))
        except ValueError:
            raise UpstreamError(f"HTTP {status} with a Location that is no URL") from None
        if hops >= MAX_HOPS:
            raise UpstreamError(f"HTTP {status}: more than {MAX_HOPS} redirects")
        if here.origin.tls and not there.origin.tls:
            raise UpstreamError(f"HTTP {status}: it redirects to an address without TLS")
        if is_public(self.home.origin.host) and not is_public(there.origin.host):
            raise UpstreamError(f"HTTP {status}: it redirects into a private network")
        return there


def _by_name(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields, of which the last one of a name counts."""
    return list({name.lower(): (name, value) for name, value in fields}.values())
