"""A parser of HTTP/1.1 reads exactly what the encoder was given, and no value can smuggle anything in."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.http1 import (
    LAST_CHUNK,
    encode_chunk,
    encode_fields,
    encode_ok,
    encode_request,
    encode_response,
    is_field,
    parse_fields,
)


class Parsed:
    """Everything that httptools tells of a message."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.url = b""
        self.body = b""
        self.chunks = 0
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_chunk_header(self) -> None:
        self.chunks += 1

    def on_message_complete(self) -> None:
        self.complete = True


def parsed_request(data: bytes) -> tuple[Parsed, bytes]:
    parsed = Parsed()
    parser = httptools.HttpRequestParser(parsed)
    parser.feed_data(data)
    return parsed, parser.get_method()


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_chunks_are_read_back_as_the_data(pieces: list[bytes]) -> None:
    parsed = Parsed()
    parser = httptools.HttpResponseParser(parsed)
    parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    parser.feed_data(b"".join(map(encode_chunk, pieces)))
    assert not parsed.complete
    parser.feed_data(LAST_CHUNK)
    assert parsed.body == b"".join(pieces)
    assert parsed.chunks == sum(map(bool, pieces)) + 1
    assert parsed.complete


def test_no_data_is_no_chunk() -> None:
    assert encode_chunk(b"") == b""


def test_a_request_is_read_back_as_it_was_meant() -> None:
    fields = [("Host", "api.example.com"), ("content-length", "0"), ("x-name", 'caf\xe9 \t; a="b"'), ("x-empty", "")]
    parsed, method = parsed_request(encode_request("POST", "/v1/chat/completions?a=%20", fields))
    assert method == b"POST"
    assert parsed.url == b"/v1/chat/completions?a=%20"
    assert parsed.headers == [(name.encode(), value.encode("latin-1")) for name, value in fields]
    assert parsed.complete


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20))
def test_any_latin_value_stays_one_header(value: str) -> None:
    parsed, _ = parsed_request(encode_request("GET", "/", [("x", value), ("y", "1")]))
    # Blanks around a value are no part of it (RFC 9110 section 5.5), but httptools leaves the trailing ones.
    headers = [(name, read.strip(b" ")) for name, read in parsed.headers]
    assert headers == [(b"x", value.strip(" ").encode("latin-1")), (b"y", b"1")]


INJECTIONS = ["a\r\nx: y", "a\nb", "a\rb", "a\0b", "a\x0bb", "a\x7f", "\u2028", "a\r\n\r\nGET / HTTP/1.1"]


@pytest.mark.parametrize("value", INJECTIONS)
def test_a_value_that_could_end_its_line_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="the header 'x' holds a character"):
        encode_request("GET", "/", [("x", value)])


@pytest.mark.parametrize("name", ["", "x y", "x:", "x: y", "x\r\ny", "x\n", "\xe9", "x\0"])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="the header"):
        encode_request("GET", "/", [(name, "1")])


@pytest.mark.parametrize("target", ["", "/a b", "/a\r\nx: y", "/a\n", "/\xe9", "/\0", *INJECTIONS])
def test_a_target_that_could_end_its_line_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="the request line"):
        encode_request("GET", target, [])


@pytest.mark.parametrize("method", ["", "GET ", "GET\r\n", "G\nT", "GET /"])
def test_a_method_that_is_no_token_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="the request line"):
        encode_request(method, "/", [])


@pytest.mark.parametrize("keep_alive", [True, False])
def test_the_head_of_an_answer_says_how_its_body_and_its_connection_end(keep_alive: bool) -> None:
    fields = encode_fields([("x-a", "1")])
    lines = encode_ok(fields, chunked=True, keep_alive=keep_alive).split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert lines[-3:] == [b"x-a: 1", b"", b""]
    assert b"Transfer-Encoding: chunked" in lines
    assert (b"Connection: close" in lines) is not keep_alive
    assert encode_ok(fields, chunked=False, keep_alive=False) == b"HTTP/1.0 200 OK\r\nx-a: 1\r\n\r\n"


@pytest.mark.parametrize("value", ["1", "a b", "\xe9", ""])
def test_a_value_that_http_allows_is_a_field(value: str) -> None:
    assert is_field("Last-Event-ID", value)


@pytest.mark.parametrize("value", ["\x01ctl", "a\x7f", *INJECTIONS])
def test_a_value_with_control_characters_is_none(value: str) -> None:
    assert not is_field("Last-Event-ID", value)


LINE = b"POST / HTTP/1.1\r\n"
NAMES = st.text(st.sampled_from("abcXYZ019!#$%&'*+-.^_`|~"), min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@given(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=8), st.binary(max_size=20))
def test_a_head_is_read_as_a_parser_of_http_reads_it(fields: list[tuple[str, str]], rest: bytes) -> None:
    lines = "".join(f"x-{name}:{value}\r\n" for name, value in fields).encode()
    parsed, _ = parsed_request(LINE + lines + b"\r\n")
    assert [(name.encode(), value.encode()) for name, value in parse_fields(lines)] == [
        (name, value.strip(b" ")) for name, value in parsed.headers
    ]


@given(
    st.lists(
        st.sampled_from([b"a: b", b"a", b":", b" ", b"\t", b"\r\n", b"\n", b"\r", b"\x00", b"\xc3", b"\r\n\r\n"])
    )
)
def test_what_is_read_from_any_bytes_a_parser_of_http_reads_too(pieces: list[bytes]) -> None:
    lines = b"".join(pieces)
    try:
        read = parse_fields(lines)
    except ValueError:
        return
    parsed, _ = parsed_request(LINE + lines + b"\r\n")
    assert [(name.encode(), value.encode()) for name, value in read] == [
        (name, value.strip(b" \t")) for name, value in parsed.headers
    ]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"a: b\r\n folded\r\n", id="a folded line"),
        pytest.param(b"a : b\r\n", id="a blank before the colon"),
        pytest.param(b"a\r\n", id="no colon"),
        pytest.param(b": b\r\n", id="no name"),
        pytest.param(b"a: b\n\r\n", id="a bare line feed"),
        pytest.param(b"a: b\rc\r\n", id="a bare carriage return"),
        pytest.param(b"a: \x00\r\n", id="a zero"),
        pytest.param(b"a: \xc3\xa9\r\n", id="beyond ASCII"),
        pytest.param(b"", id="no field"),
        pytest.param(b"a: b", id="half a line"),
    ],
)
def test_a_head_that_is_not_plain_is_not_read(lines: bytes) -> None:
    with pytest.raises(ValueError, match="head"):
        parse_fields(lines)


def test_a_response_is_read_back_as_it_was_meant() -> None:
    parsed = Parsed()
    parser = httptools.HttpResponseParser(parsed)
    parser.feed_data(
        encode_response(429, "Too Many Requests", [("Content-Length", "2"), ("Retry-After", "1")]) + b"{}"
    )
    assert (parser.get_status_code(), parsed.body, parsed.complete) == (429, b"{}", True)
    assert parsed.headers == [(b"Content-Length", b"2"), (b"Retry-After", b"1")]
