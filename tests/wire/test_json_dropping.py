"""What is left of a JSON value without some members is what is left of the value that was read."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.body_changes import BodyChanges
from gateway.wire.json_dropping import kept_pieces
from gateway.wire.json_members import joined

NAMES = st.sampled_from(["a", "b", "c", "n" * 300])
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.just("x" * 2000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)
PATHS = st.lists(
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3
)


@given(VALUES, PATHS, st.sampled_from([None, 1]))
def test_what_is_left_is_the_value_without_what_the_paths_lead_to(
    value: Any, paths: list[tuple[str, ...]], indent: int | None
) -> None:
    text = json.dumps(value, indent=indent).encode()
    steps = kept_pieces(b"[" + text + b"]", 1, len(text) + 1, paths)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            pieces = end.value
            break
    changes = BodyChanges(drop=tuple(("v", *path) for path in paths))
    assert json.loads(joined(b"[" + text + b"]", pieces)) == changes.apply({"v": value})["v"]
