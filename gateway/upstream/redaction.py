"""Pure: takes the gateway's own secrets out of what an upstream says.

In: the secrets that one upstream was sent, and its words. Out: the words with `[redacted]` where a secret stood: as
it is, URL-encoded, in base64 as basic authentication has it, shown in part (`sk-ab***yz`, "ending in yz"), written in
another way (disguise.py), or spread over the values of a list or an object. The case of letters makes no difference.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from gateway.dialects.error_shapes import readable
from gateway.upstream.disguise import Disguises

REDACTED = "[redacted]"
SHORTEST_PART = 6  # characters of a part of a secret that is taken out where nothing says that it is a part
SHORTEST_WORD = 12  # as `SHORTEST_PART`, for a part that is a plain word and so may mean itself
SHOWN = 3  # characters at each end of a secret that tell it, whatever stands in between
SHORTEST_END = 4  # characters at the very end of a text, which may have been cut
LONGEST_PIECE = 40  # characters of one of the values over which a secret is spread; a longer piece is found alone

# Characters that providers write in place of those that they hide.
_MASK = r"*?$\u00b7\u00d7\u2022\u2026\u2217\u2219\u22c5\u2588\u2591-\u2593\u25a0\u25aa\u25cb\u25cf\u25e6\u2731\uff0a#"
_TOKEN = re.compile(rf"[\w{_MASK}.+/=%~:-]{{4,}}")
_HIDDEN = re.compile(rf"[{_MASK}]{{2,}}|[.~_-]{{3,}}|[\u2022\u2026\u25cf*]|[xX]{{4,}}")
_BEHIND_NAME = re.compile(r"(?:[^:=?]|\?{2,})+")  # a token without the name before it, as in `key=sk-abc`
_STEP_OF_PATH = re.compile(r"[^:=?/]+")
# The words before a part of a key that is shown without a mask.
_SAID_TO_BE_A_PART = re.compile(
    r"\b((?:end|start|begin)(?:s|ing)?(?: in| with)?|(?:first|last)[ _]?(?:\w{1,5} )?(?:\d+|char\w*|digits|letters)?"
    r"(?: char\w*| digits| letters)?(?: are| is)?|prefix|suffix|hint|tail)"
    r"""([\s:="'`(]{1,4})([\w.+/=-]{2,})""",
    re.IGNORECASE,
)
# Keys of any well-known form: an upstream may itself be a gateway that quotes a key of its own.
_ANY_KEY = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|pplx|hf|csk|fw|nvapi|r8|ABSK|AKIA|ASIA|AIza)[-_]?[\w-]{16,}"
    r"|\b(?:rgv?_[\w-]{16,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|ya29\.[\w.-]{16,})|\bBearer\s+[\w.~+/-]{8,}=*"
    r"|\bBasic\s+(?=[A-Za-z+/]*[\d=])[\w+/]{8,}={0,2}"
)


class Redactor:
    """The redactor of one upstream's words."""

    __slots__ = ("_all_forms", "_between", "_disguises", "_exact", "_forms", "_secrets")

    def __init__(self, secrets: Iterable[str]) -> None:
        given = tuple(secret for secret in dict.fromkeys(secrets) if secret)
        self._secrets = tuple(secret.lower() for secret in given)
        forms = {form.lower() for secret in given for form in _forms(secret)}
        self._forms = sorted(forms, key=len, reverse=True)  # so that no part of a longer one is left behind
        self._all_forms = "\n".join(self._forms)  # one search in it is a search in each
        self._exact = re.compile("|".join(map(_exactly, self._forms)), re.IGNORECASE) if forms else None
        shown = [_shown_ends(secret) for secret in self._secrets if len(secret) >= SHORTEST_WORD]
        self._between = re.compile("|".join(shown), re.IGNORECASE) if shown else None
        self._disguises = Disguises(self._secrets)

    def clean(self, text: str) -> str:
        """The text without any secret."""
        if self._exact is not None:
            text = self._exact.sub(REDACTED, text)
        text = _ANY_KEY.sub(REDACTED, text)
        if self._between is not None:
            text = self._between.sub(REDACTED, text)
        text = self._disguises.clean(text, REDACTED)
        text = _SAID_TO_BE_A_PART.sub(self._without_named_part, text)
        text = _TOKEN.sub(self._without_part, text)
        return self._without_cut_end(text)

    def finds_in(self, text: str) -> bool:
        """Whether one of the secrets stands in the text, whole or nearly so."""
        patterns = (self._exact, self._between)
        is_shown = any(pattern is not None and pattern.search(text) for pattern in patterns)
        return is_shown or self._disguises.clean(text, REDACTED) != text

    def clean_value(self, value: Any) -> Any:
        """A JSON value, all of whose texts, names and numbers are cleaned, without control characters."""
        texts = [*_names(value), *_singles([value])]
        together = "\n".join(texts)
        if self.clean(together) == together and not any(self._ends_in_secret(text) for text in texts):
            return _readable(value)
        return self._clean_value(value)

    def _clean_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return REDACTED if self._is_end(value) else readable(self.clean(value))
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value if self.clean(digits := str(value)) == digits and not self._is_end(digits) else REDACTED
        if isinstance(value, Mapping):
            names = [readable(self.clean(key)) for key in value]
            if self._is_spread(names):
                return {REDACTED: REDACTED}
            return dict(zip(names, self._clean_all(list(value.values())), strict=True))
        return self._clean_all(value) if isinstance(value, list) else value

    def _clean_all(self, values: list[Any]) -> list[Any]:
        """The values, each of them cleaned; without the single ones if a secret is spread over them."""
        cleaned = [self._clean_value(value) for value in values]
        pieces = [text if len(text) <= LONGEST_PIECE else " " for text in _singles(cleaned)]
        if len(cleaned) > 1 and self._is_spread(pieces):
            return [_without_singles(value) for value in cleaned]
        return cleaned

    def _is_spread(self, pieces: list[str]) -> bool:
        """Whether a secret is spread over these texts and numbers: letters, or the codes of letters."""
        return any(
            self._disguises.clean(joined, REDACTED) != joined for joined in ("".join(pieces), ",".join(pieces))
        )

    def _without_part(self, found: re.Match[str]) -> str:
        token = found[0]
        if _HIDDEN.search(token):
            return _BEHIND_NAME.sub(self._without_masked, token)
        if self._is_part(token):
            return REDACTED
        return _STEP_OF_PATH.sub(lambda piece: REDACTED if self._is_part(piece[0]) else piece[0], token)

    def _is_part(self, token: str) -> bool:
        """Whether a token is a part of a secret that is long enough to be no accident."""
        bare = token.strip(".:=").lower()
        if bare.isalpha():
            return len(bare) >= SHORTEST_WORD and bare in self._all_forms
        return (len(bare) >= SHORTEST_PART and bare in self._all_forms) or self._is_end(bare)

    def _is_end(self, text: str) -> bool:
        """Whether a text is nothing but the last characters of a secret, as `{"last4": "7f3a"}` has them."""
        return len(text) >= SHORTEST_END and any(secret.endswith(text.lower()) for secret in self._secrets)

    def _ends_in_secret(self, text: str) -> bool:
        """Whether a text is the end of a secret, or was cut behind the beginning of one."""
        return self._is_end(text) or self._without_cut_end(text) != text

    def _without_masked(self, found: re.Match[str]) -> str:
        """`[redacted]` in place of a masked token that shows a part of a secret, or of which nothing can be told."""
        parts = [part.strip(".:=") for part in _HIDDEN.split(found[0].lower())]
        first, last, longest = parts[0], parts[-1], max(parts, key=len)
        if not longest or len(parts) == 1:
            return found[0]
        for secret in self._secrets:
            ends = secret.startswith(first) and secret.endswith(last) and bool(first or last)
            if ends or (len(longest) >= 3 and longest in secret):
                return REDACTED
        return found[0]

    def _without_named_part(self, found: re.Match[str]) -> str:
        part = found[3].rstrip(".").lower()
        if any(secret.startswith(part) or secret.endswith(part) for secret in self._secrets):
            return f"{found[1]}{found[2]}{REDACTED}"
        return found[0]

    def _without_cut_end(self, text: str) -> str:
        """The text without the beginning of a secret at its very end, where the text was cut."""
        lower = text.lower()
        if lower[-SHORTEST_END:] not in self._all_forms:
            return text
        for form in self._forms:
            for size in range(min(len(form) - 1, len(text)), SHORTEST_END - 1, -1):
                end = form[:size]
                if lower.endswith(end) and not end.isalpha():
                    return text[:-size] + REDACTED
        return text


def _names(value: Any) -> Iterator[str]:
    """The names of all members in a value, in their order."""
    if isinstance(value, Mapping):
        yield from value
    if isinstance(value, Mapping | list):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _names(entry)


def _readable(value: Any) -> Any:
    """The value without control characters."""
    if isinstance(value, Mapping):
        return {readable(name): _readable(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_readable(entry) for entry in value]
    return readable(value) if isinstance(value, str) else value


def _singles(values: list[Any]) -> Iterator[str]:
    """The texts and numbers in a list and in all that it holds, in their order."""
    for value in values:
        if isinstance(value, Mapping | list):
            yield from _singles(list(value.values()) if isinstance(value, Mapping) else value)
        elif value is not None and not isinstance(value, bool):
            yield str(value)


def _without_singles(value: Any) -> Any:
    """The value with `[redacted]` in place of every text and number in it."""
    if isinstance(value, Mapping):
        return {name: _without_singles(entry) for name, entry in value.items()}
    return [_without_singles(entry) for entry in value] if isinstance(value, list) else REDACTED


def _shown_ends(secret: str) -> str:
    """The pattern of a secret of which the first and the last characters are shown, with anything in between."""
    first, last = re.escape(secret[:SHOWN]), re.escape(secret[-SHOWN:])
    return rf"{first}(?:\S{{0,80}}?|\S{{0,8}}\s?[*.\u2026\u2022]{{2,9}}\s?\S{{0,8}}?){last}(?!\w)"


def _exactly(form: str) -> str:
    """The pattern of a form; one that is very short is taken out only where it stands alone."""
    return re.escape(form) if len(form) >= SHORTEST_END else rf"(?<!\w){re.escape(form)}(?!\w)"


def _forms(secret: str) -> Iterator[str]:
    """A secret as upstreams repeat it. Each half of `user:password` is a secret too, if it is long enough."""
    yield secret
    for safe in ("", "/", "/:", "/:+"):
        yield quote(secret, safe=safe)
    yield quote_plus(secret)
    yield quote(quote(secret, safe=""), safe="")
    yield secret.replace("/", "\\/")  # as JSON in a text may have it
    for before in ("", ":", "api:", "Bearer ", "token:"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(f"{before}{secret}".encode()).decode()
            yield encoded
            yield encoded.rstrip("=")
    yield from _decoded(secret)


def _decoded(secret: str) -> Iterator[str]:
    """What a secret in base64 holds, as a basic credential does: `user:password` and the password alone."""
    text = secret.removeprefix("Basic ").removeprefix("basic ")
    try:
        held = base64.b64decode(text, validate=True).decode("ascii")
    except ValueError:
        return
    user, colon, password = held.partition(":")
    if colon and held.isprintable():
        yield held
        if len(password) >= SHORTEST_PART:
            yield password
        if len(user) >= SHORTEST_WORD:
            yield user
