"""The body of a request for an upstream that wants other fields: what changes, and what keeps its very bytes."""

import json
from typing import Any

import pytest

from gateway.dialects.body_changes import BodyChanges
from gateway.dialects.request_body import KEPT_WHOLE_BYTES, BodyReading, RequestBody

BIG = b"123456789012345678901234567890"
LONG = b"x" * (KEPT_WHOLE_BYTES + 1)


def rewritten(body: RequestBody, own: dict[str, bytes | None], **settings: Any) -> bytes:
    changes = BodyChanges.build(settings.get("rename", {}), settings.get("defaults", {}), settings.get("drop", ()))
    content = body.rewrite(own, changes or BodyChanges())
    return content if isinstance(content, bytes) else b"".join(bytes(part) for part in content.buffers())


def read_in_steps(content: bytes) -> RequestBody:
    reading = BodyReading(content)
    while not reading.step():
        pass
    return reading.body()


@pytest.fixture(params=["at once", "in steps"])
def read(request: pytest.FixtureRequest) -> Any:
    return RequestBody.read if request.param == "at once" else read_in_steps


@pytest.mark.parametrize(
    ("content", "own", "settings", "expected"),
    [
        (b'{"a":1,"b": 1.0}', {"a": b"2"}, {}, b'{"a":2,"b":1.0}'),
        (b'{"a":1,"b":2}', {"a": None}, {}, b'{"b":2}'),
        (b'{"a":1}', {"a": None}, {}, b"{}"),
        (b"{}", {"a": b"2"}, {}, b'{"a":2}'),
        (b'{"a":1,"a":2}', {}, {}, b'{"a":2}'),
        (b'{"a":%b}' % BIG, {}, {"rename": {"a": "b"}}, b'{"b":%b}' % BIG),
        (b'{"a":%b}' % BIG, {}, {"defaults": {"c": [1]}}, b'{"a":%b,"c":[1]}' % BIG),
        (b'{"a":{"b":1,"c":2}, "d": 1e3}', {}, {"drop": ["a.b"]}, b'{"a":{"c":2},"d":1e3}'),
        (b'{"a":{ "b" : 1.0 }}', {}, {"drop": ["a.c"]}, b'{"a":{ "b" : 1.0 }}'),
        (b'{"a":[{"b":1},{"c":%b}]}' % BIG, {}, {"drop": ["a.b"]}, b'{"a":[{},{"c":%b}]}' % BIG),
        (b'{"a":1,"b":2}', {"a": b'{"c":1,"d":2}'}, {"drop": ["a.c"]}, b'{"a":{"d":2},"b":2}'),
        (b'{"a":1}', {"a": None}, {"defaults": {"a": 5}}, b'{"a":5}'),
        (b'{"a":1,"b":2}', {}, {"drop": ["a", "x", "b.c"]}, b'{"b":2}'),
        (b'{"\\u0061":1}', {}, {"rename": {"a": "\u00e9"}}, b'{"\xc3\xa9":1}'),
        (b'{"a":"\\ud800","b":{"c":"\\ud800","d":1}}', {}, {"drop": ["b.d"]},
         b'{"a":"\\ud800","b":{"c":"\\ud800"}}'),
    ],
)  # fmt: skip
def test_only_what_has_to_change_is_written_anew(
    read: Any, content: bytes, own: dict[str, bytes | None], settings: dict[str, Any], expected: bytes
) -> None:
    assert rewritten(read(content), own, **settings) == expected


def test_a_long_body_is_not_copied_and_keeps_its_bytes(read: Any) -> None:
    content = b'{"model":"m","messages":[{"name":"n","content":"%b"}],"seed": %b}' % (LONG, BIG)
    after = rewritten(read(content), {"model": b'"o"'}, drop=["messages.name"], rename={"seed": "random_seed"})
    assert after == b'{"model":"o","messages":[{"content":"%b"}],"random_seed":%b}' % (LONG, BIG)


def test_two_upstreams_get_their_own_changes_of_one_body(read: Any) -> None:
    body = read(b'{"a":{"b":1,"c":2}}')
    assert rewritten(body, {}, drop=["a.b"]) == b'{"a":{"c":2}}'
    assert rewritten(body, {}, drop=["a.c"]) == b'{"a":{"b":1}}'
    assert json.loads(body.content) == {"a": {"b": 1, "c": 2}}


def test_pieces_are_read_only_where_a_path_leads_into_them() -> None:
    places: list[Any] = []

    def value_of(piece: Any) -> Any:
        places.append(piece)
        return {"c": 1, "d": 2}

    changes = BodyChanges.build({"old": "new"}, {"z": 1}, ["new.c", "b", "absent.x"])
    assert changes is not None
    after = changes.apply_to_pieces({"a": (0, 5), "b": (5, 9), "old": (9, 20)}, value_of, {})
    assert after == {"a": (0, 5), "new": b'{"d":2}', "z": b"1"}
    assert places == [(9, 20)]
