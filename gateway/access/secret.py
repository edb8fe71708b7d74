"""Pure: the text of API keys: `rg_`, 32 random letters and digits, and one more that checks them.

The last character is a Luhn check digit of base 62. It tells a secret with a mistyped character, or with two
neighbouring characters swapped (except `0` and `z`, Luhn's blind spot), from a key that does not exist. Only the
SHA-256 of a secret is stored.
"""

import hashlib
from collections.abc import Callable

PREFIX = "rg_"
LENGTH = 32  # 190 bits
# Header fields that hold a key alone, as the clients of Anthropic and of Azure send it.
BARE_FIELDS = ("x-api-key", "api-key")
SHOWN = 9  # characters of a secret that lists show: `rg_` and six more
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE = len(_ALPHABET)


def make(choose: Callable[[str], str]) -> str:
    """A new secret; `choose` picks a character at random (`secrets.choice`)."""
    body = "".join(choose(_ALPHABET) for _ in range(LENGTH))
    return PREFIX + body + _check_digit(body)


def digest(secret: str) -> bytes:
    """The SHA-256 of a secret, which is stored, and by which a key is looked up."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def is_mistyped(secret: str) -> bool:
    """Whether this text begins like a secret of ours, and its length, characters or check digit are wrong."""
    body = secret.removeprefix(PREFIX)
    if body == secret:
        return False
    return len(body) != LENGTH + 1 or not set(body) <= set(_ALPHABET) or _check_digit(body[:-1]) != body[-1]


def _check_digit(body: str) -> str:
    """The check digit of `body` by the Luhn mod N algorithm, with N = 62."""
    total = 0
    for place, character in enumerate(reversed(body)):
        value = _ALPHABET.index(character) * (2 if place % 2 == 0 else 1)
        total += value // _BASE + value % _BASE
    return _ALPHABET[-total % _BASE]
