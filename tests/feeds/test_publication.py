"""Published bodies: short and long events are read alike, whatever stands in their texts, and in short steps."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ClientError
from gateway.feeds.publication import MAX_EVENTS, BodyKind, NewEvent, Publication, groups
from gateway.feeds.remembered_ids import RememberedIds
from gateway.feeds.source_events import MAX_LINES
from gateway.stream.view import SOURCE_ID
from gateway.wire import sse

LIMIT = 2 << 20
FILLING = "x" * 40_000  # makes an event long, so that it is read in parts
MAX_STEP = 0.02  # seconds of processor time
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def read(kind: BodyKind, body: bytes) -> tuple[list[NewEvent], ClientError | None]:
    publication = Publication(kind, body, LIMIT)
    for _ in publication.steps():
        pass
    return publication.take(), publication.fault


def data_of(event: NewEvent) -> str:
    """The data as a client sees it."""
    decoder = sse.BlockDecoder()
    [block] = decoder.feed(event.frame)
    assert decoder.finish() == b""
    found = sse.decode(block)
    assert found.name is None
    assert found.data is not None
    return found.data.decode()


def as_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(TEXTS, st.booleans(), st.sampled_from(["", FILLING]))
def test_any_text_is_one_event_whose_data_is_the_text(text: str, is_ascii: bool, filling: str) -> None:
    body = json.dumps({"data": text + filling + text}, ensure_ascii=is_ascii).encode()
    [event], fault = read("json", body)
    assert fault is None
    assert data_of(event) == as_lines(text + filling + text)


@given(st.recursive(st.none() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_any_other_value_is_its_json_on_one_line(value: object) -> None:
    for filling in ("", FILLING):
        wrapped = [value, filling]
        text = json.dumps({"data": wrapped}, indent=1, ensure_ascii=False).encode()
        [event], fault = read("json", text)
        assert fault is None
        assert "\n" not in data_of(event)
        assert json.loads(data_of(event)) == wrapped


@given(st.lists(st.tuples(TEXTS, st.sampled_from(["", "tick"]), st.sampled_from(["", "id 1", "ä"])), max_size=5))
def test_lines_and_server_sent_events_give_the_same_frames(events: list[tuple[str, str, str]]) -> None:
    listed = [{"data": as_lines(data), "event": name, "id": known} for data, name, known in events]
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in listed)
    blocks = b"".join(
        b"event: %b\nid: %b\n" % (event["event"].encode(), event["id"].encode()) + sse.frame(event["data"].encode())
        for event in listed
    )
    assert read("ndjson", lines)[0] == read("sse", blocks)[0]


def test_the_id_of_an_event_stands_before_it_in_its_frame() -> None:
    [event], _ = read("json", b'{"data": "x", "event": "e", "id": "7"}')
    assert event == NewEvent(SOURCE_ID + b"7\nevent: e\ndata: x\n\n", "7")


@pytest.mark.parametrize("kind", ["json", "sse"])
def test_the_data_of_an_event_has_a_limited_number_of_lines(kind: BodyKind) -> None:
    for lines, is_good in ((MAX_LINES, True), (MAX_LINES + 1, False)):
        text = "\n".join(["y"] * lines)
        body = json.dumps({"data": text}).encode() if kind == "json" else sse.frame(text.encode())
        events, fault = read(kind, body)
        assert (len(events), fault is None) == (int(is_good), is_good)


def worst_bodies() -> list[tuple[str, BodyKind, bytes]]:
    size = LIMIT - 100
    return [
        ("empty lists", "json", b'{"data": [%b[]]}' % (b"[]," * 60_000)),
        ("line ends", "json", b'{"data": "%b"}' % (b"\\n" * (size // 2))),
        ("many short events", "ndjson", b'{"data":1}\n' * MAX_EVENTS),
        ("many objects", "ndjson", b'{"data":{"a":[1,2,3],"b":{"c":null}},"id":"x"}\n' * MAX_EVENTS),
        ("blanks", "ndjson", b" \t\r\n" * (size // 4)),
        ("comments", "sse", b": c\n" * (size // 4)),
        ("fields without data", "sse", b"event: x\n\n" * (size // 10)),
        ("short events", "sse", b"data: 1\n\n" * MAX_EVENTS),
    ]


@pytest.mark.parametrize(
    ("kind", "body"), [entry[1:] for entry in worst_bodies()], ids=[e[0] for e in worst_bodies()]
)
def test_no_step_takes_long(kind: BodyKind, body: bytes) -> None:
    longest = []
    for _ in range(3):  # another program on the machine may disturb one try
        steps, spent = Publication(kind, body, LIMIT).steps(), [0.0]
        while True:
            began = time.thread_time()
            try:
                next(steps)
            except StopIteration:
                break
            finally:
                spent.append(time.thread_time() - began)
        longest.append(max(spent))
        if longest[-1] < MAX_STEP:
            return
    pytest.fail(f"a step takes {min(longest):.3f} s")


def test_groups_keep_the_order_and_their_limits() -> None:
    events = [NewEvent(b"x" * size, None) for size in (5, 5, 5, 30, 1, 1, 1, 1)]
    found = [[len(event.frame) for event in group] for group in groups(events, 3, 12)]
    assert found == [[5, 5], [5], [30], [1, 1, 1], [1]]
    assert list(groups([], 3, 12)) == []


def test_ids_are_remembered_up_to_a_number_and_the_oldest_is_forgotten_first() -> None:
    ids = RememberedIds(2, {"a": 0, "b": 1, "c": 2})
    assert ids.all() == {"b": 1, "c": 2}
    ids.add("d", 3)
    assert (ids.find("b"), ids.find("c"), ids.find("d"), len(ids)) == (None, 2, 3, 2)
    none = RememberedIds(0, {})
    none.add("a", 0)
    assert none.find("a") is None
