"""Tokens of an application, as it signs them, and as somebody forges them."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = b"a secret of the application, which nobody guesses"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FOREIGN_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
SIGNERS: Mapping[str, tuple[str, Any]] = {
    "secret": ("HS256", SECRET),
    "another secret": ("HS256", SECRET[::-1]),
    "rsa": ("RS256", RSA),
    "a foreign rsa key": ("RS256", FOREIGN_RSA),
    "ec": ("ES256", EC),
    "ed": ("EdDSA", ED),
}


def pem(key: Any) -> bytes:
    """The public half of a key, as a file holds it."""
    found: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found


def jwk(key: Any, key_id: str | None, **more: Any) -> dict[str, Any]:
    """The public half of a key, as a key set lists it."""
    algorithm = jwt.get_algorithm_by_name(
        {rsa.RSAPrivateKey: "RS256", ec.EllipticCurvePrivateKey: "ES256"}[_kind(key)]
    )
    found: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
    return found | ({} if key_id is None else {"kid": key_id}) | more


def _kind(key: Any) -> Any:
    return next(kind for kind in (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey) if isinstance(key, kind))


def token(claims: Mapping[str, Any], signer: str = "secret", **header: Any) -> str:
    """A token with these claims. A header with `alg` changes what it says of itself, not how it is signed."""
    algorithm, key = SIGNERS[signer]
    return jwt.encode(dict(claims), key, algorithm, headers=header or None)


def forged(claims: Any, header: Mapping[str, Any], secret: bytes | None) -> str:
    """A token that is put together by hand: signed by HMAC-SHA-256 with any bytes, or not at all."""
    parts = [_encode(json.dumps(part).encode()) for part in (header, claims)]
    signed = ".".join(parts)
    signature = b"" if secret is None else hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{_encode(signature)}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
