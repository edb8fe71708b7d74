"""Pure: the rules over several keys of `[viewers]`, checked in the raw tree of the file.

In: the table as it was read. Out: the faults of keys that do not fit together.
"""

import ipaddress
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from gateway.config.faults import Fault
from gateway.config.fields import Loc

KEY_FILES = ["jwt_secret_file", "jwt_public_key_file"]
_KEYS = (*KEY_FILES, "jwks_url")
_LOC: Loc = ("viewers",)


def viewer_faults(viewers: dict[str, Any]) -> Iterator[Fault]:
    """The faults of the table `[viewers]`."""
    given = [key for key in _KEYS if viewers.get(key) is not None]
    for key in given[1:]:
        yield Fault((*_LOC, key), f"only one of {', '.join(_KEYS)} may be set, and {given[0]} is")
    if viewers and not given:
        yield Fault(_LOC, f"one of {', '.join(_KEYS)} is needed")
    url = viewers.get("jwks_url")
    if isinstance(url, str) and url.startswith("http://") and not _is_here(url):
        yield Fault((*_LOC, "jwks_url"), "must be https://: whoever is on the way could put its own keys there")


def _is_here(url: str) -> bool:
    """Whether the URL leads to this machine. A URL that cannot be read is told as a fault elsewhere."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
