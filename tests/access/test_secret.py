"""A typo in an API key is told from a key that does not exist."""

import hashlib
import random
import secrets

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.access.secret import LENGTH, PREFIX, SHOWN, digest, is_mistyped, make

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRETS = st.integers().map(lambda seed: make(random.Random(seed).choice))
BODY = range(
    len(PREFIX), len(PREFIX) + LENGTH + 1
)  # the places of a secret that may be mistyped, its check digit too


@given(SECRETS)
def test_a_new_secret_is_33_letters_and_digits_behind_its_prefix_and_not_mistyped(secret: str) -> None:
    assert secret.startswith(PREFIX)
    assert len(secret) == len(PREFIX) + LENGTH + 1
    assert set(secret.removeprefix(PREFIX)) <= set(ALPHABET)
    assert not is_mistyped(secret)


@given(SECRETS, st.sampled_from(BODY), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_always_seen(secret: str, place: int, character: str) -> None:
    assume(character != secret[place])
    assert is_mistyped(secret[:place] + character + secret[place + 1 :])


@given(SECRETS, st.sampled_from(BODY[:-1]))
def test_two_neighbours_in_the_wrong_order_are_seen_but_for_the_first_and_the_last_digit(
    secret: str, place: int
) -> None:
    pair = secret[place : place + 2]
    assume(pair[0] != pair[1])
    swapped = secret[:place] + pair[::-1] + secret[place + 2 :]
    assert is_mistyped(swapped) == (set(pair) != {"0", "z"})


@given(SECRETS, st.text(max_size=3).filter(bool))
def test_a_secret_that_is_too_long_or_cut_off_is_mistyped(secret: str, more: str) -> None:
    assert is_mistyped(secret + more)
    assert all(is_mistyped(secret[:end]) for end in BODY)


@pytest.mark.parametrize("other", ["", "rg", "sk-proj-abc", "RG_abc", "rgv_1_2_3", " rg_", "schlüssel", "\udce9"])
def test_the_keys_of_others_are_not_mistyped_they_are_only_unknown(other: str) -> None:
    assert not is_mistyped(other)


@pytest.mark.parametrize("body", ["", "ä" * 33, "-" * 33, "\udce9" * 33, "0" * 32 + "_"])
def test_what_begins_like_one_of_ours_and_cannot_be_one_is_mistyped(body: str) -> None:
    assert is_mistyped(PREFIX + body)


def test_what_is_stored_tells_nothing_of_the_secret() -> None:
    secret = make(secrets.choice)
    assert digest(secret) == hashlib.sha256(secret.encode()).digest()
    assert secret[:SHOWN].startswith(PREFIX)
    assert len(secret) - SHOWN >= 27  # the part that lists do not show has 160 bits, which nobody can guess
    assert digest("k\udce9y") != digest("key")  # a surrogate: how a server hands over a byte that is not UTF-8


def test_no_two_secrets_are_the_same() -> None:
    assert len({make(secrets.choice) for _ in range(1000)}) == 1000
