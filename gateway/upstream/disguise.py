"""Pure: finds a secret in a text in which it is written in another way than it was sent.

In: the secrets, and a text. Out: the text with a mark in place of each disguised secret. Known disguises: characters
between those of the secret (line ends, blanks, quotes, escapes of a terminal), escapes of URLs, JSON, HTML and mail,
wide letters, hexadecimal and decimal numbers, base64 and base32 of anything that holds the secret, also twice.
"""

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import itemgetter

PIECE = 8  # letters and digits of a secret, one of them a digit, that are no accident
WORD_PIECE = 12  # as `PIECE`, for letters alone
SHORTEST = 6  # a shorter secret is not looked for in disguise
MAX_DEPTH = 3  # encodings inside of each other
MAX_TOKENS = 50  # encoded tokens that are looked at one by one; a longer text of which one holds a secret is left out
_APART = "!"  # stands in no encoded token

_TERMINAL = r"\x1b\[[0-9;?]*[ -/]*[@-~]"
# An escape with its backslashes, which each encoding in another doubles. A text of nothing else would take 30 ms if
# more of them were looked at.
_ESCAPE = re.compile(
    rf"(?P<drop>{_TERMINAL})|(?:%|=|\\{{1,16}}+x)(?P<byte>[0-9a-fA-F]{{2}})"
    r"|\\{1,16}+u\{?(?P<code>[0-9a-fA-F]{4})\}?"
    r"|&#[xX](?P<hex>[0-9a-fA-F]{1,6});?|&#(?P<number>\d{1,7});?|\\{1,16}+[nrt]"
)
_BEGINS_ESCAPE = re.compile(r"[\x1b%=&\\]")
_NO_LETTERS = re.compile(r"[^a-z0-9]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}(?:\\?[\r\n]{1,2}[A-Za-z0-9+/_-]+)*={0,6}")
_HEX = re.compile(r"(?:(?:0x)?[0-9a-fA-F]{2}[ :,-]{0,2}){5,}(?:0x)?[0-9a-fA-F]{2,3}")
_NUMBERS = re.compile(r"\d{2,3}(?:[ ,;]{1,2}\d{2,3}){5,}")

_Decode = Callable[[str], Iterator[str]]  # what an encoded token may hold


class Disguises:
    """The disguises of the secrets of one upstream."""

    __slots__ = ("_marks", "_pieces", "_runs")

    def __init__(self, secrets: Iterable[str]) -> None:
        bare = [skeleton for secret in secrets if len(skeleton := _skeleton(secret)) >= SHORTEST]
        self._runs = frozenset(run for skeleton in bare for run in _runs(skeleton))
        # Every secret, and every part of two pieces, holds one of these whole.
        self._marks = tuple({run for skeleton in bare for run in _side_by_side(skeleton)})
        self._pieces = sorted({len(run) for run in self._runs})

    def clean(self, text: str, mark: str) -> str:
        """The text with `mark` in place of what holds a secret in disguise."""
        if not self._marks:
            return text
        if self._shows(text):
            text = self._without_shown(text, mark)
        if self._may_hold(text):
            if sum(len(pattern.findall(text)) for pattern, _ in _ENCODINGS) > MAX_TOKENS:
                return mark
            for pattern, decode in _ENCODINGS:
                text = pattern.sub(partial(self._without_encoded, mark, decode), text)
        return mark if self._shows(text) else text

    def _may_hold(self, text: str, depth: int = 1) -> bool:
        """Whether any encoded token may hold a secret: all that they hold is searched at once, which is quick."""
        for pattern, decode in _ENCODINGS:
            tokens = [
                token
                for token in map(itemgetter(0), pattern.finditer(text))
                if depth == 1 or len(token) >= WORD_PIECE
            ]
            held = [inner for token in tokens for inner in decode(token)]
            if held and self._shows(_APART.join(held)):
                return True
            if depth < MAX_DEPTH and held:
                printable = _APART.join(filter(str.isprintable, held))
                if self._may_hold(printable, depth + 1):
                    return True
        return False

    def _without_encoded(self, mark: str, decode: _Decode, found: re.Match[str]) -> str:
        return mark if self._holds(decode(found[0]), 1) else found[0]

    def _shows(self, text: str) -> bool:
        """Whether letters and digits of a secret stand in the text in their order, whatever is between them."""
        for _ in range(MAX_DEPTH):
            skeleton = _skeleton(text)
            if any(piece in skeleton for piece in self._marks):
                return True
            if _BEGINS_ESCAPE.search(text) is None or (plain := _ESCAPE.sub(_unescaped, text)) == text:
                return False
            text = plain
        return False

    def _holds(self, texts: Iterable[str], depth: int) -> bool:
        """Whether one of the decoded texts holds a secret."""
        for text in texts:
            if self._shows(text):
                return True
            if (
                depth < MAX_DEPTH
                and text.isprintable()
                and any(
                    self._holds(decode(found[0]), depth + 1)
                    for pattern, decode in _ENCODINGS
                    for found in pattern.finditer(text)
                    if len(found[0]) >= WORD_PIECE
                )
            ):
                return True
        return False

    def _without_shown(self, text: str, mark: str) -> str:
        """The text without the spans in which a secret is shown."""
        letters, spans = _letters(text)
        kept, at = [], 0
        for first, last in self._found(letters):
            start, end = spans[first][0], spans[last][1]
            if start >= at:
                kept += [text[at:start], mark]
            at = max(at, end)
        return "".join([*kept, text[at:]])

    def _found(self, letters: str) -> Iterator[tuple[int, int]]:
        """The first and the last place of each run of letters that is of a secret."""
        begun, end = -1, -1
        for at in range(len(letters)):
            size = next((size for size in self._pieces if letters[at : at + size] in self._runs), 0)
            if not size:
                continue
            if at > end + 1 and begun >= 0:
                yield begun, end
                begun = at
            elif begun < 0:
                begun = at
            end = max(end, at + size - 1)
        if begun >= 0:
            yield begun, end


def _skeleton(text: str) -> str:
    """The letters and digits of a text, in lower case and as ASCII has them."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _NO_LETTERS.sub("", text.lower())


def _letters(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The skeleton of a text, and for each of its characters where it stands in the text."""
    letters: list[str] = []
    spans: list[tuple[int, int]] = []
    at = 0
    while at < len(text):
        found = _ESCAPE.match(text, at)
        end = found.end() if found is not None else at + 1
        for letter in _skeleton(text[at:end] if found is None else _unescaped(found)):
            letters.append(letter)
            spans.append((at, end))
        at = end
    return "".join(letters), spans


def _unescaped(found: re.Match[str]) -> str:
    digits = found["byte"] or found["code"] or found["hex"]
    code = int(digits, 16) if digits else int(found["number"] or 32)
    return "" if found["drop"] else chr(code) if code < 0x110000 else " "


def _runs(skeleton: str) -> Iterator[str]:
    """The runs of a secret's letters and digits that are long enough to be no accident."""
    if len(skeleton) <= PIECE:
        yield skeleton
    for at in range(len(skeleton) - PIECE + 1):
        if not (piece := skeleton[at : at + PIECE]).isalpha():
            yield piece
        elif len(word := skeleton[at : at + WORD_PIECE]) == WORD_PIECE:
            yield word


def _side_by_side(skeleton: str) -> Iterator[str]:
    """The runs of a secret that stand side by side, and the last one."""
    runs = set(_runs(skeleton))
    for at in [*range(0, len(skeleton), PIECE), max(len(skeleton) - PIECE, 0), max(len(skeleton) - WORD_PIECE, 0)]:
        yield from runs & {skeleton[at : at + PIECE], skeleton[at : at + WORD_PIECE]}


def _from_base64(token: str) -> Iterator[str]:
    """What a token may hold, whichever of its characters is the first of four."""
    digits = re.sub(r"[^A-Za-z0-9+/]", "", token.replace("-", "+").replace("_", "/"))
    for skipped in range(4):
        whole = digits[skipped:]
        whole = whole[: len(whole) - (len(whole) % 4 == 1)]
        yield base64.b64decode(whole + "=" * (-len(whole) % 4)).decode("ascii", "ignore")
    if (rest := token.rstrip("=").upper()).isalnum():
        try:
            yield base64.b32decode(rest + "=" * (-len(rest) % 8)).decode("ascii", "ignore")
        except binascii.Error:
            return


def _from_hex(token: str) -> Iterator[str]:
    digits = re.sub(r"0x|[^0-9a-fA-F]", "", token)
    for skipped in range(2):
        whole = digits[skipped:]
        yield bytes.fromhex(whole[: len(whole) // 2 * 2]).decode("ascii", "ignore")


def _from_numbers(token: str) -> Iterator[str]:
    yield "".join(chr(int(number)) for number in re.findall(r"\d+", token))


# How encodings look, and what their tokens may hold. Base64 comes last, since hexadecimal digits look like it.
_ENCODINGS: tuple[tuple[re.Pattern[str], _Decode], ...] = (
    (_HEX, _from_hex),
    (_NUMBERS, _from_numbers),
    (_BASE64, _from_base64),
)
