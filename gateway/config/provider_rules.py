"""Pure: the rules over several keys of one upstream, checked in the raw tree of the file.

In: the table of an upstream as it was read. Out: the faults of keys that do not fit together.
"""

from collections.abc import Iterator
from typing import Any

from gateway.config import faults
from gateway.config.faults import Fault
from gateway.config.fields import Loc

_HEADER_TABLES = ("headers", "header_env", "header_file")


def provider_faults(loc: Loc, upstream: dict[str, Any]) -> Iterator[Fault]:
    """The faults of one upstream's table, which stands at `loc`."""
    yield from header_faults(loc, upstream)
    yield from _certificate_faults(loc, upstream)
    yield from _model_faults(loc, upstream)


def header_faults(loc: Loc, upstream: dict[str, Any]) -> Iterator[Fault]:
    """A fault for each header field that the table of an upstream or a feed sets in two places."""
    places: dict[str, str] = {}
    if upstream.get("api_key_env") is not None or upstream.get("api_key_file") is not None:
        places[str(upstream.get("auth_header", "Authorization")).lower()] = "the API key"
    for key in _HEADER_TABLES:
        table = upstream.get(key)
        for name in table if isinstance(table, dict) else ():
            earlier = places.setdefault(name.lower(), key)
            if earlier != key:
                yield Fault((*loc, key, name), f"this header is already set by {earlier}; set it in one place")
    forwarded = upstream.get("forward_headers")
    for index, name in enumerate(forwarded if isinstance(forwarded, list) else ()):
        place = places.get(name.lower(), "headers") if isinstance(name, str) else "headers"
        if place != "headers":
            yield Fault(
                (*loc, "forward_headers", index), f"must not be forwarded: {place} sets this header to a secret"
            )


def _certificate_faults(loc: Loc, upstream: dict[str, Any]) -> Iterator[Fault]:
    if "tls_client_key_file" in upstream and "tls_client_cert_file" not in upstream:
        yield Fault((*loc, "tls_client_cert_file"), "is required beside tls_client_key_file")
    base_url = upstream.get("base_url")
    if "tls_client_cert_file" in upstream and isinstance(base_url, str) and base_url.startswith("http://"):
        yield Fault((*loc, "tls_client_cert_file"), "is for an upstream with https:// in its base_url")


def _model_faults(loc: Loc, upstream: dict[str, Any]) -> Iterator[Fault]:
    if not upstream.get("models") and upstream.get("discover") != "on":
        empty = "models" in upstream
        if not empty or upstream["models"] == []:
            what = "needs at least one entry" if empty else "is required"
            yield Fault((*loc, "models"), f'{what}, unless discover = "on"')
    names: dict[str, str] = {
        model["id"]: faults.key_path((*loc, *model_loc))
        for model_loc, model in faults.tables_at(upstream, "models")
        if isinstance(model.get("id"), str)
    }
    for model_loc, model in faults.tables_at(upstream, "models"):
        yield from _wildcard_faults((*loc, *model_loc), model)
        aliases = model.get("aliases")
        for index, alias in enumerate(aliases if isinstance(aliases, list) else ()):
            here = (*loc, *model_loc, "aliases", index)
            if not isinstance(alias, str):
                continue
            if "*" in alias:
                yield Fault(here, "must be a whole name without *; only the id can be a wildcard")
            elif alias in names:
                yield Fault(here, f"is already a name of {names[alias]}")
            else:
                names[alias] = faults.key_path((*loc, *model_loc))


def _wildcard_faults(loc: Loc, model: dict[str, Any]) -> Iterator[Fault]:
    model_id, upstream_id = model.get("id"), model.get("upstream_id")
    stars = model_id.count("*") if isinstance(model_id, str) else 0
    if stars and model.get("aliases"):
        yield Fault((*loc, "aliases"), "must not be set beside a wildcard, which has no name of its own")
    if stars > 1:
        yield Fault((*loc, "id"), "must have at most one *")
    if isinstance(upstream_id, str) and upstream_id.count("*") > stars:
        yield Fault((*loc, "upstream_id"), "must have no more * than the id")
