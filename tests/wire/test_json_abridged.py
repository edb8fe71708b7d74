"""Long JSON texts in short: whatever they hold, the filled text is the text that came."""

import json
import re
from collections.abc import Generator
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.wire import json_abridged, json_skip, json_text
from gateway.wire.json_abridged import Abridged, Abridger, Shape, TooManyEntries
from gateway.wire.json_filling import FilledText, filled, hidden_text_bytes, without_stand_ins
from gateway.wire.json_outline import TooDeep
from gateway.wire.json_skip import Skipper

TEXT = Shape(is_text=True)
SHAPE = Shape({"a": Shape({"text": TEXT, "list": Shape(elements=TEXT)}), "text": TEXT}, elements=TEXT)
STRINGS = st.one_of(
    st.text(max_size=9),
    st.builds(
        lambda part, times: part * times,
        st.sampled_from(["q", '\\"', "\n", "é\u2028", "😀", "S\x01\x021\x01", ',"[{']),
        st.sampled_from([1, 900, 3000]),
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), STRINGS),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(STRINGS, inner, max_size=6),
    max_leaves=20,
)
TEXTS = st.fixed_dictionaries({}, optional={"a": VALUES | st.fixed_dictionaries({"text": STRINGS}), "text": STRINGS})


def done(steps: Generator[None, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def abridge(text: bytes) -> Abridged:
    abridger = Abridger(text, SHAPE)
    done(abridger.steps())
    return abridger.abridged()


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits so small that short texts are long ones."""
    for name, limit in {"_FIRST_WINDOW": 64, "_LAST_WINDOW": 200, "_PIECE_BYTES": 100, "_STRING_STEP": 100}.items():
        monkeypatch.setattr(json_skip, name, limit)
    monkeypatch.setattr(json_abridged, "_KEPT_OF_VALUE", 10)
    monkeypatch.setattr(json_abridged, "_SCALAR", re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.){0,9}+"|[-+.\w]{1,99}+'))


@settings(deadline=None)
@given(st.one_of(VALUES, TEXTS), st.sampled_from([None, 1]), st.booleans())
def test_what_is_written_of_the_short_text_is_filled_again(value: Any, indent: int | None, ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    if not _is_readable(text):
        return
    abridged = abridge(text)
    short = json_text.loads(abridged.text)
    written = json_text.dumps_line(short)
    whole = bytes(FilledText(abridged, written))
    assert orjson.loads(whole) == orjson.loads(text)
    assert "\u2028".encode() not in whole
    assert FilledText(abridged, written).size in (None, len(whole))
    inside = json_text.dumps_line({"x": json_text.dumps(short).decode()})
    assert orjson.loads(orjson.loads(b"".join(filled(abridged, inside)))["x"]) == orjson.loads(text)


@example({"text": "\u4f60\u597d" * 5000})
@settings(deadline=None)
@given(TEXTS)
def test_the_hidden_bytes_of_text_are_counted(value: Any) -> None:
    text = json.dumps(value).encode()
    if not _is_readable(text):
        return
    abridged = abridge(text)
    assert _size(value) == _size(json_text.loads(abridged.text)) + hidden_text_bytes(abridged, abridged.text)


@settings(deadline=None)
@given(VALUES, st.data())
def test_a_broken_text_is_refused(value: Any, data: st.DataObject) -> None:
    text = json.dumps([value, [value]]).encode()
    at = data.draw(st.integers(0, len(text) - 1))
    broken = (
        text[:at] + data.draw(st.sampled_from([b"", b",", b"]", b"}", b'"', b"\\", b"{", b"\x00"])) + text[at + 1 :]
    )
    try:
        end = done(Skipper(broken, len(broken)).container(0)) if broken[:1] in (b"[", b"{") else 0
    except ValueError:
        return
    if end == len(broken):
        json.loads(broken)


def test_nan_and_infinity_give_way_to_null() -> None:
    text = b'{"x":[%b],"a":{"text":"%b"}}' % (b",".join([b'NaN,{"b":-Infinity}'] * 300), b"NaN" * 50)
    abridged = abridge(text)
    assert abridged.is_repaired
    value = orjson.loads(b"".join(filled(abridged, abridged.text)))
    assert value == {"x": [None, {"b": None}] * 300, "a": {"text": "NaN" * 50}}


def test_what_looks_like_a_stand_in_is_filled_once() -> None:
    abridged = abridge(b'{"text":"%b"}' % (b"x" * 5000))
    one = json_text.loads(abridged.text)["text"]
    whole = b"".join(filled(abridged, json_text.dumps({"text": one, "more": [one[-5:]] * 1000})))
    assert len(whole) < 50_000


def test_words_can_be_told_without_the_stand_ins() -> None:
    abridged = abridge(b'{"text":"no %b"}' % (b"x" * 5000))
    words = without_stand_ins(abridged, json_text.loads(abridged.text)["text"])
    assert words == "no " + "x" * (json_abridged.KEPT_OF_STRING - 3)


def test_entries_that_are_looked_at_have_a_limit() -> None:
    items = ",".join(["1"] * json_abridged.MAX_ENTRIES)
    assert not abridge(f"[{items}]".encode()).cuts
    with pytest.raises(TooManyEntries):
        abridge(f"[{items},1]".encode())


@pytest.mark.parametrize(
    ("form", "entry", "count"),
    [("[%b]", f'"{"x" * 5000}"', 3550), ("{%b}", f'"{"k" * 98}":{"1" * 60}', 6900)],
    ids=["cuts", "bytes"],
)
def test_what_is_cut_and_what_is_kept_have_limits(form: str, entry: str, count: int) -> None:
    assert abridge(form.encode() % ",".join([entry] * (count * 9 // 10)).encode()).text
    with pytest.raises(TooManyEntries):
        abridge(form.encode() % ",".join([entry] * count).encode())


@pytest.mark.parametrize(("levels", "fits"), [(json_skip.MAX_DEPTH, True), (json_skip.MAX_DEPTH + 1, False)])
def test_nesting_has_a_limit(monkeypatch: pytest.MonkeyPatch, levels: int, fits: bool) -> None:
    monkeypatch.setattr(json_skip, "_FIRST_WINDOW", 1024)
    text = b'{"x":%b%b}' % (b"[" * levels, b"]" * levels)
    if fits:
        assert abridge(text).cuts
    else:
        with pytest.raises(TooDeep):
            abridge(text)


def _size(value: Any) -> int:
    a = value.get("a")
    texts = [value.get("text"), a.get("text") if isinstance(a, dict) else None]
    if isinstance(a, dict) and isinstance(a.get("list"), list):
        texts += a["list"]
    return sum(len(text.encode()) for text in texts if isinstance(text, str))


def _is_readable(text: bytes) -> bool:
    """Whether orjson reads it, which refuses lone surrogates."""
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True
