"""Pure: the paths of requests as clients write them, made into those that the gateway serves.

In: the target of a request. Out: the same with its path as the gateway has it: without doubled slashes and a slash at
its end, and with `/v1` once before the path of an API, also where the client was given a `base_url` without it, or
with it twice. Behind `/v1/models/` the id of a model stays as it is.
"""

import re

from gateway.dialects.registry import DIALECTS

# The first segments behind `/v1` of what clients ask for, of which some leave `/v1` out.
_APIS = frozenset({"models", *(dialect.path.split("/")[2] for dialect in DIALECTS)})
_PREFIX = re.compile(r"/+(?:v1/+)*")
_MODEL = re.compile(r"models/+(?=[^/])")


def served_target(target: str) -> str:
    """The target with the path that the gateway serves; the very target if it is one already."""
    if not target.startswith("/"):
        return target
    path, mark, query = target.partition("?")
    prefix = _PREFIX.match(path)
    assert prefix is not None
    rest = path[prefix.end() :]
    if not rest:
        return target
    model = _MODEL.match(rest)
    rest = f"models/{rest[model.end() :]}" if model else re.sub("/+", "/", rest).removesuffix("/")
    is_below_v1 = "v1" in prefix[0] or rest.partition("/")[0] in _APIS
    return f"/v1/{rest}{mark}{query}" if is_below_v1 else f"/{rest}{mark}{query}"
