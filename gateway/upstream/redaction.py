"""Pure: takes the gateway's own secrets out of what an upstream says.

In: the secrets that one upstream was sent, and its words. Out: the words with `[redacted]` where a secret stood: as
it is, URL-encoded, in base64 as basic authentication has it, shown in part (`sk-ab***yz`, "ending in yz"), or written
in another way (disguise.py).
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

_MASK = r"*\u2022\u2026\u25cf\u00b7#"  # characters that providers write in place of those that they hide
_TOKEN = re.compile(rf"[\w{_MASK}.+/=%~:-]{{4,}}")
_HIDDEN = re.compile(rf"[{_MASK}]{{2,}}|[.~_-]{{3,}}|[\u2022\u2026\u25cf*]|[xX]{{4,}}")
_BEHIND_NAME = re.compile(r"[^:=]+")  # a token without the name before it, as in `key=sk-abc`
# Letters that are another one in another case, and that `re.IGNORECASE` takes for it.
_OTHER_LETTERS = str.maketrans({"\u0130": "i", "\u0131": "i", "\u017f": "s", "\u212a": "k"})
# The words before a part of a key that is shown without a mask.
_SAID_TO_BE_A_PART = re.compile(
    r"\b((?:end|start|begin)(?:s|ing)?(?: in| with)?|(?:first|last)[ _]?(?:\w{1,5} )?(?:\d+|char\w*|digits|letters)?"
    r"(?: char\w*| digits| letters)?(?: are| is)?|prefix|suffix|hint|tail)"
    r"""([\s:="'`(]{1,4})([\w.+/=-]{2,})""",
    re.IGNORECASE,
)
# Keys of any well-known form: an upstream may itself be a gateway that quotes a key of its own.
_ANY_KEY = re.compile(
    r"\b(?:(?:sk|pk|rk|gsk|xai|pplx|hf|csk|fw|nvapi|r8|ABSK|AKIA|ASIA|AIza)[-_]?[\w-]{16,})|\bBearer\s+[\w.~+/-]{8,}=*"
)


class Redactor:
    """The redactor of one upstream's words."""

    __slots__ = ("_all_forms", "_between", "_disguises", "_forms", "_lower_forms", "_secrets")

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(secret for secret in dict.fromkeys(secrets) if secret)
        forms = {form for secret in self._secrets for form in _forms(secret)}
        self._forms = sorted(forms, key=len, reverse=True)  # so that no part of a longer one is left behind
        self._all_forms = "\n".join(self._forms)  # one search in it is a search in each
        self._lower_forms = [form.lower() for form in self._forms]
        shown = [_shown_ends(secret) for secret in self._secrets if len(secret) >= SHORTEST_WORD]
        self._between = re.compile("|".join(shown)) if shown else None
        self._disguises = Disguises(self._secrets)

    def clean(self, text: str) -> str:
        """The text without any secret."""
        text = self._without_forms(text)
        text = _ANY_KEY.sub(REDACTED, text)
        if self._between is not None:
            text = self._between.sub(REDACTED, text)
        text = self._disguises.clean(text, REDACTED)
        text = _SAID_TO_BE_A_PART.sub(self._without_named_part, text)
        text = _TOKEN.sub(self._without_part, text)
        return self._without_cut_end(text)

    def clean_value(self, value: Any) -> Any:
        """A JSON value, all of whose texts, names and numbers are cleaned, without control characters."""
        if isinstance(value, str):
            return REDACTED if self._is_end(value) else readable(self.clean(value))
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value if self.clean(digits := str(value)) == digits else REDACTED
        if isinstance(value, Mapping):
            return {readable(self.clean(key)): self.clean_value(entry) for key, entry in value.items()}
        return [self.clean_value(entry) for entry in value] if isinstance(value, list) else value

    def _without_forms(self, text: str) -> str:
        """The text without any form of a secret as it stands; a pattern of all forms of a long one takes 50 ms."""
        lower = text.translate(_OTHER_LETTERS).lower()
        pairs = zip(self._forms, self._lower_forms, strict=True)
        found = [form for form, lower_form in pairs if lower_form in lower or not form.isascii()]
        return re.sub("|".join(map(_exactly, found)), REDACTED, text, flags=re.IGNORECASE) if found else text

    def _without_part(self, found: re.Match[str]) -> str:
        token = found[0]
        if _HIDDEN.search(token):
            return _BEHIND_NAME.sub(self._without_masked, token)
        if self._is_part(token):
            return REDACTED
        return _BEHIND_NAME.sub(lambda piece: REDACTED if self._is_part(piece[0]) else piece[0], token)

    def _is_part(self, token: str) -> bool:
        """Whether a token is a part of a secret that is long enough to be no accident."""
        bare = token.strip(".:=")
        return len(bare) >= (SHORTEST_WORD if bare.isalpha() else SHORTEST_PART) and bare in self._all_forms

    def _is_end(self, text: str) -> bool:
        """Whether a text is nothing but the last characters of a secret, as `{"last4": "7f3a"}` has them."""
        return len(text) >= SHORTEST_END and any(secret.endswith(text) for secret in self._secrets)

    def _without_masked(self, found: re.Match[str]) -> str:
        """`[redacted]` in place of a masked token that shows a part of a secret, or of which nothing can be told."""
        parts = [part.strip(".:=") for part in _HIDDEN.split(found[0])]
        first, last, longest = parts[0], parts[-1], max(parts, key=len)
        if not longest or len(parts) == 1:
            return found[0]
        for secret in self._secrets:
            ends = secret.startswith(first) and secret.endswith(last) and bool(first or last)
            if ends or (len(longest) >= 3 and longest in secret):
                return REDACTED
        return found[0]

    def _without_named_part(self, found: re.Match[str]) -> str:
        part = found[3].rstrip(".")
        if any(secret.startswith(part) or secret.endswith(part) for secret in self._secrets):
            return f"{found[1]}{found[2]}{REDACTED}"
        return found[0]

    def _without_cut_end(self, text: str) -> str:
        """The text without the beginning of a secret at its very end, where the text was cut."""
        if text[-SHORTEST_END:] not in self._all_forms:
            return text
        for form in self._forms:
            for size in range(min(len(form) - 1, len(text)), SHORTEST_END - 1, -1):
                end = form[:size]
                if text.endswith(end) and not end.isalpha():
                    return text[:-size] + REDACTED
        return text


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
