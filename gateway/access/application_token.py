"""Pure: tokens of the application's own: JSON Web Tokens that say which streams and feeds their bearer may read.

In: a token, the keys and rules of the configuration, and the time. Out: what the bearer may read, and until when. The
invariant: nothing of a token is believed before its signature is verified, but the id of its key and its algorithm,
which only choose among the keys that are there. No error repeats a part of a token. Sources: RFC 7519 and RFC 8725.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from gateway.access.signature_keys import Algorithm, SignatureKey
from gateway.errors import AuthenticationFailed, PermissionDenied

MAX_CHARACTERS = 8000  # of a token; a request line or a header field of a server has hardly more room
MAX_NAMES = 1000  # streams and feeds that one token names
MAX_PATTERNS = 100  # of these names may have a star; to try one takes 0.6 us, and a page has up to 64 channels
MAX_NAME_CHARACTERS = 256
MAX_SECONDS = 1 << 40  # of Unix time: 35,000 years
MAX_TRIES = 10  # keys that are tried for a token that names none; each takes up to 0.3 ms
STAR = "*"
ONLY_BY_NAME = frozenset({"feed:statistics"})  # the gateway's own numbers, which no pattern opens
_ALGORITHMS: tuple[Algorithm, ...] = ("HS256", "RS256", "ES256", "EdDSA")
# PyJWT knows no time but the clock's: the claims of time are checked here.
_OPTIONS: Any = {"require": ["exp", "sub"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must be like. `audience` and `issuer`: what its claims `aud` and `iss` must be, if they matter."""

    audience: str | None = None
    issuer: str | None = None
    leeway: float = 0.0  # seconds by which the clocks may differ


@dataclass(frozen=True, slots=True)
class ApplicationToken:
    """A verified token: its bearer may read these streams and feeds until `expires_at` (Unix seconds).

    `names` are `stream:<id>` and `feed:<name>`; a `*` in one stands for any characters.
    """

    subject: str
    names: tuple[str, ...]
    expires_at: float

    def may_read(self, audience: str) -> bool:
        """Whether the bearer may read `stream:<id>` or `feed:<name>`."""
        if audience in ONLY_BY_NAME:
            return audience in self.names
        return audience in self.names or any(_fits(name, audience) for name in self.names if STAR in name)


def read(text: str, keys: Sequence[SignatureKey], rules: TokenRules, now: float) -> ApplicationToken:
    """The token, if one of the keys signed it, and it is good now.

    Raises `AuthenticationFailed` for what is no good token, `PermissionDenied` for one that has expired or opens
    nothing.
    """
    claims = _verified(text, keys, rules)
    subject, expires = claims["sub"], claims["exp"]
    if not isinstance(subject, str) or not subject:
        raise AuthenticationFailed("the token has no subject (claim sub)")
    if not _is_time(expires):
        raise AuthenticationFailed("the token has no end (claim exp, in Unix seconds)")
    if expires + rules.leeway <= now:
        raise PermissionDenied("the token has expired")
    for name in ("nbf", "iat"):
        if name in claims and not (_is_time(claims[name]) and claims[name] - rules.leeway <= now):
            raise AuthenticationFailed(f"the token is not good yet (claim {name})")
    return ApplicationToken(subject, _names_in(claims.get("rivergate")), expires + rules.leeway)


def _verified(text: str, keys: Sequence[SignatureKey], rules: TokenRules) -> dict[str, Any]:
    """The claims of a token whose signature, audience and issuer are right."""
    if len(text) > MAX_CHARACTERS:
        raise AuthenticationFailed(f"the token is longer than {MAX_CHARACTERS} characters")
    if (header := _header(text)) is None:
        raise _not_valid()
    algorithm = header.get("alg")
    if algorithm not in _ALGORITHMS:
        raise AuthenticationFailed(f"the token is not signed with one of {', '.join(_ALGORITHMS)}")
    if not (named := _named(keys, header.get("kid"))):
        raise AuthenticationFailed("the token is signed with a key that is not known")
    fitting = [key for key in named if key.algorithm == algorithm]
    if not fitting:
        raise AuthenticationFailed("the token is signed with another algorithm than its key is for")
    for key in fitting[:MAX_TRIES]:
        try:
            return _claims(text, key, rules)
        except jwt.InvalidSignatureError:
            continue
    raise _not_valid()


def knows_key(text: str, keys: Sequence[SignatureKey]) -> bool:
    """Whether one of the keys may be the one that a token names; what is no token needs none."""
    header = _header(text) if len(text) <= MAX_CHARACTERS else None
    return header is None or header.get("alg") not in _ALGORITHMS or bool(_named(keys, header.get("kid")))


def _header(text: str) -> dict[str, Any] | None:
    """The header of a token, in which nobody may believe; None for what is no token."""
    try:
        return jwt.get_unverified_header(text)
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None


def _named(keys: Sequence[SignatureKey], key_id: object) -> list[SignatureKey]:
    """The keys that a token may mean by this id, which it may leave out, as an issuer may."""
    return [key for key in keys if key.id == key_id or key.id is None or key_id is None]


def _claims(text: str, key: SignatureKey, rules: TokenRules) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            text,
            key.key,
            algorithms=[key.algorithm],
            audience=rules.audience,
            issuer=rules.issuer,
            options=_OPTIONS,
        )
    except jwt.InvalidSignatureError:
        raise
    except jwt.InvalidAudienceError:
        raise AuthenticationFailed("the token is for another audience (claim aud)") from None
    except jwt.InvalidIssuerError:
        raise AuthenticationFailed("the token is of another issuer (claim iss)") from None
    except jwt.MissingRequiredClaimError as error:
        raise AuthenticationFailed(f"the token has no claim {error.claim}") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise _not_valid() from None
    return claims


def _names_in(granted: object) -> tuple[str, ...]:
    """The streams and feeds of the claim `rivergate`. Raises `AuthenticationFailed`, `PermissionDenied`."""
    if granted is None:
        raise PermissionDenied("the token opens nothing: it has no claim rivergate with streams and feeds")
    if not isinstance(granted, dict):
        raise AuthenticationFailed('the claim rivergate must be like {"streams": [...], "feeds": [...]}')
    names: list[str] = []
    for kind, member in (("stream", "streams"), ("feed", "feeds")):
        listed = granted.get(member, [])
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise AuthenticationFailed(f"{member} of the claim rivergate must be a list of names")
        names += [f"{kind}:{name}" for name in listed if 0 < len(name) <= MAX_NAME_CHARACTERS]
    if len(names) > MAX_NAMES:
        raise AuthenticationFailed(f"the claim rivergate names more than {MAX_NAMES} streams and feeds")
    if sum(STAR in name for name in names) > MAX_PATTERNS:
        raise AuthenticationFailed(f"the claim rivergate has more than {MAX_PATTERNS} names with a *")
    return tuple(names)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_SECONDS


def _fits(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern with stars, in time that grows with both alone."""
    first, *middle, last = pattern.split(STAR)
    if not name.startswith(first) or not name.endswith(last) or len(name) < len(first) + len(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _not_valid() -> AuthenticationFailed:
    return AuthenticationFailed("the token is not valid")
