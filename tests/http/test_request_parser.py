"""The parser of plain requests: whole, byte by byte, with bytes behind, at random cuts, and beside httptools."""

from functools import lru_cache

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.known_head import MAX_PLAIN_FIELDS, known_head
from gateway.http.request_parser import (
    MAX_CONTENT_BYTES,
    MAX_PLAIN_HEAD,
    MAX_SUBSCRIPTION_LINE,
    REQUEST_LINES,
    EventsTarget,
    PlainRequest,
    Unparsed,
    parse_request,
)

CONTENT = b'{"model": "m", "messages": [], "stream": true}'


def request(*fields: str, content: bytes = CONTENT, length: str | None = None, host: str = "Host: gateway") -> bytes:
    lines = [host, *fields, f"Content-Length: {len(content) if length is None else length}"]
    return REQUEST_LINES[0] + "".join(f"{line}\r\n" for line in lines if line).encode("latin-1") + b"\r\n" + content


class Oracle:
    """What httptools, which is built on llhttp, finds in the same bytes."""

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []
        self.content = b""
        self.whole = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.decode("latin-1"), value.decode("latin-1").rstrip(" \t")))

    def on_body(self, data: bytes) -> None:
        self.content += data

    def on_message_complete(self) -> None:
        self.whole += 1


def without_length(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in fields if name.lower() != "content-length"]


def by_httptools(data: bytes) -> Oracle:
    oracle = Oracle()
    httptools.HttpRequestParser(oracle).feed_data(data)
    return oracle


def test_a_plain_request_is_found_with_its_fields_its_body_and_nothing_behind_it() -> None:
    parsed = parse_request(request("X-A:  1 \t"))
    assert isinstance(parsed, PlainRequest)
    assert parsed.fields == [("Host", "gateway"), ("X-A", "1"), ("Content-Length", "")]
    assert (parsed.content, parsed.rest) == (CONTENT, b"")


def test_requests_that_differ_in_their_bodies_alone_share_one_head() -> None:
    find = lru_cache(known_head)
    bodies = (CONTENT, b"", bytes(4000), CONTENT)
    parsed = [parse_request(request("X-A: 1", content=content), find_head=find) for content in bodies]
    assert [found.content for found in parsed if isinstance(found, PlainRequest)] == list(bodies)
    heads = [found.head for found in parsed if isinstance(found, PlainRequest)]
    assert all(head is heads[0] for head in heads)


@pytest.mark.parametrize("other", ["X-A: 2", "X-B: 1", "x-a: 1", "X-A:1"])
def test_requests_with_any_other_byte_in_their_heads_share_none(other: str) -> None:
    find = lru_cache(known_head)
    first, second = (parse_request(request(field), find_head=find) for field in ("X-A: 1", other))
    assert isinstance(first, PlainRequest)
    assert isinstance(second, PlainRequest)
    assert first.head is not second.head
    assert second.head is not None
    assert second.head.headers.get("X-B" if "B" in other else "X-A") == other.partition(":")[2].strip()


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Content-Length: 5"],
        ["Content-Length: 5", "content-length: 12345678"],
        ["Content-Length: 5, 5"],
        ["Content-Length: +5"],
        ["Content-Length: "],
        ["X-Content-Length: 5"],
        [],
    ],
)
def test_a_length_that_is_not_there_once_as_digits_is_not_plain(lines: list[str]) -> None:
    head = "".join(f"{line}\r\n" for line in ("Host: gateway", *lines)).encode()
    assert parse_request(REQUEST_LINES[0] + head + b"\r\n12345") is Unparsed.NOT_PLAIN


@pytest.mark.parametrize("content", [CONTENT, b"", b"\r\n\r\n", b"\x00\xff"])
def test_every_beginning_of_a_plain_request_is_incomplete(content: bytes) -> None:
    whole = request("X-A: 1", content=content)
    assert {parse_request(whole[:end]) for end in range(len(whole))} == {Unparsed.INCOMPLETE}
    assert isinstance(parse_request(whole), PlainRequest)


@given(rest=st.binary(max_size=64), content=st.binary(max_size=64))
def test_what_follows_is_left_over_whatever_it_is(rest: bytes, content: bytes) -> None:
    parsed = parse_request(request(content=content) + rest)
    assert isinstance(parsed, PlainRequest)
    assert (parsed.content, parsed.rest) == (content, rest)


@given(contents=st.lists(st.binary(max_size=20), min_size=1, max_size=5), data=st.data())
def test_requests_in_a_row_are_found_one_after_the_other_at_whatever_byte_they_are_cut(
    contents: list[bytes], data: st.DataObject
) -> None:
    row = b"".join(request(content=content) for content in contents)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(row)), max_size=8)))
    found, unread = [], b""
    for start, end in zip([0, *cuts], [*cuts, len(row)], strict=True):
        unread += row[start:end]
        while isinstance(parsed := parse_request(unread), PlainRequest):
            found.append(parsed.content)
            unread = parsed.rest
        assert parsed is Unparsed.INCOMPLETE
    assert found == contents
    assert unread == b""


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", id="another method"),
        pytest.param(b"POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: a\r\n\r\n", id="a query"),
        pytest.param(b"POST /v1/chat/completions HTTP/1.0\r\nHost: a\r\n\r\n", id="HTTP/1.0"),
        pytest.param(b"\r\n" + request(), id="an empty line before it"),
        pytest.param(REQUEST_LINES[0] + b"\r\n", id="no field"),
        pytest.param(request(host=""), id="no Host"),
        pytest.param(request("Host: gateway"), id="two Hosts"),
        pytest.param(request("content-length: 3"), id="two lengths"),
        pytest.param(request(length=""), id="an empty length"),
        pytest.param(request(length="-1"), id="a negative length"),
        pytest.param(request(length="0x10"), id="a hexadecimal length"),
        pytest.param(request(length="1, 1"), id="a list of lengths"),
        pytest.param(request(length="00000046"), id="a length of eight digits"),
        pytest.param(request(length=str(MAX_CONTENT_BYTES + 1)), id="a large body"),
        pytest.param(request("Transfer-Encoding: chunked"), id="chunks"),
        pytest.param(request("Content-Encoding: gzip"), id="compressed"),
        pytest.param(request("Expect: 100-continue"), id="an expectation"),
        pytest.param(request("Origin: http://a"), id="from a page"),
        pytest.param(request("Upgrade: h2c"), id="an upgrade"),
        pytest.param(request("Sec-WebSocket-Key1: a"), id="an old WebSocket"),
        pytest.param(request("Connection: close"), id="the last request"),
        pytest.param(request("X-A: 1", "x-a: 2"), id="a field twice"),
        pytest.param(request("X-A: caf\u00e9"), id="beyond ASCII"),
        pytest.param(request("X-A: \x00"), id="a control character"),
        pytest.param(request("X-A : 1"), id="a blank before the colon"),
        pytest.param(request("X-A: 1\r\n folded"), id="a folded line"),
        pytest.param(request("nonsense"), id="no colon"),
        pytest.param(request("X-A: 1\nX-B: 2"), id="a bare line feed"),
        pytest.param(request("X-A: " + "a" * MAX_PLAIN_HEAD), id="a long head"),
        pytest.param(request(*[f"X-{number}: 1" for number in range(MAX_PLAIN_FIELDS - 1)]), id="many fields"),
    ],
)
def test_a_request_that_needs_more_than_its_fields_and_body_is_not_plain(data: bytes) -> None:
    assert parse_request(data) is Unparsed.NOT_PLAIN


def test_a_request_at_the_limits_is_plain() -> None:
    fields = [f"X-{number}: 1" for number in range(MAX_PLAIN_FIELDS - 2)]
    assert isinstance(parse_request(request(*fields)), PlainRequest)
    assert isinstance(parse_request(request(content=b"x" * MAX_CONTENT_BYTES)), PlainRequest)
    assert isinstance(parse_request(request(content=b"12345"), 5), PlainRequest)
    assert parse_request(request(content=b"123456"), 5) is Unparsed.NOT_PLAIN


def test_a_body_beyond_the_limit_is_not_waited_for() -> None:
    assert parse_request(request(length="6", content=b""), 5) is Unparsed.NOT_PLAIN


NAMES = st.sampled_from(
    ["X-A", "x-a", "Accept", "User-Agent", "Connection", "Host", "Content-Type", "Upgrade", "A b"]
)
VALUES = st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=12)
FIELDS = st.lists(st.tuples(NAMES, st.sampled_from([":", ": ", ":\t ", " :"]), VALUES), max_size=6)


@given(fields=FIELDS, content=st.binary(max_size=30))
def test_whatever_is_plain_httptools_reads_alike(fields: list[tuple[str, str, str]], content: bytes) -> None:
    data = request(*[name + colon + value for name, colon, value in fields], content=content)
    parsed = parse_request(data)
    if isinstance(parsed, PlainRequest):
        oracle = by_httptools(data)
        assert (oracle.whole, oracle.content) == (1, parsed.content)
        assert without_length(oracle.fields) == without_length(parsed.fields)


@given(position=st.integers(0, len(REQUEST_LINES[0]) + 60), byte=st.integers(0, 255))
def test_a_head_with_one_wrong_byte_is_not_plain_or_read_alike_by_httptools(position: int, byte: int) -> None:
    data = bytearray(request("Connection: keep-alive", "X-A: 1"))
    data[position] = byte
    parsed = parse_request(bytes(data))
    if isinstance(parsed, PlainRequest):
        oracle = by_httptools(bytes(data))
        assert oracle.content == parsed.content
        assert without_length(oracle.fields) == without_length(parsed.fields)


# --- subscriptions

EVENTS = b"GET /v1/streams/st_1/events?from=now&token=rgv_x HTTP/1.1\r\nHost: a\r\nLast-Event-ID: e-1\r\n\r\n"


def subscription(target: bytes, fields: bytes = b"Host: a\r\n", version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET %b %b\r\n%b\r\n" % (target, version, fields)


def test_a_plain_subscription_is_found_with_its_target_its_fields_and_what_follows() -> None:
    target = EventsTarget("streams", "st_1", {"from": "now", "token": "rgv_x"})
    fields = [("Host", "a"), ("Last-Event-ID", "e-1")]
    assert parse_request(EVENTS + b"rest") == PlainRequest(fields, b"", b"rest", target)
    assert target.path == "/v1/streams/st_1/events"


def test_a_subscription_to_a_feed_needs_no_query() -> None:
    parsed = parse_request(subscription(b"/v1/feeds/news/events"))
    assert isinstance(parsed, PlainRequest)
    assert parsed.events == EventsTarget("feeds", "news", {})


def test_every_beginning_of_a_plain_subscription_is_incomplete() -> None:
    assert {parse_request(EVENTS[:end]) for end in range(len(EVENTS))} == {Unparsed.INCOMPLETE}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(subscription(b"/v1/streams"), id="the list"),
        pytest.param(subscription(b"/v1/streams/a"), id="a description"),
        pytest.param(subscription(b"/v1/streams//events"), id="no name"),
        pytest.param(subscription(b"/v1/streams/../events"), id="dots"),
        pytest.param(subscription(b"/v1/streams/a%41/events"), id="an escape in the path"),
        pytest.param(subscription(b"/v1/streams/a/events?"), id="an empty query"),
        pytest.param(subscription(b"/v1/streams/a/events?from"), id="no value"),
        pytest.param(subscription(b"/v1/streams/a/events?from=n%6fw"), id="an escape in the query"),
        pytest.param(subscription(b"/v1/streams/a/events?from=a+b"), id="a blank in the query"),
        pytest.param(subscription(b"/v1/streams/a/events?from=now&from=start"), id="a name twice"),
        pytest.param(subscription(b"/v1/streams/a/events#b"), id="a fragment"),
        pytest.param(subscription(b"http://a/v1/streams/a/events"), id="the absolute form"),
        pytest.param(subscription(b"/v1/streams/a/events", version=b"HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(EVENTS.replace(b"GET", b"HEAD"), id="HEAD"),
        pytest.param(subscription(b"/v1/streams/a/events", b""), id="no field"),
        pytest.param(subscription(b"/v1/streams/a/events", b"X-A: 1\r\n"), id="no Host"),
        pytest.param(subscription(b"/v1/streams/a/events", b"Host: a\r\nhost: a\r\n"), id="two Hosts"),
        pytest.param(subscription(b"/v1/streams/a/events", b"Host: a\r\nContent-Length: 0\r\n"), id="a length"),
        pytest.param(subscription(b"/v1/streams/a/events", b"Host: a\r\nConnection: close\r\n"), id="the last"),
        pytest.param(subscription(b"/v1/streams/a/events", b"Host: a\r\nUpgrade: h2c\r\n"), id="an upgrade"),
        pytest.param(subscription(b"/v1/streams/%b/events" % (b"a" * MAX_SUBSCRIPTION_LINE)), id="a long target"),
        pytest.param(b"GET /v1/streams/" + b"a" * MAX_SUBSCRIPTION_LINE, id="a long target without an end"),
    ],
)
def test_a_subscription_that_needs_more_than_its_target_and_fields_is_not_plain(data: bytes) -> None:
    assert parse_request(data) is Unparsed.NOT_PLAIN


@pytest.mark.parametrize("line", [REQUEST_LINES[0], EVENTS[: EVENTS.index(b"Host")]])
@pytest.mark.parametrize(
    "lines", ["Host: a\n", "Host: a\n\n", "Host: a\rX: b", "Host: a\r\r\n", "\n", "Host: a\r\nX\n"]
)
def test_the_rest_of_a_head_with_a_wrong_end_of_a_line_is_not_waited_for(line: bytes, lines: str) -> None:
    assert parse_request(line + lines.encode()) is Unparsed.NOT_PLAIN


def test_a_subscription_at_the_limits_is_plain_wherever_its_page_is() -> None:
    fields = b"Host: a\r\nOrigin: http://b\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(MAX_PLAIN_FIELDS - 2))
    assert isinstance(parse_request(subscription(b"/v1/streams/a/events", fields)), PlainRequest)
    rest = len(b"GET /v1/streams//events HTTP/1.1\r\n")
    assert isinstance(
        parse_request(subscription(b"/v1/streams/%b/events" % (b"a" * (MAX_SUBSCRIPTION_LINE - rest)))), PlainRequest
    )


@given(position=st.integers(0, len(EVENTS) - 1), byte=st.integers(0, 255))
def test_a_subscription_with_one_wrong_byte_is_not_plain_or_read_alike_by_httptools(position: int, byte: int) -> None:
    data = bytearray(EVENTS)
    data[position] = byte
    parsed = parse_request(bytes(data))
    if isinstance(parsed, PlainRequest):
        assert by_httptools(bytes(data)).fields == parsed.fields
