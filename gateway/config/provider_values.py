"""Pure: the types of the settings that describe a provider: header fields, a query, request fields, a proxy.

In: the raw values of the file. Out: values that a request can be built of without another check. The invariant: no
header field that a setting names frames a message, belongs to one hop, or is the gateway's own.
"""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from pydantic.functional_validators import AfterValidator, BeforeValidator

from gateway.config.fields import Words
from gateway.config.values import MAX_MODEL_NAMES, KeyFile, ModelId, Text, Variable, is_host

MAX_FIELDS = 100  # entries of one table: common servers refuse a request with more header fields
MAX_FIELD_CHARACTERS = 8192  # of one value: common servers refuse a longer header line

# Header fields that frame a message (RFC 9112 section 6) or belong to one hop (RFC 9110 section 7.6.1).
FRAMING = frozenset(
    {"connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-authenticate"}
    | {"proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
# Header fields that the gateway sets itself, as the body and the answer need them.
OWN = frozenset(
    {"accept", "accept-encoding", "content-encoding", "content-type", "traceparent", "tracestate", "x-request-id"}
)
# Header fields that carry a credential.
CREDENTIALS = frozenset(
    {"api-key", "authorization", "cookie", "ocp-apim-subscription-key", "x-amz-security-token", "x-api-key"}
    | {"x-auth-token", "x-goog-api-key", "x-functions-key", "set-cookie"}
)
# Request fields that no setting may replace: the gateway acts on them.
ACTED_ON = frozenset({"messages", "model", "stream"})


def _header_name(name: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", name):
        raise ValueError("must be named like a header: letters, digits and -")
    if name.lower() in FRAMING:
        raise ValueError("must not be set: it belongs to one connection, or says where a message ends")
    if name.lower() in OWN:
        raise ValueError("must not be set: the gateway sets this header itself")
    return name


def _fixed_name(name: str) -> str:
    if name.lower() in CREDENTIALS:
        raise ValueError("a secret does not belong here; use api_key_env, header_env or header_file")
    return name


def _forwarded_name(name: str) -> str:
    if name.lower() in CREDENTIALS:
        raise ValueError("must not be forwarded: it carries a client's credential")
    return name.lower()


def _header_value(value: str) -> str:
    if not re.fullmatch("[ -~]+", value) or value != value.strip():
        raise ValueError("must be plain ASCII text without control characters, or blanks at its ends")
    return value


def _query_name(name: str) -> str:
    if not re.fullmatch("[!-~]+", name):
        raise ValueError("must be named in plain ASCII without blanks")
    return name


def _field_name(name: str) -> str:
    if name in ACTED_ON:
        raise ValueError(f"must not be {name}: the gateway acts on this field")
    return name


def _dropped_path(path: str) -> str:
    if "" in path.split("."):
        raise ValueError("must be a request field, or a path of names with dots between them")
    if path in ("messages", "stream"):
        raise ValueError("must not be messages or stream: no upstream answers without them")
    return path


def _json(value: Any) -> Any:
    """A value of the file as JSON has it. Raises ValueError for a date, and for a number that JSON has not."""
    if isinstance(value, Decimal | float):
        number = float(value)
        if not math.isfinite(number):
            raise ValueError("must hold numbers that JSON has")
        return number
    if isinstance(value, Mapping):
        return {str(name): _json(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json(entry) for entry in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    raise ValueError("must hold JSON values: text, numbers, true, false, lists and tables, but no dates")


def _proxy(url: Any) -> Any:
    """The URL of a proxy as a secret, since it may hold a password; a value that is no text is refused later."""
    text = url.get_secret_value() if isinstance(url, SecretStr) else url
    if not isinstance(text, str):
        return url
    if text == NO_PROXY:
        return SecretStr(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is not a valid URL; in a password write %2F for /") from None
    if parts.scheme != "http" or port == 0 or not is_host(parts.hostname or ""):
        raise ValueError('must be "none", or http:// and a host; a proxy is reached without TLS')
    if parts.path not in ("", "/") or parts.query or parts.fragment or not re.fullmatch("[!-~]+", text):
        raise ValueError("must be http://[user:password@]host:port in plain ASCII, and nothing behind the port")
    return SecretStr(text.rstrip("/"))


NO_PROXY = "none"  # the value of `proxy` for a straight connection, whatever the environment names
_TABLE = Field(max_length=MAX_FIELDS)
_HeaderName = Annotated[Text, AfterValidator(_header_name)]
HeaderName = Annotated[_HeaderName, Words("a header's name")]
FixedHeaders = Annotated[
    dict[
        Annotated[_HeaderName, AfterValidator(_fixed_name)],
        Annotated[Text, AfterValidator(_header_value), Field(max_length=MAX_FIELD_CHARACTERS)],
    ],
    _TABLE,
    Words("a table of text", hidden=True),
]
HeaderVariables = Annotated[
    dict[_HeaderName, Variable], _TABLE, Words("a table of environment variables' names", hidden=True)
]
HeaderFiles = Annotated[dict[_HeaderName, KeyFile], _TABLE, Words("a table of paths", hidden=True)]
Query = Annotated[
    dict[Annotated[Text, AfterValidator(_query_name)], Annotated[Text, Field(max_length=MAX_FIELD_CHARACTERS)]],
    _TABLE,
    Words("a table of text", hidden=True),
]
ForwardedHeader = Annotated[_HeaderName, AfterValidator(_forwarded_name), Words("a header's name")]
AuthScheme = Annotated[
    Text,
    Field(pattern=r"^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64})?$"),
    Words('one word, or "" for the bare key', default='"Bearer" in Authorization, else ""'),
]
DroppedField = Annotated[Text, AfterValidator(_dropped_path), Words("a request field, or a dotted path")]
RenamedFields = Annotated[
    dict[
        Annotated[Text, AfterValidator(_field_name)],
        Annotated[Text, Field(min_length=1), AfterValidator(_field_name)],
    ],
    _TABLE,
    Words("a table of request fields' names"),
]
DefaultFields = Annotated[
    dict[Annotated[Text, AfterValidator(_field_name)], Annotated[Any, BeforeValidator(_json)]],
    _TABLE,
    Words("a table of request fields with their values"),
]
ProxyUrl = Annotated[
    SecretStr, BeforeValidator(_proxy), Words('"none" or http://[user:password@]host:port', hidden=True)
]
Discover = Literal["off", "on"]
Aliases = Annotated[tuple[ModelId, ...], Field(max_length=MAX_MODEL_NAMES)]
