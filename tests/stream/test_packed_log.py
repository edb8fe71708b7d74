"""A packed log is read like the log that it was made of, and takes hardly more bytes than its frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.endings import Ending
from gateway.stream import packed_log
from gateway.stream.log import StreamLog
from gateway.stream.packed_log import BLOCK_BYTES, BLOCK_FRAMES, Block, PackedLog, pack, size_of

PLENTY = 1 << 40


def log_of(frames: list[bytes], trimmed: int = 0) -> StreamLog:
    log = StreamLog("e1", 7, b"terminal", b"keepalive")
    log.extend(frames)
    log.trim(7 + trimmed)
    log.close(Ending.COMPLETED)
    return log


def packed(log: StreamLog) -> PackedLog:
    assert log.ending is not None
    return PackedLog(log.epoch, log.next_seq, log.terminal, log.keepalive, list(pack(log)), log.ending)


@given(
    st.lists(st.binary(max_size=12), max_size=30),
    st.integers(0, 30),
    st.integers(0, 40),
    st.integers(1, 8),
    st.integers(1, 20),
)
def test_it_reads_like_the_log_that_it_was_made_of(
    frames: list[bytes], trimmed: int, limit: int, block_frames: int, block_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_log, "BLOCK_FRAMES", block_frames)
        patch.setattr(packed_log, "BLOCK_BYTES", block_bytes)
        log = log_of(frames, trimmed)
        copy = packed(log)
    for name in ("epoch", "terminal", "keepalive", "first_seq", "next_seq", "bytes", "ending"):
        assert getattr(copy, name) == getattr(log, name), name
    assert len(copy) == len(log)
    assert copy.frames() == log.frames()
    for seq in range(log.first_seq, log.next_seq + 1):
        assert copy.read(seq, limit) == log.read(seq, limit)
        assert copy.bytes_from(seq) == log.bytes_from(seq)


@pytest.mark.parametrize("seq", [0, 8, 11])
def test_a_position_that_was_trimmed_or_does_not_exist_is_refused(seq: int) -> None:
    with pytest.raises(LookupError):
        packed(log_of([b"a", b"b", b"c"], trimmed=2)).read(seq, PLENTY)


def test_it_is_closed() -> None:
    with pytest.raises(ValueError, match="closed"):
        packed(log_of([b"a"])).append(b"b")


def test_of_no_frames_no_block_is_made() -> None:
    assert list(pack(log_of([]))) == []


def test_a_short_log_is_one_block_with_four_bytes_a_frame_and_four_more() -> None:
    blocks = list(pack(log_of([b"x" * 200] * 50)))
    assert [len(block) for block in blocks] == [50 * 204 + 4]
    assert [size_of(block) for block in blocks] == [50 * 200]


@pytest.mark.parametrize("size", [1, 200, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_a_long_log_is_packed_in_steps_of_limited_length(size: int) -> None:
    frames = [b"x" * size] * (BLOCK_FRAMES + 1 if size < BLOCK_BYTES else 3)
    log = log_of(frames)
    blocks = list(pack(log))
    assert len(blocks) > 1
    made = [len(block) for block in blocks if isinstance(block, bytes)]
    assert max(made, default=0) <= BLOCK_BYTES + 4 * (BLOCK_FRAMES + 1)
    assert packed(log).frames() == frames


def test_a_long_frame_is_neither_packed_nor_copied_when_it_is_read() -> None:
    short, long = b"x" * 200, b"y" * (BLOCK_BYTES + 1)
    log = log_of([short, long, long, short])
    blocks: list[Block] = list(pack(log))
    assert [size_of(block) for block in blocks] == [200, len(long), len(long), 200]
    copy = packed(log)
    assert copy.frames()[1] is long
    assert copy.read(9, 10)[0] is long
