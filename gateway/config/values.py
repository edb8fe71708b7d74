"""Pure: the types of single configuration values: which are allowed, and the words that say so.

A type that cannot be read from its annotation carries `Words`, which faults and the reference table repeat.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field
from pydantic.functional_serializers import PlainSerializer
from pydantic.functional_validators import AfterValidator, BeforeValidator, InstanceOf
from pydantic.types import AllowInfNan, Strict

from gateway.config.fields import Words

MAX_SOCKET_PATH_BYTES = 107  # sun_path of Linux, without its NUL
MAX_MS = 3_600_000  # an hour: a longer timeout is a mistyped one
WEEK = 604_800  # seconds
MAX_MODEL_NAMES = 100  # further names of one model

OPTIMIZE_ALIASES: Mapping[str, str] = {"speed": "ttft", "cheapest": "cost", "throughput": "tps"}


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen: host and port (host "" = every interface), or the path of a Unix socket."""

    host: str
    port: int
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """`host:port`, `[::1]:8080`, `:8080` or `unix:/path`; raises ValueError with the reason."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path.startswith("/") or not path.isprintable():
                raise ValueError('must have an absolute path after "unix:"')
            if len(path.encode()) > MAX_SOCKET_PATH_BYTES:
                raise ValueError(f"must have a socket path of at most {MAX_SOCKET_PATH_BYTES} bytes")
            return cls("", 0, path)
        if not (matched := re.fullmatch(r"(\[[^\]]*\]|[^:]*):([0-9]{1,5})", text)):
            raise ValueError("must be host:port, [IPv6]:port, :port or unix:/path")
        host, port = matched[1], int(matched[2])
        if port > 65535:
            raise ValueError("must have a port of at least 0 and at most 65535")
        bare = host[1:-1] if host.startswith("[") else host
        if host and (not is_host(bare) or (":" in bare) != host.startswith("[")):
            raise ValueError("must have a host name, an IPv4 address or an IPv6 address in brackets")
        return cls(bare, port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.path is not None or self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_host(host: str) -> bool:
    """Whether this is a host name or the address of a host."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # A last label of digits is a mistyped address, never a name (WHATWG URL, "ends in a number").
        named = re.fullmatch(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*", host) is not None
        return named and len(host) <= 253 and not host.rpartition(".")[2].isdecimal()
    return True


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if "@" in parts.netloc:
        raise ValueError("must not carry a user name or password; use api_key_env or api_key_file")
    if parts.scheme not in ("http", "https") or port == 0 or not is_host(parts.hostname or ""):
        raise ValueError("must be http:// or https:// and a host")
    if "#" in url or not re.fullmatch("[!-~]+", url):
        raise ValueError("must be plain ASCII without blanks or a fragment")
    return parts.geturl()


# The paths that are added to a base URL. A base URL that ends in one of them was copied from a request.
_ENDPOINT = re.compile("(/chat)?/(completions|responses|messages|embeddings|models)/*$", re.IGNORECASE)


def _base_url(url: str) -> str:
    bare = url.partition("?")[0]
    endpoint = _ENDPOINT.search(bare)
    if bare != url:
        also = f", and must not end in {_named(endpoint)}, which is added to it" if endpoint is not None else ""
        raise ValueError(f"must not have a query; put its parameters into the table query{also}")
    root = _http_url(url).rstrip("/")
    if endpoint is not None:
        right = bare[: endpoint.start()].rstrip("/")
        raise ValueError(f'must not end in {_named(endpoint)}, which is added to it: write "{right}"')
    return root


def _named(endpoint: re.Match[str]) -> str:
    return endpoint[0].rstrip("/")


def _exact(value: Any) -> Any:
    """A number as an exact decimal, so that 2.5 stays 2.5; any other value is returned as it is and refused later."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return Decimal(str(value)) if number else value


Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Ratio = Annotated[float, Strict(), AllowInfNan(False)]
Seconds = Ratio
Price = Annotated[Decimal, BeforeValidator(_exact), Strict(), Field(ge=0, le=1_000_000)]
NO_PRICE = Words(default="none; 0 if `free`")
AS_INPUT = Words(default="the price of the prompt")
AS_OUTPUT = Words(default="the price of the completion")
Name = Annotated[Text, Field(pattern="^[A-Za-z0-9._-]{1,64}$"), Words("1 to 64 letters, digits, . _ -")]
ID_WORDS = "1 to 256 characters without blanks or control characters"
ModelId = Annotated[Text, Field(pattern=r"^[^\s\p{C}]+$", max_length=256), Words(ID_WORDS)]
FileName = Annotated[Text, Field(pattern=r"^\P{Cc}+$"), Words("a path")]
KeyFile = Annotated[FileName, Words("a path", hidden=True)]
Variable = Annotated[
    Text, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$"), Words("an environment variable's name", hidden=True)
]
Origin = Annotated[
    Text,
    Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+)$"),
    Words('"*" or scheme://host[:port]'),
]
HostName = Annotated[
    Text,
    Field(pattern=r"^(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*$|^\[?[0-9A-Fa-f:]+:[0-9A-Fa-f:.]*\]?$"),
    Words("a host name without a port, or `*.` and a domain"),
]
BaseUrl = Annotated[Text, AfterValidator(_base_url), Words("an http(s) URL without a query", hidden=True)]
FeedUrl = Annotated[Text, AfterValidator(_http_url), Words("an http(s) URL", hidden=True)]
ListenOn = Annotated[
    InstanceOf[Listen],
    BeforeValidator(lambda value: Listen.parse(value) if isinstance(value, str) else value),
    PlainSerializer(str),
    Words("host:port, [IPv6]:port, :port or unix:/path"),
]
Optimize = Literal["cost", "cost-focus", "ttft", "ttft-focus", "tps", "tps-focus", "balanced", "weight", "priority"]
OPTIMIZE_WORDS = Words("one of " + ", ".join((*get_args(Optimize), *OPTIMIZE_ALIASES)))
UNALIASED = BeforeValidator(lambda word: OPTIMIZE_ALIASES.get(word, word) if isinstance(word, str) else word)
HedgeAfter = Literal["off", "auto"] | Annotated[Whole, Field(ge=1, le=MAX_MS)]
