"""A whole message goes out as the bytes that came; what is no message is refused as what it is."""

from typing import Any

import orjson
import pytest

from gateway.dialects.dialect import AnswerDocument, AnswerReport, ReportedFailure
from gateway.dialects.long_event import LONG_BYTES
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.usage import Usage
from gateway.errors import UpstreamError
from tests.dialects.messages.events import IDENTITY

MESSAGE = (
    b'{"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "n": 12345678901234567890123,\n'
    b'"content": [{"type": "text", "text": "hello\xe2\x80\xa8 %b"}], "stop_reason": "end_turn",'
    b' "stop_sequence": null, "usage": {"input_tokens": 2, "cache_read_input_tokens": 7, "output_tokens": 1}}'
)
REPORT = AnswerReport(Usage(5, 6, estimated=True), {"provider": "alpha"})


def read(content: bytes) -> AnswerDocument:
    """The document, read in steps if it is long, as the gateway does."""
    if len(content) <= LONG_BYTES:
        return MESSAGES.read_document(content, IDENTITY)
    reading = MESSAGES.read_long_document(bytearray(content), IDENTITY)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            document: AnswerDocument = end.value
            return document


@pytest.mark.parametrize("text", [b"", b"A" * 200_000], ids=["short", "long"])
def test_a_message_that_lacks_nothing_goes_out_as_it_came(text: bytes) -> None:
    content = MESSAGE % text
    document = read(content)
    encoded = document.encode(REPORT)
    assert bytes(encoded) == content
    if not isinstance(encoded, bytes):
        assert encoded.size == len(content)
        assert b"".join(encoded.parts()) == content
        assert max(map(len, encoded.parts())) <= 131_072
    used = document.usage(50)
    assert (used.prompt_tokens, used.completion_tokens, used.estimated) == (9, 1, False)


@pytest.mark.parametrize("text", ["hello", "word " * 40_000], ids=["short", "long"])
def test_a_message_that_lacks_members_is_completed(text: str) -> None:
    content = [{"type": "text", "text": text}, {"type": "tool_use", "input": {"a": 1}}]
    document = read(orjson.dumps({"content": content}))
    used = document.usage(7)
    assert (used.prompt_tokens, used.completion_tokens, used.estimated) == (7, -(-(len(text) + 7) // 4), True)
    assert orjson.loads(bytes(document.encode(REPORT))) == {
        "content": content,
        "id": "msg_r1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 6},
    }


def test_numbers_that_json_has_not_become_null() -> None:
    document = read((MESSAGE % b"").replace(b"12345678901234567890123", b"NaN"))
    assert orjson.loads(bytes(document.encode(REPORT)))["n"] is None
    document = read((MESSAGE % (b"A" * 200_000)).replace(b"12345678901234567890123", b"[NaN]" + b" " * 9000))
    assert orjson.loads(bytes(document.encode(REPORT)))["n"] == [None]


@pytest.mark.parametrize(
    ("content", "reason", "quoted"),
    [
        (b"", "the upstream's answer is not JSON", ""),
        (b"[]", "the upstream's answer is not a JSON object", ""),
        (b'{"error": {"message": "no"}}', "the upstream reported an error", "no"),
        (b'{"type":"error","error":{"type":"api_error","message":"no"}}', "the upstream reported an error", "no"),
        (b'[{"error": {"message": "no"}}]', "the upstream reported an error", "no"),
        (b'{"type":"error"}', "the upstream reported an error", "the upstream gave no message"),
        (
            b'{"choices": [{"message": {"content": "hi"}}]}',
            "the upstream's answer is not a message: it has no list of content",
            "",
        ),
        (b'{"content": "hi"}', "the upstream's answer is not a message: it has no list of content", ""),
        (b'{"content": [3]}', "the upstream's answer is not a message: its content is not a list of objects", ""),
        (b'{"content": [%b0]}' % (b"0," * 60_000), "the upstream's answer holds more than 60000 values", ""),
    ],
)
def test_what_is_no_message_is_refused_as_what_it_is(content: bytes, reason: str, quoted: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        MESSAGES.read_document(content, IDENTITY)
    assert (caught.value.reason, caught.value.quoted) == (reason, quoted)


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": ' + b"A" * 70_000,
        b'{"content": [%b1]}' % (b"[1]," * 20_000),
        b"[" * 70_000,
        b'{"content": "%b"}' % (b"A" * 70_000),
    ],
)
def test_what_is_no_message_is_refused_in_steps_too(content: bytes) -> None:
    with pytest.raises(UpstreamError):
        read(content)


def test_the_words_of_a_long_error_have_no_stand_ins() -> None:
    body: dict[str, Any] = {"type": "error", "error": {"type": "api_error", "message": "no " * 30_000}}
    with pytest.raises(ReportedFailure) as caught:
        read(orjson.dumps(body))
    assert caught.value.told.text.startswith("no no no")
    assert caught.value.told.text.isprintable()
