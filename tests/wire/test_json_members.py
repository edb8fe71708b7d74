"""Members are exchanged where they stand; what is not exchanged keeps its bytes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.json_members import exchange, joined, members_of, size

VALUES = st.none() | st.integers() | st.text(max_size=8) | st.lists(st.integers(), max_size=3)
OBJECTS = st.dictionaries(st.sampled_from("abcdé\n") | st.text(max_size=3), VALUES, max_size=5)
CHANGES = st.dictionaries(st.sampled_from("abcx"), st.none() | st.just(b'"new"'), max_size=3)


@given(OBJECTS, CHANGES, st.booleans(), st.sampled_from([(",", ":"), (" , ", " : ")]))
def test_an_exchange_changes_what_it_says_and_nothing_else(
    value: dict[str, Any], changes: dict[str, bytes | None], ascii_only: bool, separators: tuple[str, str]
) -> None:
    content = json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode()
    pieces = exchange(len(content), members_of(content), changes)
    changed = joined(content, pieces)
    wanted = {**value, **{name: "new" for name, new in changes.items() if new is not None}}
    wanted = {name: kept for name, kept in wanted.items() if name not in changes or changes[name] is not None}
    assert json.loads(changed) == wanted
    assert len(changed) == size(pieces)
    kept_names = [name for name in value if name in wanted]
    assert [name for name in json.loads(changed) if name in value] == kept_names


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1]', b'{"a":[1}'])
def test_what_is_no_object_cannot_be_taken_apart(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        members_of(content)


def test_a_name_in_escapes_is_the_name() -> None:
    assert [member.name for member in members_of(b'{"mod\\u0065l":1,"mo\\u4e2ddel":2}')] == ["model", "mo\u4e2ddel"]


def test_a_number_of_any_length_is_one_value() -> None:
    content = b'{"a":' + b"1" * 10_000 + b',"b":1e999}'
    assert [content[m.start : m.end] for m in members_of(content)] == [b"1" * 10_000, b"1e999"]
