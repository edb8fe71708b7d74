"""An answer with embeddings reaches the client as the very bytes that came, however long it is."""

import base64
import time
from typing import Any

import orjson
import pytest

from gateway.dialects.dialect import AnswerDocument, AnswerIdentity, AnswerReport
from gateway.dialects.embeddings.dialect import EMBEDDINGS
from gateway.errors import UpstreamError

IDENTITY = AnswerIdentity("1", 1, "public-model")
OPENAI = b"""{
  "object": "list",
  "data": [
    {
      "object": "embedding",
      "index": 0,
      "embedding": [
        -0.006929283495992422,
        1e-05, 0.10
      ]
    }
  ],
  "model": "text-embedding-3-small",
  "usage": {
    "prompt_tokens": 5,
    "total_tokens": 5
  }
}
"""
LONG_VECTOR = b"[" + b",".join(b"-0.0%d" % number for number in range(10_000, 12_000)) + b"]"
LONG_BASE64 = base64.b64encode(bytes(range(256)) * 48)


def read(content: bytes) -> AnswerDocument:
    return EMBEDDINGS.read_document(bytearray(content), IDENTITY)


def read_in_steps(content: bytes) -> AnswerDocument:
    reading = EMBEDDINGS.read_long_document(bytearray(content), IDENTITY)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            document: AnswerDocument = end.value
            return document


def told(document: AnswerDocument) -> bytes:
    text = document.encode(AnswerReport(document.usage(7), {"provider": "x"}))
    if not isinstance(text, bytes):
        assert text.size is None or text.size == len(bytes(text))
        assert b"".join(text.parts()) == bytes(text)
    return bytes(text)


def long(vector: bytes, times: int, rest: bytes) -> bytes:
    element = b'{"object":"embedding","index":0, "embedding": %b}' % vector
    return b'{"object":"list","data":[%b],"model":"m"%b}' % (b",".join([element] * times), rest)


USED = b',"usage":{"prompt_tokens":9,"total_tokens":9}'
ANSWERS = {
    "OpenAI's": OPENAI,
    "base64": b'{"object":"list","data":[{"embedding":"%b"}],"model":"m"%b}' % (LONG_BASE64, USED),
    "long": long(LONG_VECTOR, 20, USED),
    "long base64": long(b'"%b"' % LONG_BASE64, 20, USED),
    "nothing": b'{"object":"list","data":[],"model":"m"%b}' % USED,
    "usage first": b'{"usage":{"prompt_tokens":9},"object":"list","model":"m","data":[{"embedding":%b}]}'
    % LONG_VECTOR,
}


@pytest.mark.parametrize("content", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_passes_as_the_bytes_that_came(content: bytes) -> None:
    for document in (read(content), read_in_steps(content)):
        assert told(document) == content
        usage = document.usage(7)
        assert (usage.prompt_tokens, usage.completion_tokens, usage.estimated) == (
            5 if content is OPENAI else 9, 0, False,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "prompt", "is_estimated"),
    [
        ({"prompt_tokens": 5, "total_tokens": 5}, 5, False),
        ({"total_tokens": 5}, 5, False),
        ({"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}, 5, False),
        ({"prompt_tokens": 5, "total_tokens": 9}, 5, False),
        ({"prompt_tokens": 0, "total_tokens": 5}, 5, False),
        ({"prompt_tokens": 0, "total_tokens": 0}, 7, True),
        ({"prompt_tokens": -5}, 7, True),
        ({"prompt_tokens": True}, 7, True),
        ({"prompt_tokens": 1 << 40}, 7, True),
        ({}, 7, True),
        (None, 7, True),
    ],
)
def test_the_input_is_counted_by_the_upstream_unless_it_tells_nonsense(
    usage: Any, prompt: int, is_estimated: bool
) -> None:
    content = orjson.dumps({"data": [{"embedding": [0.5]}], "usage": usage})
    for document in (read(content), read_in_steps(content)):
        found = document.usage(7)
        assert (found.prompt_tokens, found.completion_tokens, found.estimated) == (prompt, 0, is_estimated)


@pytest.mark.parametrize("vector", [b"[0.5]", LONG_VECTOR], ids=["short", "long"])
def test_what_strict_clients_need_is_added_behind_the_last_member(vector: bytes) -> None:
    content = b'{"data":[{"embedding":%b}] } \n' % vector
    for document in (read(content), read_in_steps(content)):
        text = told(document)
        assert text.startswith(content[: content.rindex(b"}")])
        more = {name: value for name, value in orjson.loads(text).items() if name != "data"}
        assert more == {"object": "list", "model": "public-model", "usage": {"prompt_tokens": 7, "total_tokens": 7}}


@pytest.mark.parametrize("times", [1, 5000])
def test_what_is_no_number_becomes_null(times: int) -> None:
    content = b'{"object":"list","model":"m","data":[{"embedding":[%bNaN,1.5]}]%b}' % (b"-Infinity," * times, USED)
    for document in (read(content), read_in_steps(content)):
        assert orjson.loads(told(document))["data"][0]["embedding"] == [None] * (times + 1) + [1.5]


CHAT = b'{"object":"chat.completion","choices":[{"index":0,"message":{"content":"a"}}]}'
MODELS = b'{"object":"list","data":[{"id":"m","object":"model"}]}'


@pytest.mark.parametrize(
    ("content", "reason", "quoted"),
    [
        (b"", "the upstream's answer is not JSON", ""),
        (b"<html>", "the upstream's answer is not JSON", ""),
        (b"[]", "the upstream's answer is not a JSON object", ""),
        (b'{"error":{"message":"no"}}', "the upstream reported an error", "no"),
        (b'[{"error":{"message":"no"}}]', "the upstream reported an error", "no"),
        (b'{"object":"error","message":"no","code":400}', "the upstream reported an error", "no"),
        (CHAT, "the upstream's answer has no embeddings: it has no list `data`", ""),
        (b'{"data":{}}', "the upstream's answer has no embeddings: it has no list `data`", ""),
        (MODELS, "the upstream's answer has no embeddings: its list `data` holds something else", ""),
        (b'{"data":[[0.5]]}', "the upstream's answer has no embeddings: its list `data` holds something else", ""),
    ],
)
@pytest.mark.parametrize("beside", [b"", b'"' + b"x" * 5000 + b'"'], ids=["short", "long"])
def test_what_holds_no_embeddings_is_refused_as_what_it_is(
    content: bytes, reason: str, quoted: str, beside: bytes
) -> None:
    if beside:
        content = content.replace(b'"data":[', b'"data":[{"id":%b},' % beside).replace(b"{}", b'{"x":%b}' % beside)
    for how in (read, read_in_steps):
        with pytest.raises(UpstreamError) as caught:
            how(content)
        assert (caught.value.reason, caught.value.quoted) == (reason, quoted)


def test_tens_of_megabytes_are_read_and_sent_in_short_steps() -> None:
    for vector, times in ((b'"%b"' % LONG_BASE64, 1200), (LONG_VECTOR, 1200)):
        content = long(vector, times, USED)
        assert len(content) > 15_000_000
        reading, longest = EMBEDDINGS.read_long_document(bytearray(content), IDENTITY), 0.0
        document: AnswerDocument | None = None
        while document is None:
            begun = time.process_time()
            try:
                next(reading)
            except StopIteration as end:
                document = end.value
            longest = max(longest, time.process_time() - begun)
        assert told(document) == content
        assert longest < 0.05  # most steps take a millisecond
