"""A whole response goes to the client as it came; its usage is read, and a failure is told from an answer."""

from typing import Any

import orjson
import pytest

from gateway.dialects.dialect import AnswerReport, ReportedFailure
from gateway.dialects.responses.dialect import RESPONSES
from gateway.dialects.responses.document import ResponseDocument
from gateway.errors import UpstreamError

from .events import IDENTITY, USAGE, response

TEXT = {"type": "message", "content": [{"type": "output_text", "text": "12345678"}]}
CALL = {"type": "function_call", "name": "f", "arguments": "1234"}
LONG = "A" * 200_000


def read(content: bytes, *, in_steps: bool = False) -> ResponseDocument:
    if not in_steps:
        return RESPONSES.read_document(content, IDENTITY)
    reading = RESPONSES.read_long_document(bytearray(content), IDENTITY)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            document: ResponseDocument = end.value
            return document


def encoded(document: ResponseDocument) -> bytes:
    content = document.encode(AnswerReport(document.usage(5), {"provider": "alpha"}))
    return content if isinstance(content, bytes) else b"".join(content.parts())


def body(**more: Any) -> bytes:
    return orjson.dumps(response(**{"status": "completed", "usage": USAGE, "output": [TEXT], **more}))


@pytest.mark.parametrize("in_steps", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        body(),
        body(output=[{"type": "image_generation_call", "result": LONG}]),
        b' {"object" : "response", "output": [], "n": 123456789012345678901234567890, "n": 1.0, "\\u0061": "\\/"}\n',
        body(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        body(status="queued", output=[]),
    ],
    ids=["a response", "an image", "odd but valid JSON", "an incomplete response", "one in the background"],
)
def test_a_response_goes_to_the_client_as_it_came(content: bytes, in_steps: bool) -> None:
    document = read(content, in_steps=in_steps)
    assert encoded(document) == content
    assert document.encode(AnswerReport(document.usage(5), {})) is not None


@pytest.mark.parametrize("in_steps", [False, True])
def test_the_usage_is_the_upstreams_or_an_estimate_by_the_texts(in_steps: bool) -> None:
    told = read(body(), in_steps=in_steps).usage(5)
    assert (told.prompt_tokens, told.completion_tokens, told.estimated) == (9, 3, False)
    own = read(body(usage=None, output=[TEXT, CALL]), in_steps=in_steps).usage(5)
    assert (own.prompt_tokens, own.completion_tokens, own.estimated) == (5, 3, True)
    zeros = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    assert read(body(usage=zeros), in_steps=in_steps).usage(5).completion_tokens == 2


def test_a_long_text_without_a_usage_is_estimated_by_its_length() -> None:
    long = {"type": "message", "content": [{"type": "output_text", "text": "word " * 40_000}]}
    found = read(body(usage=None, output=[long]), in_steps=True).usage(5)
    assert 50_000 <= found.completion_tokens < 50_100


@pytest.mark.parametrize("in_steps", [False, True])
def test_the_id_of_a_response_is_known(in_steps: bool) -> None:
    assert read(body(), in_steps=in_steps).response_id == "resp_1"
    assert read(body(id=7), in_steps=in_steps).response_id is None


@pytest.mark.parametrize("in_steps", [False, True])
def test_null_stands_in_place_of_what_is_no_number(in_steps: bool) -> None:
    content = body(output=[TEXT, {"type": "x", "score": "@", "long": LONG}]).replace(b'"@"', b"NaN")
    assert encoded(read(content, in_steps=in_steps)) == content.replace(b"NaN", b"null")


@pytest.mark.parametrize("in_steps", [False, True])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (body(status="failed", error={"code": "server_error", "message": "out of ink"}), "out of ink"),
        (body(status="failed"), "no message"),
        (b'{"error": {"message": "out of ink", "type": "x"}}', "out of ink"),
        (b'{"detail": "out of ink"}', "out of ink"),
        (b'[{"error": {"message": "out of ink"}}]', "out of ink"),
    ],
)
def test_a_failure_is_one_of_the_upstream(content: bytes, words: str, in_steps: bool) -> None:
    with pytest.raises(ReportedFailure) as caught:
        read(content, in_steps=in_steps)
    assert words in caught.value.told.text


@pytest.mark.parametrize("in_steps", [False, True])
@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"[]", b"7", b"{}", b'{"object":"chat.completion","choices":[]}', b'{"output":', b"[" * 90_000],
)
def test_what_is_no_response_is_refused(content: bytes, in_steps: bool) -> None:
    with pytest.raises(UpstreamError):
        read(content, in_steps=in_steps)
