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

# Names of header fields that proxies, content networks and tunnels add: RFC 7239, RFC 8470 section 5.1, RFC 9110
# section 7.6.3, RFC 9440, and the families that products document. A client of its own accord sends none of them.
_PROXY_MARK = re.compile(
    r"""
    # What was forwarded, and for whom: any name with one of these words.
    (?:.*-)?(?:via | forward(?:ed|er|s)? | ip(?:v?[46])? | imforwards)(?:-.*)?
    | .*(?:client|origin|real|remote|socket|source|true|user)-?(?:ip(?:v[46])?|addr|address)
    | (?:wl-|x-)?proxy(?:-.*)? | x-proxyuser-.* | x-(?:original|rewrite|replaced)-.* | x-real-.*
    | x-(?:(?:url-)?scheme|proto(?:col)?|host|port|ur[il]|server-name|backend-host)
    | x-http-(?:host-override|destinationurl) | x-(?:client|remote)-port | front-end-https
    | x-(?:https|ssl|esi|cdn|pull|iinfo) | early-data | surrogate-capability | x-(?:request|queue)-start
    | disguised-host | was-default-hostname
    # Who the client is, by a proxy that has asked for its certificate or its name.
    | (?:x-)?(?:ssl|tls|client)-(?:client-.* | cert(?:-.*)? | verify | s?dn)
    | (?:x-)?remote-(?:user|name|email|groups?)
    | (?:x-)?(?:auth-request|webauth|authentik|authelia|pomerium|vouch|oidc-claim|sm-user|teleport-jwt)(?:-.*)?
    | x-consumer-(?:id|username|custom-id|groups) | x-credential-identifier | x-anonymous-consumer
    | x-goog-(?:iap|authenticated-user)-.* | x-amzn-(?:oidc|apigateway|mtls|tls|vpce)-.*
    | x-ms-(?:client-principal|token-aad).*
    # Products: content networks, hosts of applications, meshes, tunnels.
    | (?:x-)?(?:akamai|ali-cdn|ali-swift|cdn|cf|cloudfront|eagleeye|fastly|fly|geo|geoip|heroku|incap|ngrok|railway
        |replit|rndr|sucuri|tailscale|vercel)-.*
    | x-(?:envoy|nf|azure|appengine|arr|varnish|amz-cf|haproxy|nginx|squid|bluecoat|zscaler|traefik|kong|istio
        |linkerd|apisix|tyk|apigee|gfe|gclb|edge|koyeb|waws|frp|pinggy|zrok|tunnel)(?:-.*)?
    | l5d-.*
    """,
    re.VERBOSE,
)
_SAME_ORIGIN = ("same-origin", "none")  # `Sec-Fetch-Site` of what no page of another origin has asked for
_HOST = re.compile(
    r"(?:\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]|([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?))(?::[0-9]{0,5})?"
)


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
    if any(map(is_proxy_mark, headers)):
        name = next(filter(is_proxy_mark, headers))
        return OpenModeFault(name, f"this request came through a proxy ({name[:100]})", proxy=True)
    host = headers.get("Host", "")
    if not is_allowed(host, tuple(allowed_hosts)):
        return OpenModeFault("Host", f"the host {host[:100]!r} is neither localhost nor in server.allowed_hosts")
    if is_page:
        return None
    origin = headers.get("Origin")
    if origin is not None:
        if cors.is_foreign(origin, host) or _is_repeated(headers, "origin"):
            return OpenModeFault("Origin", f"the origin {origin[:100]!r} is not in server.cors_origins")
        if cors.allows(origin):
            return None
    site = headers.get("Sec-Fetch-Site")
    if site is not None and (site not in _SAME_ORIGIN or _is_repeated(headers, "sec-fetch-site")):
        return OpenModeFault("Sec-Fetch-Site", "a page of another origin asks")
    return None


def _is_repeated(headers: Mapping[str, str], name: str) -> bool:
    """Whether a field stands more than once in the headers, so that `get` shows only the first one."""
    return sum(sent.lower() == name for sent, _ in headers.items()) > 1


@lru_cache(maxsize=256)  # clients send the names that they sent before: 0.1 us a name, without the cache 0.5 us
def is_proxy_mark(name: str) -> bool:
    """Whether a header field of this name, in any case, says that a proxy has forwarded the request."""
    return _PROXY_MARK.fullmatch(name.lower().replace("_", "-")) is not None


@lru_cache(maxsize=256)
def is_allowed(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether a `Host` names this machine, or one of the names that are allowed (`*.example.com`: any below it)."""
    if (matched := _HOST.fullmatch(host)) is None:
        return False
    name = (matched[1] or matched[2]).lower().removesuffix(".")
    address = _address(name)
    if name == "localhost" or name.endswith(".localhost") or (address is not None and address.is_loopback):
        return True  # RFC 6761 section 6.3: every name below localhost is this machine
    for entry in allowed:
        known = entry.lower().strip("[]")
        if name == known or (known.startswith("*.") and name.endswith(known[1:])):
            return True
        if address is not None and address == _address(known):
            return True
    return False


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that is written here; one of IPv4 that is mapped into IPv6 as what it is."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
