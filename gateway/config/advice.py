"""Pure: what is odd about a configuration that can be used: the mistakes that people make.

In: the raw tree of a configuration, so that warnings are told beside faults. Out: faults that are warnings.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from gateway.config.faults import Fault, Gravity, tables_at
from gateway.config.fields import Loc

LOWEST_PRICE_PER_MTOK = 0.001  # US dollars; a price below it was probably meant for one token, or for a thousand
# A path with a version in it (/v1, /v1beta/openai, /openai/v1), or one of Azure's deployments, which have none.
_VERSIONED = re.compile(r"/(v\d+[a-z0-9]*|deployments)(/|$)")
_REPEATED_VERSION = re.compile(r"(/v\d+)\1(/|$)")
_PATTERN = re.compile(r"\.\*|[?\[\]{}()|^$\\%,]")  # signs of regular expressions, globs and lists
_LOCAL_NAMES = ("localhost", ".localhost", ".local", ".internal", ".lan", ".home.arpa")


def warnings(tree: Mapping[str, Any]) -> Iterator[Fault]:
    """Every warning about the upstreams of a configuration."""
    for loc, upstream in tables_at(tree, "upstreams"):
        if isinstance(url := upstream.get("base_url"), str):
            yield from _of_base_url((*loc, "base_url"), url, has_key=_has_key(upstream))
        for model_loc, model in tables_at(upstream, "models"):
            yield from _of_model((*loc, *model_loc), model)


def _has_key(upstream: Mapping[str, Any]) -> bool:
    return any(upstream.get(key) for key in ("api_key_env", "api_key_file", "header_env", "header_file"))


def _of_base_url(loc: Loc, url: str, *, has_key: bool) -> Iterator[Fault]:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return  # the URL has a fault, which is told
    path = parts.path.rstrip("/")
    if not _VERSIONED.search(path):
        yield _warning(loc, f"has no version in its path: most providers want {_shown(url, '/v1')}")
    if _REPEATED_VERSION.search(path):
        yield _warning(loc, "repeats the version in its path")
    if parts.scheme == "http" and has_key and is_public(host):
        yield _warning(loc, "sends the key unencrypted to a public host: use https://")


def _shown(url: str, more: str) -> str:
    """The URL with `more` behind it, if the whole can hold no secret."""
    bare = url.rstrip("/")
    return f"{bare}{more}" if re.fullmatch(r"https?://[A-Za-z0-9._:\[\]/-]{1,200}", bare) else f"a path with {more}"


def is_public(host: str) -> bool:
    """Whether a host is, by its name or address, not on this machine or in a private network."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        name = host.lower().rstrip(".")
        return "." in name and not name.endswith(_LOCAL_NAMES)


def _of_model(loc: Loc, model: Mapping[str, Any]) -> Iterator[Fault]:
    model_id = model.get("id")
    if isinstance(model_id, str) and _PATTERN.search(model_id):
        yield _warning((*loc, "id"), "looks like a pattern or a list, and is taken as it is written")
    prices = {key: model.get(key) for key in ("input_usd_per_mtok", "output_usd_per_mtok")}
    missing = [key for key, price in prices.items() if price is None]
    if missing and model.get("free") is not True:
        what = f"the model {_model_name(model_id)} has no {' and no '.join(missing)}"
        yield _warning(loc, f"{what}: what it costs is not counted")
    for key, price in prices.items():
        if isinstance(price, float | Decimal) and 0 < float(price) < LOWEST_PRICE_PER_MTOK:
            yield _warning((*loc, key), "is for a million tokens, and looks like the price of a single token")


def _model_name(model_id: object) -> str:
    return (
        model_id if isinstance(model_id, str) and model_id.isprintable() and len(model_id) <= 100 else "with this id"
    )


def _warning(loc: Loc, message: str) -> Fault:
    return Fault(loc, message, Gravity.WARNING)
