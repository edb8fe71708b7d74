"""A viewer token opens the one stream that it was made for, until it expires, and nothing that was changed does."""

import base64
import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.access.viewer_token import MAX_TOKEN_CHARACTERS, MIN_KEY_BYTES, SigningKey, ViewerToken, mint, verify
from gateway.errors import AuthenticationFailed, PermissionDenied

OLD = SigningKey("old1", b"o" * MIN_KEY_BYTES)
NEW = SigningKey("new1", b"n" * MIN_KEY_BYTES)
AUDIENCE = "stream:st_8Jm2xQ"
NOW = 1_700_000_000.0
GOOD = ViewerToken(AUDIENCE, int(NOW) + 3600)
TEXT = mint(GOOD, NEW)

CHARACTERS = string.ascii_letters + string.digits + "-_.+/= \n\0é€"
AUDIENCES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=" "), max_size=60)


def refused(text: str) -> None:
    with pytest.raises(AuthenticationFailed, match="not valid"):
        verify(text, [NEW, OLD], AUDIENCE, NOW)


@given(AUDIENCES, st.integers(1, 10**12), st.binary(min_size=MIN_KEY_BYTES, max_size=64))
def test_what_was_minted_is_verified(audience: str, expires_at: int, secret: bytes) -> None:
    token, key = ViewerToken(audience, expires_at), SigningKey("k", secret)
    assert verify(mint(token, key), [key], audience, expires_at - 0.001) == token


@given(AUDIENCES)
def test_a_token_goes_into_a_query_string_as_it_is(audience: str) -> None:
    assert re.fullmatch(r"rgv_[a-z0-9]+_[0-9]+_[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+", mint(ViewerToken(audience, 1), NEW))


@given(st.integers(0, len(TEXT) - 1), st.sampled_from(CHARACTERS))
def test_any_changed_character_makes_it_invalid(at: int, character: str) -> None:
    changed = TEXT[:at] + character + TEXT[at + 1 :]
    if changed != TEXT:
        refused(changed)


def test_every_character_counts_even_the_last_bits_of_the_signature() -> None:
    for at, old in enumerate(TEXT):
        for character in string.ascii_letters + string.digits + "-_":
            if character != old:
                refused(TEXT[:at] + character + TEXT[at + 1 :])


@given(st.integers(0, len(TEXT)), st.text(CHARACTERS, min_size=1, max_size=5))
def test_any_added_character_makes_it_invalid(at: int, added: str) -> None:
    refused(TEXT[:at] + added + TEXT[at:])


@given(st.integers(0, len(TEXT) - 1), st.integers(1, len(TEXT)))
def test_any_missing_characters_make_it_invalid(at: int, count: int) -> None:
    refused(TEXT[:at] + TEXT[at + count :])


@given(st.text(max_size=200))
@example("")
@example(".")
@example("rgv_new1_9_.")
@example("rgv_new1__." + "A" * 43)
@example("rgv_new1_1_YQ.\ud800")
def test_text_that_is_no_token_is_refused_and_never_an_error_of_ours(text: str) -> None:
    refused(text)


# --- for whom


@given(AUDIENCES)
@example(AUDIENCE + "x")
@example(AUDIENCE[:-1])
@example(AUDIENCE.upper())
@example(AUDIENCE.replace("stream", "feed"))
def test_another_audience_is_not_permitted(audience: str) -> None:
    if audience != AUDIENCE:
        with pytest.raises(PermissionDenied, match="another stream"):
            verify(TEXT, [NEW], audience, NOW)


def test_the_expiry_and_the_audience_of_two_tokens_cannot_be_mixed() -> None:
    other = mint(ViewerToken("stream:other", GOOD.expires_at + 1), NEW)
    head, key, expiry, rest = TEXT.split("_", 3)
    _, _, later, foreign = other.split("_", 3)
    refused("_".join((head, key, later, rest)))
    refused("_".join((head, key, expiry, foreign)))
    refused("_".join((head, key, expiry, rest.split(".")[0] + "." + foreign.split(".")[1])))


# --- until when


@pytest.mark.parametrize("before", [0.001, 1.0, 3600.0])
def test_a_token_is_good_until_it_expires(before: float) -> None:
    assert verify(TEXT, [NEW], AUDIENCE, GOOD.expires_at - before) == GOOD


@pytest.mark.parametrize("after", [0.0, 0.001, 1.0, 1e9])
def test_a_token_is_not_permitted_from_its_expiry_on(after: float) -> None:
    with pytest.raises(PermissionDenied, match="expired"):
        verify(TEXT, [NEW], AUDIENCE, GOOD.expires_at + after)


@pytest.mark.parametrize("spelling", ["{}0", "0{}", "+{}", " {}", "{}.0", "-{}", "{}_0"])
def test_another_spelling_of_the_expiry_is_invalid(spelling: str) -> None:
    refused(TEXT.replace(str(GOOD.expires_at), spelling.format(GOOD.expires_at)))


# --- by which key


def test_after_a_rotation_tokens_of_both_keys_are_good() -> None:
    for key in (OLD, NEW):
        assert verify(mint(GOOD, key), [NEW, OLD], AUDIENCE, NOW) == GOOD


def test_a_key_that_was_taken_out_takes_its_tokens_with_it() -> None:
    with pytest.raises(AuthenticationFailed):
        verify(mint(GOOD, OLD), [NEW], AUDIENCE, NOW)


def test_a_key_of_the_same_name_with_another_secret_is_another_key() -> None:
    with pytest.raises(AuthenticationFailed):
        verify(TEXT, [SigningKey(NEW.id, OLD.secret)], AUDIENCE, NOW)


def test_the_key_id_is_signed_too() -> None:
    twin = SigningKey("twin", NEW.secret)
    with pytest.raises(AuthenticationFailed):
        verify(TEXT.replace("_new1_", "_twin_"), [NEW, twin], AUDIENCE, NOW)


@pytest.mark.parametrize("key_id", ["", "gone", "NEW1", "new1 ", "n" * 17])
def test_an_unknown_key_id_is_invalid(key_id: str) -> None:
    refused(TEXT.replace("_new1_", f"_{key_id}_"))


def test_an_unknown_key_is_not_let_in_by_the_signature_it_is_compared_with() -> None:
    zeros = base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()
    refused(TEXT.rpartition(".")[0].replace("_new1_", "_gone_") + "." + zeros)


def test_no_key_verifies_nothing() -> None:
    with pytest.raises(AuthenticationFailed):
        verify(TEXT, [], AUDIENCE, NOW)


# --- other spellings of the same bytes


def test_padding_is_refused() -> None:
    refused(TEXT + "=")
    signed, _, signature = TEXT.partition(".")
    refused(f"{signed}=.{signature}")
    refused(f"{signed}==.{signature}")


@given(st.integers(1, 2000))
def test_the_standard_alphabet_of_base64_is_refused(expires_at: int) -> None:
    text = mint(ViewerToken(AUDIENCE, int(NOW) + expires_at), NEW)
    signed, _, signature = text.partition(".")
    standard = signature.replace("-", "+").replace("_", "/")
    if standard != signature:
        refused(f"{signed}.{standard}")


@pytest.mark.parametrize("blank", [" ", "\n", "\t", "\r\n"])
def test_blanks_around_or_in_a_token_are_refused(blank: str) -> None:
    for text in (TEXT + blank, blank + TEXT, TEXT[:-5] + blank + TEXT[-5:]):
        refused(text)


@pytest.mark.parametrize("text", ["rgv_new1_\uff11_YQ.YQ", TEXT.replace("rgv", "ʀɢᴠ"), TEXT + "é", TEXT + "\ud800"])
def test_anything_but_ascii_is_refused(text: str) -> None:
    refused(text)


def test_a_huge_token_is_refused_even_if_we_signed_it() -> None:
    refused("rgv_" * 10_000_000)
    refused(mint(ViewerToken("stream:" + "x" * MAX_TOKEN_CHARACTERS, GOOD.expires_at), NEW))


def test_a_token_at_the_limit_is_good_and_one_past_it_is_not() -> None:
    sizes = {}
    for length in range(4700, MAX_TOKEN_CHARACTERS):
        audience = "a" * length
        sizes[len(mint(ViewerToken(audience, GOOD.expires_at), NEW))] = audience
    at_limit = sizes.get(MAX_TOKEN_CHARACTERS) or sizes[MAX_TOKEN_CHARACTERS - 1]
    past_it = sizes[min(size for size in sizes if size > MAX_TOKEN_CHARACTERS)]
    assert verify(mint(ViewerToken(at_limit, GOOD.expires_at), NEW), [NEW], at_limit, NOW).audience == at_limit
    with pytest.raises(AuthenticationFailed):
        verify(mint(ViewerToken(past_it, GOOD.expires_at), NEW), [NEW], past_it, NOW)


# --- keys


@pytest.mark.parametrize("key_id", ["", "A", "a b", "a_b", "a.b", "a" * 17, "é", "a\n"])
def test_a_key_id_that_could_be_misread_in_a_token_is_refused(key_id: str) -> None:
    with pytest.raises(ValueError, match="key id"):
        SigningKey(key_id, b"s" * MIN_KEY_BYTES)


def test_a_key_at_the_least_length_is_accepted_and_one_byte_less_is_not() -> None:
    SigningKey("a" * 16, b"s" * MIN_KEY_BYTES)
    with pytest.raises(ValueError, match="at least"):
        SigningKey("a", b"s" * (MIN_KEY_BYTES - 1))


def test_a_key_does_not_show_its_secret() -> None:
    key = SigningKey("k1", bytes(range(65, 65 + MIN_KEY_BYTES)))
    for shown in (repr(key), str(key), f"{[key]}"):
        assert "k1" in shown
        assert "ABC" not in shown
        assert key.secret.hex() not in shown
