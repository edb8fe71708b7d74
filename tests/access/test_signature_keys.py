"""The keys of tokens of an application: which are taken, and that each is for one algorithm."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.access.signature_keys import MAX_KEYS, keys_in_set, public_keys, secret_key
from tests.kit.signed_tokens import EC, ED, RSA, SECRET, jwk, pem

PRIVATE = EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_secret_is_the_content_of_its_file_without_blanks_around_it() -> None:
    key = secret_key(b"  " + SECRET + b"\r\n")
    assert (key.algorithm, key.key) == ("HS256", SECRET)
    assert SECRET.decode() not in repr(key)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "fewer than 32 bytes"),
        (b"x" * 31 + b"\n", "fewer than 32 bytes"),
        (pem(RSA), "belongs into jwt_public_key_file"),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        secret_key(content)
    assert "xxx" not in str(caught.value)


def test_a_file_may_hold_several_public_keys_with_words_between_them() -> None:
    keys = public_keys(b"# old\n" + pem(RSA) + b"\n# new\n" + pem(EC) + pem(ED))
    assert [key.algorithm for key in keys] == ["RS256", "ES256", "EdDSA"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no public key in PEM"),
        (b"x" * 40, "no public key in PEM"),
        (PRIVATE, "a private key"),
        (pem(RSA) + PRIVATE, "a private key"),
        (pem(EC).replace(b"MFkw", b"AAAA"), "no readable key in its PEM block 1"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "neither RSA .* nor P-256"),
        (pem(dsa.generate_private_key(1024)), "neither RSA .* nor P-256"),
        (pem(rsa.generate_private_key(65537, 1024)), "RSA key of 1024 bits"),
        (pem(ED) * (MAX_KEYS + 1), f"more than {MAX_KEYS} keys"),
    ],
)
def test_a_file_without_a_usable_public_key_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        public_keys(content)


def test_a_key_set_gives_the_keys_that_are_for_signatures_and_passes_the_others_over() -> None:
    good = [jwk(RSA, "a"), jwk(EC, None, use="sig", alg="ES256", key_ops=["verify"], x5t="ignored")]
    odd: list[Any] = [
        jwk(RSA, "for encryption", use="enc"),
        jwk(RSA, "of another algorithm", alg="RS512"),
        jwk(RSA, "for signing", key_ops=["sign"]),
        jwk(RSA, "private", d="AQAB"),
        {"kty": "oct", "kid": "a secret", "k": "c2VjcmV0"},
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
        {"kty": "RSA", "n": "!", "e": "AQAB"},
        {"kty": ["RSA"]},
        jwk(RSA, None) | {"kid": 5},
        "no key",
        None,
    ]
    assert [(key.id, key.algorithm) for key in keys_in_set(json.dumps({"keys": odd + good}).encode())] == [
        ("a", "RS256"),
        (None, "ES256"),
    ]


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b"<html>", b'{"keys": [null]}', b'{"keys": "x"}', b"\xff"],
)
def test_what_is_no_key_set_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="keys"):
        keys_in_set(content)


def test_a_key_set_has_a_limited_number_of_keys() -> None:
    with pytest.raises(ValueError, match=f"at most {MAX_KEYS}"):
        keys_in_set(json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode())
