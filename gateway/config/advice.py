"""Pure: what is odd about a configuration that can be used: the mistakes that people make.

In: the raw tree of a configuration, so that warnings are told beside faults. Out: faults that are warnings.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from gateway.config import base_urls, dialect_advice
from gateway.config.faults import Fault, Gravity, key_path, tables_at
from gateway.config.fields import Loc
from gateway.config.sections import ServerSettings
from gateway.config.values import Listen

LOWEST_PRICE_PER_MTOK = 0.001  # US dollars; a price below it was probably meant for one token, or for a thousand
_PATTERN = re.compile(r"\.\*|[?\[\]{}()|^$\\%,]")  # signs of regular expressions, globs and lists
_PRIVATE_DOMAINS = frozenset({"internal", "lan", "local", "test"})  # whose names nobody can register
_DEFAULT_PORT = re.compile(r"(https://[^:]+):443|(http://[^:]+):80")
_DEFAULT_LISTEN: Listen = ServerSettings.model_fields["listen"].default


def warnings(tree: Mapping[str, Any]) -> Iterator[Fault]:
    """Every warning about a configuration."""
    server = tree.get("server")
    yield from _of_server(server if isinstance(server, dict) else {})
    listen = _listen_of(server)
    for loc, upstream in tables_at(tree, "upstreams"):
        if isinstance(url := upstream.get("base_url"), str):
            for message in base_urls.warnings(url, listen, has_key=_has_key(upstream)):
                yield _warning((*loc, "base_url"), message)
        for key, message in dialect_advice.warnings(upstream):
            yield _warning((*loc, *key), message)
        for model_loc, model in tables_at(upstream, "models"):
            yield from _of_model((*loc, *model_loc), model)
    for loc, feed in tables_at(tree, "feeds"):
        if isinstance(url := feed.get("url"), str) and _has_key(feed) and base_urls.shows_key(url):
            yield _warning((*loc, "url"), base_urls.UNENCRYPTED)
    yield from _of_wildcards(tree)


def _of_server(server: Mapping[str, Any]) -> Iterator[Fault]:
    for index, origin in _texts(server.get("cors_origins")):
        loc: Loc = ("server", "cors_origins", index)
        if origin == "*":
            yield _warning(loc, "lets every web page call: without an API key it may use the upstreams' keys, too")
        elif "*" in origin.removesuffix(":*"):
            yield _warning(loc, "matches no origin: a * stands for every origin, or behind a colon for every port")
        elif (matched := _DEFAULT_PORT.fullmatch(origin)) is not None:
            yield _warning(
                loc, f"matches no origin: browsers leave the usual port out, as in {matched[1] or matched[2]}"
            )
    for index, host in _texts(server.get("allowed_hosts")):
        if host.startswith("*.") and "." not in host[2:] and host[2:].lower() not in _PRIVATE_DOMAINS:
            message = "allows names that anybody can register, and so pages of other sites (DNS rebinding)"
            yield _warning(("server", "allowed_hosts", index), message)


def _texts(value: object) -> Iterator[tuple[int, str]]:
    for index, entry in enumerate(value if isinstance(value, list) else ()):
        if isinstance(entry, str):
            yield index, entry


def _listen_of(server: object) -> Listen:
    written = server.get("listen") if isinstance(server, dict) else None
    try:
        return Listen.parse(written) if isinstance(written, str) else _DEFAULT_LISTEN
    except ValueError:
        return _DEFAULT_LISTEN  # what is written there is a fault, which is told


def _has_key(upstream: Mapping[str, Any]) -> bool:
    return any(upstream.get(key) for key in ("api_key_env", "api_key_file", "header_env", "header_file"))


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


def _of_wildcards(tree: Mapping[str, Any]) -> Iterator[Fault]:
    """A warning for each wildcard that somebody may expect to serve a name which another upstream has whole.

    The id `*` stands for whatever nobody names, so that nobody expects it to serve a name.
    """
    named = list(_model_names(tree))
    for loc, name in named:
        before, star, behind = name.partition("*")
        if not star or name == "*":
            continue
        own = {other for place, other in named if place[:2] == loc[:2]}
        taken = {
            other: place
            for place, other in named
            if other not in own
            and other.startswith(before)
            and other.endswith(behind)
            and len(other) > len(before + behind)
            and _is_shown(other)
        }
        if taken:
            other, place = next(iter(taken.items()))
            more = f" and {len(taken) - 1} more" * (len(taken) > 1)
            yield _warning(
                (*loc, "id"),
                f"does not serve {other}{more}, since {key_path(place)} does: give this upstream "
                "an entry with that id, too, if one is to stand in for the other",
            )


def _model_names(tree: Mapping[str, Any]) -> Iterator[tuple[Loc, str]]:
    """Every id and alias of a model, with the place of the model."""
    for loc, upstream in tables_at(tree, "upstreams"):
        for model_loc, model in tables_at(upstream, "models"):
            aliases = model.get("aliases")
            for name in (model.get("id"), *(aliases if isinstance(aliases, list) else ())):
                if isinstance(name, str):
                    yield (*loc, *model_loc), name


def _is_shown(model_id: str) -> bool:
    return model_id.isprintable() and len(model_id) <= 100


def _model_name(model_id: object) -> str:
    return model_id if isinstance(model_id, str) and _is_shown(model_id) else "with this id"


def _warning(loc: Loc, message: str) -> Fault:
    return Fault(loc, message, Gravity.WARNING)
