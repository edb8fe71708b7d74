"""The changes that an upstream needs in the body of a request."""

import copy
from typing import Any

import pytest

from gateway.dialects.body_changes import BodyChanges


def changed(body: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """The body after these changes; the one that came must stay as it was."""
    changes = BodyChanges.build(settings.get("rename", {}), settings.get("defaults", {}), settings.get("drop", ()))
    assert changes is not None
    before = copy.deepcopy(body)
    after = changes.apply(body)
    assert body == before
    return after


def test_no_setting_means_no_changes() -> None:
    assert BodyChanges.build({}, {}, ()) is None


@pytest.mark.parametrize(
    ("body", "settings", "expected"),
    [
        ({"a": 1, "b": 2}, {"drop": ["a"]}, {"b": 2}),
        ({"b": 2}, {"drop": ["a", "a.b", "b.c"]}, {"b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"drop": ["a.b"]}, {"a": {"c": 2}}),
        ({"a": [{"b": 1}, {"c": 2}, 3, [{"b": 4}]]}, {"drop": ["a.b"]}, {"a": [{}, {"c": 2}, 3, [{}]]}),
        ({"tools": [{"f": {"strict": True}}]}, {"drop": ["tools.f.strict"]}, {"tools": [{"f": {}}]}),
        ({"a": None}, {"drop": ["a.b"]}, {"a": None}),
        ({"old": 5}, {"rename": {"old": "new"}}, {"new": 5}),
        ({"old": 5, "new": 6}, {"rename": {"old": "new"}}, {"new": 6}),
        ({"a": 1, "b": 2}, {"rename": {"a": "b", "b": "a"}}, {"b": 1, "a": 2}),
        ({"old": None}, {"rename": {"old": "new"}}, {"new": None}),
        ({}, {"defaults": {"a": [1]}}, {"a": [1]}),
        ({"a": None}, {"defaults": {"a": 1}}, {"a": None}),
        ({"old": 5}, {"rename": {"old": "new"}, "defaults": {"new": 9}}, {"new": 5}),
        ({}, {"rename": {"old": "new"}, "defaults": {"new": 9}}, {"new": 9}),
        ({"old": 5}, {"rename": {"old": "new"}, "drop": ["new"]}, {}),
        ({}, {"defaults": {"a": 1}, "drop": ["a"]}, {}),
    ],
)  # fmt: skip
def test_fields_are_renamed_then_filled_in_then_dropped(
    body: dict[str, Any], settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert changed(body, **settings) == expected


def test_what_does_not_change_is_not_copied() -> None:
    messages = [{"role": "user", "content": "x" * 1000}]
    assert changed({"messages": messages, "a": 1}, drop=["a"])["messages"] is messages
