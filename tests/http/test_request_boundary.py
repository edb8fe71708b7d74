"""The boundary between two requests, in bytes that aiohttp is given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.request_boundary import MAX_PIECES, RequestBoundary

GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /v1/streams HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
H2C = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n"


def read(*pieces: bytes) -> RequestBoundary:
    boundary = RequestBoundary()
    for piece in pieces:
        boundary.feed(piece)
    return boundary


@pytest.mark.parametrize("whole", [GET, POST, CHUNKED, H2C])
def test_only_the_last_byte_of_a_request_makes_a_boundary(whole: bytes) -> None:
    boundary = RequestBoundary()
    for number in range(len(whole)):
        boundary.feed(whole[number : number + 1])
        assert boundary.follows(1) == (number == len(whole) - 1)


@given(requests=st.lists(st.sampled_from([GET, POST, CHUNKED]), min_size=1, max_size=5), data=st.data())
def test_all_requests_are_counted_at_whatever_byte_they_are_cut(requests: list[bytes], data: st.DataObject) -> None:
    row = b"".join(requests)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(row)), max_size=8)))
    boundary, pieces = RequestBoundary(), list[bytes]()
    for start, end in zip([0, *cuts], [*cuts, len(row)], strict=True):
        pieces += boundary.feed(row[start:end])
    assert b"".join(pieces) == row
    assert boundary.follows(len(requests))
    assert not boundary.follows(len(requests) - 1)
    boundary.feed(b"P")
    assert not boundary.follows(len(requests))
    assert not boundary.follows(len(requests) + 1)


def test_empty_lines_between_requests_belong_to_none() -> None:
    assert read(GET, b"\r\n").follows(1)
    assert read(GET, b"\r\n\r\n", POST).follows(2)


def test_a_refused_upgrade_is_a_request_like_any_other() -> None:
    assert read(H2C, GET).follows(2)


@pytest.mark.parametrize("rest", [b"\x00\x01", GET])
def test_behind_an_upgrade_in_the_same_read_nothing_is_known(rest: bytes) -> None:
    boundary = read(H2C + rest)
    assert not any(boundary.follows(number) for number in range(4))
    boundary.feed(GET)
    assert not any(boundary.follows(number) for number in range(4))


def test_behind_bytes_that_are_no_request_nothing_is_known() -> None:
    boundary = read(b"nonsense\r\n\r\n", GET)
    assert not any(boundary.follows(number) for number in range(4))


@pytest.mark.parametrize("broken", [b"nonsense\r\n\r\n", b"\x00", GET[:-1] + b"x", CHUNKED.replace(b"3", b"z")])
def test_what_comes_behind_requests_is_in_other_pieces_than_they(broken: bytes) -> None:
    row = (GET, POST, CHUNKED, POST, GET)
    pieces = RequestBoundary().feed(b"".join(row) + broken)
    ends = [len(b"".join(pieces[:number])) for number in range(len(pieces))]
    assert set(ends) >= {len(b"".join(row[:number])) for number in range(len(row) + 1)}
    assert b"".join(pieces) == b"".join(row) + broken


def test_a_body_is_not_cut_and_a_read_has_a_bounded_number_of_pieces() -> None:
    boundary = RequestBoundary()
    content = b"\r\n\r\n" * 5000
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(content)
    assert boundary.feed(head + content[:-4]) == [head, content[:-4]]
    assert boundary.feed(content[-4:] + GET) == [content[-4:], GET]
    assert len(RequestBoundary().feed(content)) == MAX_PIECES + 1
