"""Pure: finds a secret in a text in which it is written in another way than it was sent.

In: the secrets, and a text. Out: the text with a mark in place of each disguised secret. Known disguises: characters
between those of the secret (line ends, blanks, quotes, tags, escapes of a terminal), escapes of URLs, JSON, HTML, CSS
and mail, wide letters, numbers of any base, lists of letters with their places, base64 and base32 in any alphabet, of
anything that holds the secret, and all of these inside of each other.
"""

import binascii
import contextlib
import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import partial

PIECE = 8  # letters and digits of a secret, one of them a digit, that are no accident
WORD_PIECE = 12  # as `PIECE`, for letters alone
SHORTEST = 6  # a shorter secret is not looked for in disguise
MAX_DEPTH = 3  # encodings inside of each other
STEP = 4  # letters and digits of a secret between the pieces that are looked for first

_TERMINAL = r"\x1b\[[0-9;?]*[ -/]*[@-~]"
_TAG = r"</?[A-Za-z][^<>]{0,80}>"
# A run of backslashes is read once, from its first one on: text inside of text inside of text has many.
_ESCAPE = re.compile(
    rf"(?P<drop>{_TERMINAL}|{_TAG})|[%=](?P<byte>[0-9a-fA-F]{{2}})|(?:%u|U\+)(?P<code>[0-9a-fA-F]{{4}})"
    r"|&#[xX]0*+(?P<hex>[0-9a-fA-F]{1,6});?|&#0*+(?P<number>\d{1,7});?|&(?P<name>[A-Za-z]{2,10});"
    r"|(?<!\\)\\++(?:[uU]\{?(?:0000)?+(?P<escaped>[0-9a-fA-F]{4})\}?|u\{0*+(?P<braced>[0-9a-fA-F]{2,4})\}"
    r"|x(?P<c>[0-9a-fA-F]{2})|(?P<octal>[01][0-7]{2})|0{0,4}(?P<css>[2-7][0-9a-fA-F])(?![0-9a-fA-F]) ?|[nrt])"
)
_BASES = {"number": 10, "octal": 8}  # of the numbers in escapes; the others are hexadecimal
_BEGINS_ESCAPE = re.compile(r"[\x1b%=&<\\]|U\+")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "percnt": "%", "bsol": "\\"}  # entities that may begin another escape
_NO_LETTERS = re.compile(r"[^a-z0-9]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}(?:\\?[\r\n]{1,2}[A-Za-z0-9+/_-]+)*={0,6}")
_OTHER_BASE64 = re.compile(r"[A-Za-z0-9+/_.,~!-]{16,}")
_HEX = re.compile(r"(?:(?:0x)?[0-9a-fA-F]{2}[\s:,;|\"'._-]{0,4}){5,}(?:0x)?[0-9a-fA-F]{2,3}")
_NUMBERS = re.compile(r"\d{2,3}(?:[\s,;|\"']{1,12}\d{2,3}){5,}")
_READABLE = re.compile(rb"[\0\t\n\r\x20-\x7e]{8}")  # data that decodes to less is no text
_BITS = re.compile(r"(?:[01]{7,8}[\s,;|]{0,2}){6,}")
_INDEXED = re.compile(r"(?:[\"']?\d{1,4}[\"']?\s{0,4}[:=]>?\s{0,4}(?:\d{2,3}|[\"']?.[\"']?)[\s,;]{1,12}){6,}")
_INDEXED_VALUE = re.compile(r"[:=]>?\s*(?:(\d{2,3})|[\"']?(.))")

_Decode = Callable[[str], Iterator[str]]  # what an encoded token may hold


class Disguises:
    """The disguises of the secrets of one upstream."""

    __slots__ = ("_marks", "_pieces", "_runs")

    def __init__(self, secrets: Iterable[str]) -> None:
        bare = [skeleton for secret in secrets if len(skeleton := _skeleton(secret)) >= SHORTEST]
        self._runs = frozenset(run for skeleton in bare for run in _runs(skeleton))
        # Every secret, and every part that is longer than a piece and a step, holds one of these whole.
        self._marks = tuple({run for skeleton in bare for run in _side_by_side(skeleton)})
        self._pieces = sorted({len(run) for run in self._runs})

    def clean(self, text: str, mark: str) -> str:
        """The text with `mark` in place of what holds a secret in disguise."""
        if not self._marks:
            return text
        given, levels = text, [*_unescaped_levels(text)]
        if is_shown := any(map(self._shows_plainly, (text, *levels))):
            text = self._without_shown(text, mark)
        for pattern, decode in _ENCODINGS:
            text = pattern.sub(partial(self._without_encoded, mark, decode), text)
        if is_shown or text != given:
            levels = [*_unescaped_levels(text)]
            if any(map(self._shows_plainly, (text, *levels))):
                return mark
        return mark if any(map(self._hides_encoded, levels)) else text

    def _hides_encoded(self, text: str) -> bool:
        """Whether a text that stood behind escapes holds an encoded secret, such as base64 in a URL."""
        return any(
            self._holds(decode(found[0]), 1) for pattern, decode in _ENCODINGS for found in pattern.finditer(text)
        )

    def _without_encoded(self, mark: str, decode: _Decode, found: re.Match[str]) -> str:
        return mark if self._holds(decode(found[0]), 1) else found[0]

    def _shows(self, text: str) -> bool:
        """Whether letters and digits of a secret stand in the text in their order, whatever is between them."""
        return any(map(self._shows_plainly, (text, *_unescaped_levels(text))))

    def _shows_plainly(self, text: str) -> bool:
        """Whether letters and digits of a secret stand so in the text as it is, with its escapes."""
        skeleton = _skeleton(text)
        return any(piece in skeleton for piece in self._marks)

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
                    for pattern, decode in _USUAL
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


def _unescaped_levels(text: str) -> Iterator[str]:
    """The text without its escapes, then without those that were inside of escapes, and so on."""
    for _ in range(MAX_DEPTH):
        if _BEGINS_ESCAPE.search(text) is None or (plain := _ESCAPE.sub(_unescaped, text)) == text:
            return
        yield plain
        text = plain


def _skeleton(text: str) -> str:
    """The letters and digits of a text, in lower case and as ASCII has them."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
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
    kind = found.lastgroup
    if kind is None:  # the end of a line, or a tab
        return " "
    if kind in ("drop", "name"):
        return _NAMED.get(found[kind], "")
    code = int(found[kind], _BASES.get(kind, 16))
    return chr(code) if code < 0x110000 else " "


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
    """The runs of a secret that begin `STEP` apart, and the last one."""
    runs = set(_runs(skeleton))
    for at in [*range(0, len(skeleton), STEP), max(len(skeleton) - PIECE, 0), max(len(skeleton) - WORD_PIECE, 0)]:
        yield from runs & {skeleton[at : at + PIECE], skeleton[at : at + WORD_PIECE]}


def _from_base64(token: str) -> Iterator[str]:
    """What a token may hold, whichever of its characters is the first of four."""
    return _in_base64(token, _BASE64_ALPHABET)


def _from_other_base64(token: str) -> Iterator[str]:
    """What a token may hold in a rarer alphabet: that of mailboxes, those of passwords (crypt, bcrypt), others."""
    for alphabet in _BASE64_ALPHABETS:
        yield from _in_base64(token, alphabet)


def _in_base64(token: str, alphabet: bytes) -> Iterator[str]:
    digits = token.encode("ascii").translate(alphabet).translate(None, _NO_BASE64)
    for skipped in range(4):
        whole = digits[skipped:]
        whole = whole[: len(whole) - (len(whole) % 4 == 1)]
        data = binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))
        if _READABLE.search(data):
            yield data.decode("ascii", "ignore")


def _from_base32(token: str) -> Iterator[str]:
    """What a token may hold in any of the alphabets of base32."""
    for part in _NO_BASE32.split(token):
        if len(part) >= WORD_PIECE and (part.isupper() or part.islower()):  # base32 has letters of one case
            for alphabet in _BASE32_ALPHABETS:
                with contextlib.suppress(ValueError):  # a letter is none of this alphabet's
                    number, size = int(part.translate(alphabet), 32), 5 * len(part) // 8
                    yield (number >> 5 * len(part) % 8).to_bytes(size, "big").decode("ascii", "ignore")


def _from_hex(token: str) -> Iterator[str]:
    digits = re.sub(r"0x|[^0-9a-fA-F]", "", token)
    for skipped in range(2):
        whole = digits[skipped:]
        yield bytes.fromhex(whole[: len(whole) // 2 * 2]).decode("ascii", "ignore")


def _from_numbers(token: str) -> Iterator[str]:
    numbers = re.findall(r"\d+", token)
    yield "".join(chr(int(number)) for number in numbers)
    if not re.search("[89]", token):
        yield "".join(chr(int(number, 8)) for number in numbers)


def _from_bits(token: str) -> Iterator[str]:
    apart = re.findall("[01]+", token)
    bits = "".join(apart)
    yield "".join(chr(int(number, 2) & 0x7F) for number in apart)
    yield from (
        "".join(chr(int(bits[at : at + 8], 2) & 0x7F) for at in range(skip, len(bits), 8)) for skip in range(8)
    )


def _from_indexed(token: str) -> Iterator[str]:
    """What a list of letters, or of their numbers, with their places may hold."""
    yield "".join(chr(int(number)) if number else letter for number, letter in _INDEXED_VALUE.findall(token))


def _alphabet(letters: str, standard: str) -> dict[int, str]:
    """The translation of an alphabet, in both cases, into the digits of `standard`."""
    return {
        ord(letter): to for given in (letters.lower(), letters) for letter, to in zip(given, standard, strict=True)
    }


_BASE32 = string.digits + string.ascii_lowercase[:22]  # the digits that `int` takes, a tenth of the time of `base64`
_LETTERS = string.ascii_uppercase + string.ascii_lowercase
_BASE64_DIGITS = f"{_LETTERS}{string.digits}+/".encode()
_NO_BASE64 = bytes(set(range(256)) - set(_BASE64_DIGITS))
_BASE64_ALPHABET = bytes.maketrans(b"-_", b"+/")
_BASE64_ALPHABETS = (
    bytes.maketrans(b"-_,.~!", b"+//+/+"),
    bytes.maketrans(f"./{string.digits}{_LETTERS}".encode(), _BASE64_DIGITS),
    bytes.maketrans(f"./{_LETTERS}{string.digits}".encode(), _BASE64_DIGITS),
)
_BASE32_ALPHABETS = tuple(
    _alphabet(letters, _BASE32)
    for letters in (
        string.ascii_uppercase + "234567",  # RFC 4648 section 6
        string.digits + string.ascii_uppercase[:22],  # section 7
        "0123456789ABCDEFGHJKMNPQRSTVWXYZ",  # Crockford's
        "ybndrfg8ejkmcpqxot1uwisza345h769".upper(),  # z-base-32
    )
)
_NO_BASE32 = re.compile("[^A-Za-z0-9]+")


# How encodings look, and what their tokens may hold. Base64 comes last, since hexadecimal digits look like it.
_ENCODINGS: tuple[tuple[re.Pattern[str], _Decode], ...] = (
    (_HEX, _from_hex),
    (_NUMBERS, _from_numbers),
    (_INDEXED, _from_indexed),
    (_BITS, _from_bits),
    (_BASE64, _from_base64),
    (_BASE64, _from_base32),
    (_OTHER_BASE64, _from_other_base64),
)
_USUAL = ((_HEX, _from_hex), (_BASE64, _from_base64))  # those that are looked for inside of others
