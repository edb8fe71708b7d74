"""The decoder gives the events of the WHATWG text, wherever the reads fall, and refuses what is too large."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.choices.frames import DONE
from gateway.wire import sse
from tests.wire.reference import Dispatched, events_of

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
VALUES = st.one_of(
    st.binary(max_size=12).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b"")),
    st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=8).map(str.encode),
    st.sampled_from([b"", b" ", b"  x", b":", b"a\0b", b"1000", b"12x", b"[DONE]", b"\xef\xbb\xbf", b"9" * 5000]),
)
FIELDS = st.sampled_from([b"data", b"data", b"data", b"event", b"id", b"retry", b"", b"Data", b"dat", b"\xffdata"])
LINES = st.one_of(
    st.tuples(FIELDS, st.sampled_from([b":", b": "]), VALUES).map(b"".join),
    st.sampled_from([b"", b"", b"", b"data", b"id", b":", b": keepalive", b"nonsense"]),
)
STREAMS = st.builds(
    lambda bom, lines, rest: bom + b"".join(line + end for line, end in lines) + rest,
    st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xef\xbb", b"\xef", b"\xef\xbb\xbf\xef\xbb\xbf"]),
    st.lists(st.tuples(LINES, LINE_ENDS), max_size=14),
    st.sampled_from([b"", b"data: unfinished", b"id: 7", b"\xef\xbb"]),
)


def blocks_of(reads: Iterable[bytes], decoder: sse.BlockDecoder | None = None) -> list[bytes]:
    decoder = decoder or sse.BlockDecoder()
    return [block for read in reads for block in decoder.feed(read)]


def dispatched(blocks: Iterable[bytes]) -> list[Dispatched]:
    """The events that a client dispatches for these blocks: an id stays for later blocks; no data is no event."""
    events: list[Dispatched] = []
    last_id = b""
    for event in map(sse.decode, blocks):
        if event.id is not None:
            last_id = event.id
        if event.data is not None:
            events.append(Dispatched(event.data, event.name, last_id))
    return events


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def single_bytes(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


def halves(stream: bytes) -> list[list[bytes]]:
    return [[stream[:at], stream[at:]] for at in range(len(stream) + 1)]


@given(STREAMS, st.lists(st.integers(0, 1 << 16), max_size=6))
def test_any_stream_in_any_reads_gives_the_events_of_the_reference(stream: bytes, places: list[int]) -> None:
    expected = events_of(stream)
    assert dispatched(blocks_of([stream])) == expected
    assert dispatched(blocks_of(cut(stream, places))) == expected
    assert dispatched(blocks_of(single_bytes(stream))) == expected


@given(STREAMS, st.lists(st.integers(0, 1 << 16), max_size=6))
def test_the_blocks_do_not_depend_on_the_reads(stream: bytes, places: list[int]) -> None:
    blocks = blocks_of([stream])
    assert blocks_of(cut(stream, places)) == blocks
    for block in blocks:
        assert block.endswith(b"\n\n")
        assert block.find(b"\n\n") == len(block) - 2
        assert not block.startswith(b"\n")
        assert b"\r" not in block


@given(STREAMS, st.lists(st.integers(0, 1 << 16), max_size=6))
def test_at_a_boundary_nothing_is_held_and_the_next_event_is_taken_as_it_comes(
    stream: bytes, places: list[int]
) -> None:
    decoder = sse.BlockDecoder()
    for read in cut(stream, places):
        decoder.feed(read)
    next_event = b"data: next\n\n"
    if decoder.at_boundary:
        assert decoder.feed(next_event)[0] is next_event
        assert decoder.finish() == b""


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\n\n\n"])
def test_behind_a_whole_event_is_a_boundary_and_within_one_is_none(end: bytes) -> None:
    for read in (b"data: a", b"data: a" + end + b"data: b", b"data: a\r\r"):
        decoder = sse.BlockDecoder()
        decoder.feed(read)
        assert not decoder.at_boundary
    decoder.feed(b"\ndata: c" + end)
    assert decoder.at_boundary


@given(st.lists(VALUES.filter(lambda value: b"\0" not in value), min_size=1), st.data())
def test_canonical_blocks_come_back_as_the_very_bytes(values: list[bytes], data: st.DataObject) -> None:
    frames = [sse.frame(value) for value in values]
    stream = b"".join(frames)
    assert blocks_of(cut(stream, data.draw(st.lists(st.integers(0, len(stream)))))) == frames
    assert all(map(sse.is_frame, frames))


def test_one_whole_event_in_one_read_is_not_copied() -> None:
    decoder = sse.BlockDecoder()
    decoder.feed(b"data: first\n\n")
    read = b"data: second\n\n"
    assert decoder.feed(read)[0] is read


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_each_line_end_ends_lines_in_every_cut(end: bytes) -> None:
    stream = b"data: a" + end + b"data: b" + end + end + b"data: c" + end + end
    for reads in halves(stream):
        assert blocks_of(reads) == [b"data: a\ndata: b\n\n", b"data: c\n\n"]


def test_a_crlf_cut_in_the_middle_is_one_line_end() -> None:
    decoder = sse.BlockDecoder()
    reads = [b"data: a\r", b"\ndata: b\r", b"\n", b"\r", b"", b"\n", b"data: c\r\n\r\n"]
    assert [decoder.feed(read) for read in reads] == [[], [], [], [b"data: a\ndata: b\n\n"], [], [], [b"data: c\n\n"]]


def test_an_empty_read_within_a_crlf_changes_nothing() -> None:
    assert blocks_of([b"data: a\r", b"", b"\ndata: b\r\n\r\n"]) == [b"data: a\ndata: b\n\n"]


def test_a_bom_is_taken_off_the_start_and_only_there() -> None:
    bom = b"\xef\xbb\xbf"
    for reads in halves(bom + b"data: a\n\n" + bom + b"data: b\n\n"):
        assert blocks_of(reads) == [b"data: a\n\n", bom + b"data: b\n\n"]


def test_a_stream_that_only_begins_like_a_bom_keeps_its_bytes() -> None:
    assert blocks_of(single_bytes(b"\xef\xbbx\n\n")) == [b"\xef\xbbx\n\n"]


def test_an_unfinished_event_is_dropped_and_told_as_the_rest() -> None:
    decoder = sse.BlockDecoder()
    assert decoder.feed(b"data: a\n\ndata: [DONE]\n") == [b"data: a\n\n"]
    assert decoder.finish() == b"data: [DONE]\n"
    assert decoder.finish() == b""


def test_half_a_bom_is_part_of_the_rest() -> None:
    decoder = sse.BlockDecoder()
    assert decoder.feed(b"\xef\xbb") == []
    assert decoder.finish() == b"\xef\xbb"


def test_an_event_at_the_limit_passes_in_every_cut() -> None:
    block = b"data: 0123456789\n\n"
    for reads in [*halves(b"\n\n" + block + block), single_bytes(block + block)]:
        assert blocks_of(reads, sse.BlockDecoder(len(block))) == [block, block]


@pytest.mark.parametrize("unfinished", [False, True])
@pytest.mark.parametrize("before", [b"", b"data: a\n\n"])
def test_an_event_one_byte_over_the_limit_is_refused_in_every_cut(before: bytes, unfinished: bool) -> None:
    block = b"data: 0123456789\n\n"
    stream = before + (b"data: " + b"x" * len(block) if unfinished else block)
    for reads in [*halves(stream), single_bytes(stream)]:
        with pytest.raises(sse.EventTooLarge, match=f"more than {len(block) - 1} bytes"):
            blocks_of(reads, sse.BlockDecoder(len(block) - 1))


def test_the_limit_counts_lines_as_they_are_relayed() -> None:
    block = b"data: 0123456789\n\n"
    assert blocks_of([block.replace(b"\n", b"\r\n")], sse.BlockDecoder(len(block))) == [block]


def test_blank_lines_alone_do_not_grow_the_buffer() -> None:
    decoder = sse.BlockDecoder(4)
    assert blocks_of([b"\n" * 1000, b"\r\n" * 1000, *[b"\n"] * 1000], decoder) == []
    assert decoder.finish() == b""


def test_a_large_event_in_one_byte_reads_comes_whole() -> None:
    block = sse.frame(b"x" * 200_000)
    assert blocks_of(single_bytes(block)) == [block]


def test_the_data_lines_of_an_event_are_joined() -> None:
    assert sse.decode(b"data: a\ndata\ndata:b\ndata:  c\n\n").data == b"a\n\nb\n c"


def test_an_empty_data_line_is_an_event_and_no_data_line_is_none() -> None:
    assert sse.decode(b"data\n\n").data == b""
    assert sse.decode(b": keepalive\nevent: ping\nid: 3\nretry: 20\n\n") == sse.Event(None, b"ping", b"3", 20)


@pytest.mark.parametrize("value", [b"", b"-1", b"1.5", b"1x", b"\xd9\xa3", b"9" * 5000])
def test_a_retry_that_is_no_number_of_milliseconds_is_ignored(value: bytes) -> None:
    assert sse.decode(b"retry: " + value + b"\n\n").retry is None


def test_a_retry_of_the_most_digits_is_taken_and_one_more_is_not() -> None:
    assert sse.decode(b"retry: %b\n\n" % (b"9" * sse.MAX_RETRY_DIGITS)).retry == 10**sse.MAX_RETRY_DIGITS - 1
    assert sse.decode(b"retry: %b\n\n" % (b"9" * (sse.MAX_RETRY_DIGITS + 1))).retry is None


def test_an_id_with_a_nul_is_ignored_and_an_empty_id_is_one() -> None:
    assert sse.decode(b"id: a\nid: b\0c\ndata: x\n\n").id == b"a"
    assert sse.decode(b"id\ndata: x\n\n").id == b""


def test_an_empty_name_is_none() -> None:
    assert sse.decode(b"event: \ndata: x\n\n").name is None


@pytest.mark.parametrize(
    "block",
    [
        b"data:x\n\n",
        b"data\n\n",
        b"data: a\ndata: b\n\n",
        b"id: 1\ndata: a\n\n",
        b"data: a\nid: 1\n\n",
        b"event: a\ndata: b\n\n",
        b": keepalive\n\n",
        b"\xef\xbb\xbfdata: a\n\n",
    ],
)
def test_only_one_data_line_with_its_space_is_a_frame(block: bytes) -> None:
    assert not sse.is_frame(block)
    assert sse.is_frame(b"data: a\n\n")
    assert sse.is_frame(DONE)


@given(st.binary(max_size=30).map(lambda raw: raw.replace(b"\r", b"")), st.sampled_from([None, b"gap", b"end"]))
def test_a_frame_decodes_to_what_it_was_made_of(data: bytes, name: bytes | None) -> None:
    block = sse.frame(data, name)
    assert blocks_of([block]) == [block]
    assert sse.decode(block) == sse.Event(data, name)


def test_a_comment_is_no_event_for_anyone() -> None:
    assert sse.comment("keepalive") == sse.KEEPALIVE == b": keepalive\n\n"
    assert events_of(sse.KEEPALIVE) == []
    assert sse.decode(sse.KEEPALIVE) == sse.Event(None)


@pytest.mark.parametrize("size", range(1, 40))
def test_long_events_are_cut_like_short_ones_wherever_the_reads_fall(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(sse, "_LONG_BYTES", 8)
    stream = b"data: a\n\n: x\n\ndata: " + b"b" * 50 + b"\n\n\n\ndata: c\ndata: d\n\ndata: " + b"e" * 30
    decoder, blocks = sse.BlockDecoder(60), list[bytes]()
    for start in range(0, len(stream), size):
        blocks += decoder.feed(stream[start : start + size])
    assert blocks == [b"data: a\n\n", b": x\n\n", b"data: " + b"b" * 50 + b"\n\n", b"data: c\ndata: d\n\n"]
    assert decoder.finish() == b"data: " + b"e" * 30


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_a_long_event_may_be_as_large_as_the_limit(monkeypatch: pytest.MonkeyPatch, more: int, fits: bool) -> None:
    monkeypatch.setattr(sse, "_LONG_BYTES", 8)
    block = b"data: " + b"b" * (32 + more) + b"\n\n"
    decoder, blocks = sse.BlockDecoder(40), list[bytes]()
    try:
        for start in range(0, len(block), 3):
            blocks += decoder.feed(block[start : start + 3])
    except sse.EventTooLarge:
        assert not fits
    else:
        assert blocks == [block]
        assert fits


# --- events over the limit


LIMIT = 40
LARGE = b"data: " + b"x" * LIMIT


def discarded(data: bytes, sizes: list[int]) -> list[bytes]:
    decoder, blocks, at = sse.BlockDecoder(LIMIT, discards=True), [], 0
    for size in (*sizes, len(data)):
        blocks += decoder.feed(data[at : at + size])
        at += size
    return blocks


@pytest.mark.parametrize(
    ("event", "remains"),
    [
        (LARGE + b"\n\n", b"\n"),
        (b"id: 3\n" + LARGE + b"\n\n", b"id: 3\n\n"),
        (LARGE + b"\nid: 3\n\n", b"id: 3\n\n"),
        (b"id: 2\n" + LARGE + b"\nid:3\nretry: 7\n\n", b"id:3\n\n"),
        (b"id: 2\n" + LARGE + b"\nid\n\n", b"id\n\n"),
        (b"data: id: 4\n" * 9 + b"\n", b"\n"),
        (b"x\n" * 30 + b"\n", b"\n"),
        (b": " + b"y" * 99 + b"\n\n", b"\n"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_over_the_limit_is_discarded_up_to_its_blank_line_wherever_the_reads_fall(
    event: bytes, remains: bytes, end: bytes
) -> None:
    data = (b"data: a\n\n" + event + b"data: b\n\ndata: c\n\n").replace(b"\n", end) + b":"
    for cut in range(len(data)):
        blocks = discarded(data, [cut])
        assert blocks == [b"data: a\n\n", remains, b"data: b\n\n", b"data: c\n\n"]
        assert [isinstance(block, sse.Remains) for block in blocks] == [False, True, False, False]
    assert discarded(data, [1] * len(data)) == blocks


@given(st.lists(st.integers(0, 3 * LIMIT), max_size=12), st.lists(st.integers(1, 50), max_size=20))
def test_events_of_any_sizes_are_kept_or_discarded_in_their_order(sizes: list[int], reads: list[int]) -> None:
    blocks = discarded(b"".join(b"id: %d\ndata: %b\n\n" % (n, b"z" * size) for n, size in enumerate(sizes)), reads)
    assert [sse.decode(block).id for block in blocks] == [b"%d" % n for n in range(len(sizes))]
    for block, size in zip(blocks, sizes, strict=True):
        is_over = len(b"id: 0\ndata: \n\n") + (int(sse.decode(block).id or b"0") > 9) + size > LIMIT
        assert isinstance(block, sse.Remains) is is_over


def test_an_event_of_many_megabytes_is_discarded() -> None:
    decoder = sse.BlockDecoder(3 << 20, discards=True)
    assert decoder.feed(b"id: 7\ndata: ") == []
    for _ in range(64):
        assert decoder.feed(b"x" * (1 << 17)) == []
    assert decoder.feed(b"\n\ndata: next\n\n") == [b"id: 7\n\n", b"data: next\n\n"]
