"""Pure: the rule of open mode: without any API key only this machine is served.

In: the headers of a request, and what the configuration allows. Out: why the request is refused, or None.

A listener on a loopback address does not see to that alone. A page of any site can make a browser on this machine
call it; under a name that resolves to a loopback address (DNS rebinding) it could read the answers, too. A reverse
proxy on this machine brings in the world. So the host that the client asked for, the page that asks, and the marks
that proxies leave are all looked at.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from gateway.access.cors import Cors

# Headers of proxies, in lower case: RFC 7239, RFC 9110 section 7.6.3, and what proxies and content networks add.
PROXY_HEADERS = frozenset(
    {
        *("forwarded", "via", "x-forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
        *("x-forwarded-server", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-by", "x-forwarded-scheme"),
        *("x-forwarded-ssl", "x-forwarded-path", "x-forwarded-uri", "x-original-forwarded-for", "x-original-host"),
        *("x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "x-host", "x-proxyuser-ip"),
        *("cf-connecting-ip", "cf-connecting-ipv6", "cf-ray", "cdn-loop", "fastly-client-ip", "fly-client-ip"),
        *("x-envoy-external-address", "x-azure-clientip", "x-appengine-user-ip", "tailscale-user-login"),
    }
)
_FROM_ELSEWHERE = ("cross-site", "same-site")  # `Sec-Fetch-Site` of a request from a page of another origin
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::[0-9]{1,5})?")


class OpenModeFault(NamedTuple):
    """Why a request is refused: the header that says so, and the reason. `proxy`: a proxy has forwarded it."""

    header: str
    reason: str
    proxy: bool = False


def fault_of(
    headers: Mapping[str, str], allowed_hosts: Sequence[str], cors: Cors, *, is_page: bool = False
) -> OpenModeFault | None:
    """Why a request with these headers is refused in open mode; None: it is served.

    `is_page`: it asks for a page of the gateway itself, to which a link of another site may lead.
    """
    if not PROXY_HEADERS.isdisjoint(map(str.lower, headers)):
        name = next(name for name in headers if name.lower() in PROXY_HEADERS)
        return OpenModeFault(name, f"this request came through a proxy ({name})", proxy=True)
    host = headers.get("Host", "")
    if not is_allowed(host, tuple(allowed_hosts)):
        return OpenModeFault("Host", f"the host {host[:100]!r} is neither localhost nor in server.allowed_hosts")
    if is_page:
        return None
    origin = headers.get("Origin")
    if origin is not None:
        if cors.is_foreign(origin, host):
            return OpenModeFault("Origin", f"the origin {origin[:100]!r} is not in server.cors_origins")
    elif headers.get("Sec-Fetch-Site") in _FROM_ELSEWHERE:
        return OpenModeFault("Sec-Fetch-Site", "a page of another origin asks")
    return None


@lru_cache(maxsize=256)
def is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether a `Host` names this machine, or one of the names that are allowed (`*.example.com`: any below it)."""
    if (matched := _HOST.fullmatch(host)) is None:
        return False
    name = matched[1].lower().removesuffix(".").strip("[]")
    if name == "localhost" or name.endswith(".localhost") or _is_loopback(name):  # RFC 6761 section 6.3
        return True
    for entry in allowed:
        known = entry.lower().strip("[]")
        if name == known or (known.startswith("*.") and name.endswith(known[1:])):
            return True
    return False


def _is_loopback(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
