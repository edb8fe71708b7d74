"""Pure: the keys that verify tokens of an application: a secret, public keys in PEM, or a set of keys (JWKS).

In: the bytes of a file or of an answer. Out: keys, each with the one algorithm that it is for. The invariant: a token
never chooses the algorithm; a public key never verifies as a secret. Sources: RFC 7517 and RFC 7518 (JWK and JWA),
RFC 8037 (Ed25519), RFC 8725 (the best current practice for JWT).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.wire import json_text

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]

MIN_SECRET_BYTES = 32  # the length of the digest (RFC 7518 section 3.2)
MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
MAX_RSA_BITS = 8192  # a longer key takes milliseconds for each token
MAX_KEYS = 100
MAX_KEY_ID_CHARACTERS = 256
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SignatureKey:
    """A key, and the only algorithm that it verifies. `id`: None if its owner gave it none."""

    id: str | None
    algorithm: Algorithm
    key: Any = field(repr=False)


def secret_key(content: bytes) -> SignatureKey:
    """The key in a file with a secret. Raises `ValueError`, which does not repeat the secret."""
    secret = content.strip()
    if b"-----BEGIN" in secret:
        raise ValueError("holds a key in PEM: a public key belongs into jwt_public_key_file")
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"holds a secret of fewer than {MIN_SECRET_BYTES} bytes, which can be guessed")
    return SignatureKey(None, "HS256", secret)


def public_keys(content: bytes) -> list[SignatureKey]:
    """The keys in a PEM file with public keys or certificates, at least one. Raises `ValueError`."""
    keys = []
    for number, block in enumerate(_BLOCK.finditer(content), 1):
        if b"PRIVATE" in block[1]:
            raise ValueError("holds a private key, which only the application may have: put the public one here")
        try:
            if b"CERTIFICATE" in block[1]:
                key: object = x509.load_pem_x509_certificate(block[0]).public_key()
            else:
                key = load_pem_public_key(block[0])
        except Exception:
            raise ValueError(f"holds no readable key in its PEM block {number}") from None
        keys.append(SignatureKey(None, _algorithm_of(key), key))
    if not keys:
        raise ValueError("holds no public key in PEM (-----BEGIN PUBLIC KEY-----)")
    if len(keys) > MAX_KEYS:
        raise ValueError(f"holds more than {MAX_KEYS} keys")
    return keys


def keys_in_set(content: bytes) -> list[SignatureKey]:
    """The usable keys of a JSON Web Key Set (RFC 7517 section 5), at least one. Raises `ValueError`.

    Keys of other kinds are passed over, as the RFC says: secrets, private keys, keys for encryption or for another
    algorithm.
    """
    try:
        entries = json_text.loads(content)["keys"]
    except (ValueError, LookupError, TypeError):
        raise ValueError("it is no set of keys (JWKS)") from None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError(f"it is no list of at most {MAX_KEYS} keys")
    keys = [key for entry in entries if isinstance(entry, dict) for key in _usable(entry)]
    if not keys:
        raise ValueError("none of its keys is for RS256, ES256 or EdDSA")
    return keys


def _usable(entry: dict[str, Any]) -> Iterator[SignatureKey]:
    key_id, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    is_known = key_id is None or (isinstance(key_id, str) and len(key_id) <= MAX_KEY_ID_CHARACTERS)
    is_private = "d" in entry or entry.get("kty") not in ("RSA", "EC", "OKP")
    verifies = isinstance(operations, list) and "verify" in operations
    if not is_known or is_private or not verifies or entry.get("use", "sig") != "sig":
        return
    try:
        key = jwt.PyJWK(entry, algorithm=_TYPES[entry["kty"]]).key
        algorithm = _algorithm_of(key)
    except Exception:  # PyJWT and cryptography raise many kinds for what a foreign server may send
        return
    if entry.get("alg", algorithm) == algorithm:
        yield SignatureKey(key_id, algorithm, key)


_TYPES = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}


def _algorithm_of(key: object) -> Algorithm:
    """The algorithm that a public key is for. Raises `ValueError`."""
    if isinstance(key, RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise ValueError(
                f"holds an RSA key of {key.key_size} bits; it must have {MIN_RSA_BITS} to {MAX_RSA_BITS}"
            )
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA"
    raise ValueError("holds a key that is neither RSA (RS256) nor P-256 (ES256) nor Ed25519 (EdDSA)")
