"""A secret is found in whatever way an upstream writes it, and ordinary words are no secret."""

import base64
import json
import string
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.disguise import Disguises
from gateway.upstream.redaction import Redactor

KEYS = ["prov-7Hq/9xZ+Lm2Wd4Tr8Yb1Nc6Vf3Gk5", "tok_AbC123dEf456GhI789jKl012MnO345pQr678", "f00dfeed1234cafe"]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def joined(between: str, size: int) -> Callable[[str], str]:
    return lambda key: between.join(key[at : at + size] for at in range(0, len(key), size))


BASE64 = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
BASE32 = string.ascii_uppercase + "234567="


def base32(text: str, alphabet: str) -> str:
    return base64.b32encode(text.encode()).decode().translate(str.maketrans(BASE32, alphabet + "="))


def dumped(data: bytes) -> str:
    """The data as `hexdump -C` shows it."""
    lines = [data[at : at + 16] for at in range(0, len(data), 16)]
    return "\n".join(f"{16 * n:08x}  {line.hex(' '):48} |{line.decode()}|" for n, line in enumerate(lines))


DISGUISES: dict[str, Callable[[str], str]] = {
    "lines": joined("\n", 4),
    "folded lines": joined("\r\n ", 12),
    "blanks": joined(" ", 5),
    "single characters": joined(" ", 1),
    "tabs": joined("\t", 10),
    "invisible characters": joined("\u200b", 1),
    "soft hyphens": joined("\u00ad", 10),
    "texts that are added": joined('" + "', 5),
    "a list of characters": lambda key: str(list(key)),
    "colours": joined("\x1b[31m", 5),
    "wide letters": lambda key: "".join(chr(ord(letter) + 0xFEE0) for letter in key),
    "percent signs": lambda key: "".join(f"%{byte:02X}" for byte in key.encode()),
    "percent signs twice": lambda key: quote("".join(f"%{byte:02x}" for byte in key.encode())),
    "escapes of JSON": lambda key: "".join(f"\\u{byte:04x}" for byte in key.encode()),
    "one escape of JSON": lambda key: f"{key[:6]}\\u{ord(key[6]):04x}{key[7:]}",
    "escapes of C": lambda key: "".join(f"\\x{byte:02x}" for byte in key.encode()),
    "entities": lambda key: "".join(f"&#{byte};" for byte in key.encode()),
    "entities in hexadecimal": lambda key: "".join(f"&#x{byte:x};" for byte in key.encode()),
    "quoted printable": lambda key: key.replace("/", "=2F").replace("+", "=2B"),
    "hexadecimal": lambda key: key.encode().hex(),
    "hexadecimal with colons": lambda key: key.encode().hex(":"),
    "hexadecimal in capitals": lambda key: f"a{key.encode().hex(' ').upper()}",
    "a list of bytes": lambda key: str(list(key.encode())),
    "base64": encoded,
    "base64 behind a user": lambda key: encoded(f"user:{key}"),
    "base64 before a colon": lambda key: encoded(f"{key}:"),
    "base64 of JSON": lambda key: encoded(json.dumps({"Authorization": f"Bearer {key}"})),
    "base64 of base64": lambda key: encoded(encoded(key)),
    "base64 in lines": lambda key: base64.encodebytes(f"{'a long name':70}: {key}".encode()).decode(),
    "base64 of a token's body": lambda key: f"eyJhbGciOiJIUzI1NiJ9.{encoded(json.dumps({'k': key})).rstrip('=')}",
    "base64 for URLs": lambda key: base64.urlsafe_b64encode(f"??>{key}".encode()).decode(),
    "base64 of hexadecimal": lambda key: encoded(key.encode().hex()),
    "base32": lambda key: base64.b32encode(key.encode()).decode(),
    "base64 of mailboxes": lambda key: encoded(f"??>{key}").replace("/", ","),
    "base64 of passwords": lambda key: encoded(key).translate(
        str.maketrans(BASE64, "./" + BASE64[52:62] + BASE64[:52])
    ),
    "base64 of bcrypt": lambda key: encoded(key).translate(str.maketrans(BASE64, "./" + BASE64[:62])),
    "base64 with dots and low lines": lambda key: encoded(f"~~~???{key}").translate(str.maketrans("+/", "._")),
    "base64 in a URL": lambda key: quote(encoded(f"???>>>{key}"), safe=""),
    "base64 with escaped slashes": lambda key: encoded(f"???{key}???").replace("/", "\\/"),
    "base64 in entities": lambda key: "".join(f"&#{byte};" for byte in encoded(key).encode()),
    "base32 in small letters": lambda key: base64.b32encode(key.encode()).decode().lower(),
    "base32 with a name": lambda key: f"key-{base64.b32encode(key.encode()).decode().rstrip('=')}",
    "base32 in hexadecimal": lambda key: base64.b32hexencode(key.encode()).decode(),
    "base32 of Crockford": lambda key: base32(key, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"),
    "z-base-32": lambda key: base32(key, "ybndrfg8ejkmcpqxot1uwisza345h769"),
    "entities twice": lambda key: "".join(f"&amp;#{byte};" for byte in key.encode()),
    "entities with zeros": lambda key: "".join(f"&#x{byte:010x};" for byte in key.encode()),
    "named entities between": joined("&shy;", 3),
    "tags between": joined("<wbr>", 4),
    "marks of a search": lambda key: f"<em class='hit'>{key[:7]}</em>{key[7:9]}<b>{key[9:]}</b>",
    "tags in entities": joined("&lt;br/&gt;", 4),
    "percent signs three times": lambda key: "".join(f"%2525{byte:02x}" for byte in key.encode()),
    "percent u": lambda key: "".join(f"%u{byte:04x}" for byte in key.encode()),
    "code points": lambda key: " ".join(f"U+{byte:04X}" for byte in key.encode()),
    "escapes of Python": lambda key: "".join(f"\\U{byte:08x}" for byte in key.encode()),
    "escapes of Rust": lambda key: "".join(f"\\u{{{byte:x}}}" for byte in key.encode()),
    "octal escapes": lambda key: "".join(f"\\{byte:03o}" for byte in key.encode()),
    "escapes of CSS": lambda key: "".join(f"\\{byte:x} " for byte in key.encode()),
    "octal numbers": lambda key: " ".join(f"{byte:03o}" for byte in key.encode()),
    "bits": lambda key: " ".join(f"{byte:08b}" for byte in key.encode()),
    "bits without blanks": lambda key: "".join(f"{byte:08b}" for byte in key.encode()),
    "a list of bytes in lines": lambda key: json.dumps(list(key.encode()), indent=4),
    "a list of bytes in hexadecimal": lambda key: json.dumps([f"{byte:02x}" for byte in key.encode()]),
    "an object of bytes": lambda key: json.dumps(dict(enumerate(key.encode()))),
    "an object of letters": lambda key: json.dumps(dict(enumerate(key)), indent=1),
    "a dump of memory": lambda key: dumped(key.encode()),
    "capitals": str.upper,
    "capitals with a mask": lambda key: f"{key[:5].upper()}****{key[-4:].upper()}",
    "an end behind blocks": lambda key: f"\u2588\u2588\u2588\u2588{key[-4:]}",
    "an end behind question marks": lambda key: f"????{key[-5:]}",
    "an end in a sentence": lambda key: f"the last characters of your key are {key[-5:]}, I think",
    "letters with accents": lambda key: "\u0301".join(key),
    "JSON in JSON in JSON": lambda key: json.dumps(json.dumps(json.dumps({"k": key}))),
    "two dots": lambda key: f"{key[:6]}..{key[-4:]}",
    "dashes": lambda key: f"{key[:8]}----{key[-4:]}",
    "low lines": lambda key: f"{key[:8]}____{key[-4:]}",
    "question marks": lambda key: f"{key[:8]}????{key[-4:]}",
    "tildes": lambda key: f"{key[:8]}~~~{key[-4:]}",
    "blocks": lambda key: f"{key[:8]}\u2588\u2588\u2588{key[-4:]}",
    "three letters": lambda key: f"{key[:8]}{3 * 'X'}{key[-4:]}",
    "a word in brackets": lambda key: f"{key[:8]}<hidden>{key[-4:]}",
    "dots in brackets": lambda key: f"{key[:8]}[...]{key[-4:]}",
    "dots between blanks": lambda key: f"{key[:8]} ... {key[-4:]}",
    "a word": lambda key: f"{key[:8]}REDACTED{key[-4:]}",
    "the prefix by name": lambda key: f"(prefix={key[:5]})",
    "the suffix by name": lambda key: f"suffix: {key[-5:]}",
    "its last characters": lambda key: f"last 5 chars: {key[-5:]}",
    "its first characters": lambda key: f"first 6 characters {key[:6]}",
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", DISGUISES)
def test_a_disguised_secret_is_taken_out(name: str, key: str) -> None:
    cleaned = Redactor([key]).clean(f"It was {DISGUISES[name](key)} that came")
    assert "[redacted]" in cleaned
    assert key[-4:].lower() not in cleaned.lower()
    assert DISGUISES[name](key) not in cleaned


@pytest.mark.parametrize("name", ["base64 of JSON", "hexadecimal", "lines", "entities"])
def test_all_else_stays_beside_a_disguised_secret(name: str) -> None:
    cleaned = Redactor(KEYS).clean(f"You sent ({DISGUISES[name](KEYS[0])}), which is wrong.")
    assert cleaned == "You sent ([redacted]), which is wrong."


@pytest.mark.parametrize(
    "text",
    [
        "the image data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ is too small",
        "request 7f3a1b2c-4d5e-6f70-8192-a3b4c5d6e7f8 took 10, 20, 30, 40, 50, 60 and 70 ms",
        "100%25 of 5 &amp; 6 &#8364; \\u00e9 \\n =3D",
        "the last message has no content; the first choice ends with a tool call; prefix caching is off",
        "sk- is how keys begin, and 678 is no key",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert Redactor(KEYS).clean(text) == text


def test_a_number_that_is_a_secret_is_taken_out() -> None:
    told = {"key": 123456789012, "code": 429, "ratio": 0.5, "flag": True}
    assert Redactor(["123456789012"]).clean_value(told) == {**told, "key": "[redacted]"}


def test_the_end_of_a_secret_alone_is_taken_out() -> None:
    assert Redactor(KEYS).clean_value({"last4": "r678", "other": "678"}) == {"last4": "[redacted]", "other": "678"}


def test_orders_to_a_terminal_and_control_characters_are_taken_out() -> None:
    told = {"a\x1b[2J": "red: \x1b[31mword\x1b[0m \x1b]0;title\x07 \x9b1m \x00\x08 \u202eend\n"}
    assert Redactor(KEYS).clean_value(told) == {"a": "red: word       end\n"}


@given(st.text(max_size=300))
def test_any_text_without_a_secret_stays(text: str) -> None:
    assert Disguises(KEYS).clean(text, "[redacted]") == text
