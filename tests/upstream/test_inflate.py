"""Compressed bodies are inflated as far as they have come, whatever the cuts."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamError
from gateway.upstream.inflate import MAX_INFLATED_BYTES, PIECE_BYTES, AnswerInflater, inflating

TEXT = b"data: one\n\n" * 500


def raw(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


BODIES = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "two members": ("gzip", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])),
    "bytes behind the end": ("x-gzip", gzip.compress(TEXT) + b"\0\0"),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "deflate without a head": ("deflate", raw(TEXT)),
}


@pytest.mark.parametrize("body", BODIES)
@given(step=st.integers(1, 200))
def test_a_body_cut_anywhere_is_the_same_body(body: str, step: int) -> None:
    encoding, data = BODIES[body]
    inflater = AnswerInflater(encoding)
    pieces = [piece for start in range(0, len(data), step) for piece in inflater.feed(data[start : start + step])]
    assert b"".join(pieces) == TEXT


@pytest.mark.parametrize("size", [PIECE_BYTES - 1, PIECE_BYTES, 100 * PIECE_BYTES + 1])
def test_what_zlib_holds_back_comes_with_the_last_bytes(size: int) -> None:
    assert sum(map(len, AnswerInflater("gzip").feed(gzip.compress(b"x" * size)))) == size


def test_what_was_flushed_is_there_at_once() -> None:
    compressor = zlib.compressobj(wbits=31)
    inflater = AnswerInflater("gzip")
    for event in (b"data: one\n\n", b"data: two\n\n"):
        flushed = compressor.compress(event) + compressor.flush(zlib.Z_SYNC_FLUSH)
        assert b"".join(inflater.feed(flushed)) == event


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_one_read_has_a_limit(more: int, fits: bool) -> None:
    taken, faults = bytearray(), list[UpstreamError]()
    handler = inflating("GZIP", taken.extend, faults.append)
    assert list(handler(gzip.compress(b"x" * (MAX_INFLATED_BYTES + more))) or ())
    assert len(taken) <= MAX_INFLATED_BYTES
    assert (faults == []) is fits
    assert list(handler(b"nonsense") or ()) == []
    assert len(faults) <= 1


def test_identity_needs_no_inflating() -> None:
    taken = bytearray()
    assert inflating(" identity ", taken.extend, lambda error: None) == taken.extend
