"""An object that is read in steps is accepted exactly if it is JSON, and every member is where it says."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire import json_outline
from gateway.wire.json_members import members_of
from gateway.wire.json_outline import NotAnObject, Outline, OutlineReader, StrayElement, TooDeep

MAX_DEPTH = 20


def outline_of(content: bytes, lists_of_objects: tuple[str, ...] = ()) -> Outline:
    reader = OutlineReader(bytearray(content), MAX_DEPTH, lists_of_objects)
    while not reader.step():
        pass
    return reader.outline()


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps and pieces so short that small objects need many of them."""
    monkeypatch.setattr(json_outline, "STEP_BYTES", 16)
    monkeypatch.setattr(json_outline, "STEP_TOKENS", 3)
    monkeypatch.setattr(json_outline, "PIECE_BYTES", 24)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=5),
    max_leaves=30,
)
OBJECTS = st.dictionaries(st.text(max_size=6), VALUES, max_size=6)
SPELLINGS = st.tuples(st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]))


def spelled(value: Any, spelling: tuple[bool, tuple[str, str]]) -> bytes:
    return json.dumps(value, ensure_ascii=spelling[0], separators=spelling[1]).encode("utf-8", "surrogatepass")


@pytest.mark.usefixtures("small_steps")
class TestInSmallSteps:
    @given(OBJECTS, SPELLINGS)
    def test_every_object_is_read_with_its_members(self, value: Any, spelling: Any) -> None:
        content = spelled(value, spelling)
        outline = outline_of(content)
        assert [(m.name, m.at, m.start) for m in outline.members] == [
            (m.name, m.at, m.start) for m in members_of(content)
        ]
        for member in outline.members:
            assert json.loads(content[member.start : member.end]) == value[member.name]
        assert outline.document.keys() == value.keys()

    @given(OBJECTS, SPELLINGS, st.data())
    def test_what_is_no_json_is_refused(self, value: Any, spelling: Any, data: st.DataObject) -> None:
        content = bytearray(spelled(value, spelling))
        at = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(["drop", "double", "comma", "bracket", "zero"]))
        piece = {"drop": b"", "double": content[at : at + 1] * 2, "comma": b",", "bracket": b"]", "zero": b"\0"}[how]
        content[at : at + 1] = piece
        assert _is_accepted(bytes(content)) == _is_object(bytes(content))

    @pytest.mark.parametrize("comma", ["[1,,%s]", "[%s,]", "[,%s]", '{"a":1,%s,}', '{,"a":%s}', '{"a":[%s,],"b":1}'])
    def test_a_comma_too_many_is_found_wherever_the_pieces_are_cut(self, comma: str) -> None:
        for length in range(60):
            inner = comma % (f'"{"x" * length}"' if "{" not in comma[:1] else f'"{"x" * length}":2')
            with pytest.raises(ValueError, match=r"."):
                outline_of(f'{{"k":{inner},"l":"{"y" * 30}"}}'.encode())


def _is_accepted(content: bytes) -> bool:
    try:
        outline_of(content)
    except ValueError:
        return False
    return True


def _is_object(content: bytes) -> bool:
    """Whether Python's own reader takes the bytes as an object."""
    try:
        return isinstance(json.loads(content.decode(), parse_constant=lambda name: 1 / 0), dict)
    except (ValueError, ZeroDivisionError):
        return False


def test_a_long_string_is_left_out_but_for_its_beginning() -> None:
    text, image = "a" * 5000, "data:image/png;base64," + "A" * 9000
    outline = outline_of(orjson.dumps({"text": text, "image": image, "short": "b" * 1000}))
    assert outline.document == {"text": text[:128], "image": image[:128], "short": "b" * 1000}


def test_the_beginning_of_a_long_string_ends_before_its_first_escape() -> None:
    outline = outline_of(b'{"a":"' + b"xy\\n" + b"z" * 5000 + b'","b":"' + "é".encode() * 3000 + b'"}')
    assert outline.document == {"a": "xy", "b": ""}


def test_an_object_of_many_short_values_has_stand_ins_for_its_long_members() -> None:
    content = orjson.dumps(
        {"model": "m", "list": [{"a": 1}] * 20_000, "map": {str(i): i for i in range(20_000)}, "n": 1}
    )
    outline = outline_of(content)
    assert outline.document == {"model": "m", "list": [{}], "map": {}, "n": 1}
    for member in outline.members:
        assert orjson.loads(content[member.start : member.end]) == orjson.loads(content)[member.name]


@pytest.mark.parametrize(
    ("content", "index"),
    [
        (b'{"messages":[1,1,1', 0),
        (b'{"a":1,"messages":[{},{},"x"', 2),
        (b'{"messages":[{"x":[1]}, [', 1),
        (b'{"messages":[{}, null]}', 1),
    ],
)
def test_the_first_element_that_is_no_object_ends_the_reading(content: bytes, index: int) -> None:
    with pytest.raises(StrayElement) as caught:
        outline_of(content + b" " * 500_000, ("messages",))
    assert (caught.value.name, caught.value.index) == ("messages", index)
    assert outline_of(b'{"others":[1,{}],"messages":[{"a":[1]}],"b":{"messages":[1]}}', ("messages",))


@pytest.mark.parametrize("content", [b"", b" ", b"[]", b"1", b'"x"', b"null", b" " * 100 + b"{}"])
def test_what_does_not_begin_as_an_object_is_none(content: bytes) -> None:
    with pytest.raises(NotAnObject):
        outline_of(content)


def test_the_depth_is_limited_exactly() -> None:
    assert outline_of(b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}")
    with pytest.raises(TooDeep):
        outline_of(b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}")


def test_the_members_are_limited_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_outline, "MAX_MEMBERS", 3)
    assert len(outline_of(b'{"a":1,"b":2,"c":3}').members) == 3
    with pytest.raises(ValueError, match="members"):
        outline_of(b'{"a":1,"b":2,"c":3,"d":4}')


def test_the_strings_and_brackets_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_outline, "MAX_TOKENS", 5)
    assert outline_of(b'{"a":[1,2]}')
    with pytest.raises(ValueError, match="more than 5"):
        outline_of(b'{"a":[1,"b",[]]}')
