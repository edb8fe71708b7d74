"""A coded body is inflated in bounded pieces, whatever the reads that it comes in, and a broken one is told."""

import gzip
import zlib
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.content_coding import MAX_MEMBERS, PIECE_BYTES, BrokenContent, Inflater, inflater_for


def raw(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


CODERS: Mapping[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "raw deflate": raw}


def inflated(coding: str, content: bytes, read: int) -> list[bytes]:
    inflater = Inflater(coding)
    pieces = [piece for at in range(0, len(content), read) for piece in inflater.feed(content[at : at + read])]
    inflater.end()
    return pieces


@pytest.mark.parametrize("coder", CODERS)
@given(data=st.binary(max_size=300) | st.integers(0, 400_000).map(bytes), read=st.sampled_from([1, 7, 1000, 10**6]))
def test_what_was_coded_is_what_comes_out_in_short_pieces(coder: str, data: bytes, read: int) -> None:
    pieces = inflated(coder.removeprefix("raw "), CODERS[coder](data), read)
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)


@pytest.mark.parametrize("coder", CODERS)
def test_a_cut_body_is_broken(coder: str) -> None:
    with pytest.raises(BrokenContent):
        inflated(coder.removeprefix("raw "), CODERS[coder](b"hello" * 100)[:-1], 1000)


@pytest.mark.parametrize("content", [b"this is no gzip", b"\x1f\x8b\x08", gzip.compress(b"a", mtime=0) + b"x", b""])
def test_what_is_not_coded_as_it_says_is_broken(content: bytes) -> None:
    with pytest.raises(BrokenContent):
        inflated("gzip", content, 1000)


def test_several_members_are_one_body_up_to_a_limit() -> None:
    member = gzip.compress(b"ab")
    assert b"".join(inflated("gzip", member * MAX_MEMBERS, 10)) == b"ab" * MAX_MEMBERS
    with pytest.raises(BrokenContent):
        inflated("gzip", member * (MAX_MEMBERS + 1), 10)
    with pytest.raises(BrokenContent):
        inflated("deflate", zlib.compress(b"ab") * 2, 1000)


@pytest.mark.parametrize("field", [None, "", "identity", " Identity "])
def test_a_body_without_a_coding_needs_no_decoder(field: str | None) -> None:
    assert inflater_for(field) is None


@pytest.mark.parametrize("field", ["gzip", "x-gzip", "GZIP", " deflate "])
def test_the_known_codings_have_a_decoder(field: str) -> None:
    assert inflater_for(field) is not None


@pytest.mark.parametrize("field", ["br", "zstd", "gzip, gzip", "gzip, identity", "*"])
def test_other_codings_are_not_understood(field: str) -> None:
    with pytest.raises(LookupError):
        inflater_for(field)
