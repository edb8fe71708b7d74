"""JSON that is kept takes no more memory than its bytes, which orjson's results do."""

import tracemalloc

from gateway.wire import json_text

COUNT = 100
OBJECT_BYTES = 100  # at most, for an object of bytes and its place in a list


def test_it_is_the_same_text_in_as_much_memory_as_it_takes() -> None:
    value = {"text": "x" * 600}
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = [json_text.dumps_to_keep(value) for _ in range(COUNT)]
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert set(kept) == {json_text.dumps(value)}
    assert taken < COUNT * (len(kept[0]) + OBJECT_BYTES)
