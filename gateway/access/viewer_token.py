"""Pure: viewer tokens: read-only, for one stream or feed or a list of them, until they expire.

A token is `rgv_<key id>_<expiry>_<audience>_<signature>`, the last two in unpadded base64url: readable enough to
debug, short enough for a query string. The signature is HMAC-SHA-256 (RFC 2104) over everything before it. The key
id tells which key signed, so that keys can be rotated: the first key signs, every key verifies.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import AuthenticationFailed, PermissionDenied

PREFIX = "rgv"
MIN_KEY_BYTES = 32  # the length of the digest: a shorter key would be the weaker part
MAX_TOKEN_CHARACTERS = 6500  # 64 names of 64 characters fit

_KEY_ID = re.compile(r"[a-z0-9]{1,16}")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret and its public name."""

    id: str
    secret: bytes

    def __post_init__(self) -> None:
        if not _KEY_ID.fullmatch(self.id):
            raise ValueError("a key id is 1 to 16 lower-case letters and digits")
        if len(self.secret) < MIN_KEY_BYTES:
            raise ValueError(f"a signing key has at least {MIN_KEY_BYTES} bytes")

    def __repr__(self) -> str:
        return f"SigningKey(id={self.id!r})"


@dataclass(frozen=True, slots=True)
class ViewerToken:
    """The content of a token: its bearer may read its audience until `expires_at`."""

    audience: str  # `stream:<id>` or `feed:<name>`, or several of them with a blank between
    expires_at: int  # Unix seconds

    def may_read(self, audience: str) -> bool:
        """Whether its bearer may read this stream or feed."""
        return audience in self.audience.split(" ")


class Viewer(Protocol):
    """The bearer of a token: what it may read, and until when. The token is ours, or one of the application."""

    @property
    def expires_at(self) -> float:
        """The end of the token, in Unix seconds."""

    def may_read(self, audience: str) -> bool:
        """Whether the bearer may read `stream:<id>` or `feed:<name>`."""


class ApplicationTokens(Protocol):
    """The reader of the tokens that the application issues (`[viewers]`)."""

    is_failing: bool  # the issuer does not give its keys

    def read(self, text: str, now: float) -> Viewer:
        """What the bearer of a token may read. Raises `AuthenticationFailed`, `PermissionDenied`."""

    def knows_key(self, text: str) -> bool:
        """Whether the key that a token names is known; what is no token needs none."""

    async def look_for_keys(self) -> None:
        """Ask the issuer for its keys, unless that was done a moment ago."""


def mint(token: ViewerToken, key: SigningKey) -> str:
    """The token as text."""
    signed = f"{PREFIX}_{key.id}_{token.expires_at}_{_encode(token.audience.encode())}"
    return f"{signed}.{_encode(_signature(signed, key))}"


def verify(text: str, keys: Sequence[SigningKey], audience: str, now: float) -> ViewerToken:
    """The token, if it is ours, still good and for this stream or feed.

    Raises what `read_token` raises, and `PermissionDenied` for a token that is for something else.
    """
    token = read_token(text, keys, now)
    check_audience(token, audience)
    return token


def check_audience(token: Viewer, audience: str) -> None:
    """Refuse the bearer of a token that is for something else. Raises `PermissionDenied`."""
    if not token.may_read(audience):
        raise PermissionDenied("the viewer token is for another stream")


def read_token(text: str, keys: Sequence[SigningKey], now: float) -> ViewerToken:
    """The token, if it is ours and still good, whatever it is for.

    Raises `AuthenticationFailed` for anything that we did not sign, `PermissionDenied` for a token that has expired.
    """
    token = _authentic(text, keys)
    if token is None:
        raise AuthenticationFailed("the viewer token is not valid")
    if token.expires_at <= now:
        raise PermissionDenied("the viewer token has expired")
    return token


def _authentic(text: str, keys: Sequence[SigningKey]) -> ViewerToken | None:
    signed, dot, signature = text.partition(".")
    parts = signed.split("_", 3)
    if len(text) > MAX_TOKEN_CHARACTERS or not text.isascii() or not dot or len(parts) != 4 or parts[0] != PREFIX:
        return None
    given = _decode(signature)
    key = next((key for key in keys if key.id == parts[1]), None)
    # The signature is compared even without a key, so that the time it takes does not tell which key ids exist.
    expected = _signature(signed, key) if key is not None else bytes(32)
    if given is None or not hmac.compare_digest(given, expected) or key is None:
        return None
    audience = _decode(parts[3])
    if audience is None or not parts[2].isdigit():
        return None
    return ViewerToken(audience.decode(), int(parts[2]))


def _signature(signed: str, key: SigningKey) -> bytes:
    return hmac.digest(key.secret, signed.encode(), hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes | None:
    """The decoded bytes; None for any other spelling than the one that `_encode` makes."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _encode(data) == text else None
