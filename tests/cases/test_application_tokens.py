"""Tokens of an application: which are good, what they open, and that forged, foreign and odd ones are refused."""

from typing import Any

import pytest

from gateway.access.application_token import MAX_CHARACTERS, MAX_NAMES, MAX_PATTERNS, TokenRules, knows_key, read
from gateway.access.signature_keys import SignatureKey, keys_in_set, public_keys, secret_key
from gateway.errors import AuthenticationFailed, PermissionDenied, RivergateError
from gateway.wire import json_text
from tests.cases.cases import cases
from tests.kit.signed_tokens import EC, ED, RSA, SECRET, forged, jwk, pem, token

NOW = 1_000_000
_TIMES = ("exp", "nbf", "iat")
KEYS: dict[str, list[SignatureKey]] = {
    "secret": [secret_key(SECRET + b"\n")],
    "pem": public_keys(pem(RSA) + pem(EC) + pem(ED)),
    "set": keys_in_set(json_text.dumps({"keys": [jwk(RSA, "rsa-1"), jwk(EC, "ec-1")]})),
}


def claims_of(case: dict[str, Any]) -> dict[str, Any]:
    claims = {"sub": "user", "exp": 60, "rivergate": {"feeds": ["a"]}} | case.get("claims", {})
    for name in _TIMES:
        if isinstance(claims.get(name), int) and not isinstance(claims[name], bool):
            claims[name] += NOW
    return {name: value for name, value in claims.items() if value != ""}


def text_of(case: dict[str, Any]) -> str:
    if "forge" not in case:
        return token(claims_of(case), case["signer"], **case.get("header", {}))
    secrets = {"nobody": None, "secret": SECRET, "public key": pem(RSA)}
    return forged(claims_of(case), case["header"], secrets[case["forge"]])


@pytest.mark.parametrize("case", cases("application_tokens.toml"))
def test_a_token_opens_what_it_says_if_it_is_good(case: dict[str, Any]) -> None:
    text = text_of(case)
    rules = TokenRules(case.get("audience"), case.get("issuer"), case.get("leeway", 0.0))
    if "refused" in case:
        with pytest.raises(RivergateError) as caught:
            read(text, KEYS[case["keys"]], rules, NOW)
        assert caught.value.status == case["refused"]
        assert case.get("says", "") in caught.value.message
        assert all(part not in caught.value.message for part in text.split(".") if part)
        return
    found = read(text, KEYS[case["keys"]], rules, NOW)
    assert found.subject == "user"
    assert [name for name in case.get("opens", []) if not found.may_read(name)] == []
    assert [name for name in case.get("closed", []) if found.may_read(name)] == []
    assert found.expires_at == claims_of(case)["exp"] + rules.leeway


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", "eyJ", "eyJ.eyJ.x", "rgv_x", "eyJhbGciOiJIUzI1NiJ9..", "é.é.é"]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(AuthenticationFailed):
        read(text, KEYS["secret"], TokenRules(), NOW)
    assert knows_key(text, KEYS["secret"])


def test_a_token_that_is_too_long_is_not_looked_at() -> None:
    claims = {"sub": "u", "exp": NOW + 9, "rivergate": {"feeds": ["x" * 200] * 40}}
    with pytest.raises(AuthenticationFailed, match=f"longer than {MAX_CHARACTERS} characters"):
        read(token(claims), KEYS["secret"], TokenRules(), NOW)


def test_a_token_names_a_limited_number_of_streams_and_feeds() -> None:
    for count, is_good in ((MAX_NAMES, True), (MAX_NAMES + 1, False)):
        text = token({"sub": "u", "exp": NOW + 9, "rivergate": {"streams": ["a"] * count}})
        if is_good:
            assert read(text, KEYS["secret"], TokenRules(), NOW).may_read("stream:a")
        else:
            with pytest.raises(AuthenticationFailed, match="more than"):
                read(text, KEYS["secret"], TokenRules(), NOW)


def test_a_token_has_a_limited_number_of_patterns_beside_names() -> None:
    for patterns, is_good in ((MAX_PATTERNS, True), (MAX_PATTERNS + 1, False)):
        text = token({"sub": "u", "exp": NOW + 9, "rivergate": {"feeds": ["a*"] * patterns + ["b"] * 500}})
        if is_good:
            assert read(text, KEYS["secret"], TokenRules(), NOW).may_read("feed:ab")
        else:
            with pytest.raises(AuthenticationFailed, match=r"100 names with a \*"):
                read(text, KEYS["secret"], TokenRules(), NOW)


@pytest.mark.parametrize("digits", [20, 400, 4000])
@pytest.mark.parametrize("claim", _TIMES)
def test_a_time_of_many_digits_is_none(claim: str, digits: int) -> None:
    claims = {"sub": "u", "exp": NOW + 9, "rivergate": {"feeds": ["a"]}, claim: int("9" * digits)}
    with pytest.raises(AuthenticationFailed):
        read(forged(claims, {"alg": "HS256"}, SECRET), KEYS["secret"], TokenRules(), NOW)


def test_a_token_of_json_that_is_nested_without_end_is_refused() -> None:
    deep = b"[" * 3000 + b"]" * 3000
    for text in (forged({}, {"alg": "HS256"}, SECRET), "eyJhbGciOiJIUzI1NiJ9." + deep.hex() + ".x"):
        with pytest.raises((AuthenticationFailed, PermissionDenied)):
            read(text, KEYS["secret"], TokenRules(), NOW)


def test_whether_the_issuer_has_to_be_asked_is_known_before_a_signature_is_verified() -> None:
    claims = {"sub": "u", "exp": NOW + 9}
    assert knows_key(token(claims, "rsa", kid="rsa-1"), KEYS["set"])
    assert not knows_key(token(claims, "rsa", kid="rsa-2"), KEYS["set"])
    assert not knows_key(token(claims, "rsa"), [])
    assert knows_key(token(claims, "rsa"), KEYS["set"])
