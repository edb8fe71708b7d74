"""Pure: what the configurations of upstreams and of feeds have in common: header fields, a credential, a proxy.

In: a section of the configuration. Out: the fields of its requests, and the proxy that takes them.
"""

from collections.abc import Iterator, Mapping

from gateway.config import NO_PROXY, FeedSettings, UpstreamSettings
from gateway.upstream.dial import Origin, proxy_for


def configured_fields(settings: UpstreamSettings | FeedSettings) -> Iterator[tuple[str, str]]:
    """The header fields that every request carries, the secret ones and the credential among them."""
    yield from settings.headers.items()
    for name, value in settings.secret_headers.items():
        yield name, value.get_secret_value()
    if settings.api_key is not None:
        name, key = settings.auth_header, settings.api_key.get_secret_value()
        scheme = settings.auth_scheme
        if scheme is None:
            scheme = "Bearer" if name.lower() == "authorization" else ""
        yield name, f"{scheme} {key}".lstrip()


def proxy_of(settings: UpstreamSettings | FeedSettings, origin: Origin, proxies: Mapping[str, str]) -> str | None:
    """The URL of the proxy to this origin; None for a straight way. `proxies`: the environment's, by scheme."""
    if settings.proxy is None:
        return proxy_for(origin, proxies)
    proxy = settings.proxy.get_secret_value()
    return None if proxy == NO_PROXY else proxy
