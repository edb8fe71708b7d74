"""The reader relays what conforms as it came, says what each block means, and never raises."""

import json
from typing import Any

import hypothesis
import orjson
import pytest
from hypothesis import strategies as st

from gateway.dialects.chat.reader import ChatReader
from gateway.dialects.choices.errors import MAX_ERROR_TEXT, read_error
from gateway.dialects.choices.frames import DONE
from gateway.dialects.dialect import AnswerReport, Meaning, UpstreamMessage
from gateway.dialects.usage import Usage
from gateway.wire import sse
from tests.dialects.chat.conforming import block, conforming, event, reader

ROLE = event({"role": "assistant", "content": ""})
TEXT = event({"content": "hello"})
STOP = event(finish="stop")
REPORT = AnswerReport(Usage(3, 4, estimated=True), {"provider": "alpha"})

OPENAI = (
    b'data: {"id":"chatcmpl-A","object":"chat.completion.chunk","created":1752000000,"model":"gpt-4o-2024-11-20",'
    b'"service_tier":"default","system_fingerprint":"fp_07871e2ad8","choices":[{"index":0,"delta":{"role":"assistant",'
    b'"content":"","refusal":null},"logprobs":null,"finish_reason":null}],"obfuscation":"a1"}\n\n',
    b'data: {"id":"chatcmpl-A","object":"chat.completion.chunk","created":1752000000,"model":"gpt-4o-2024-11-20",'
    b'"service_tier":"default","system_fingerprint":"fp_07871e2ad8","choices":[{"index":0,"delta":{"content":"H\xc3\xa9"},'
    b'"logprobs":null,"finish_reason":null}],"obfuscation":"b2"}\n\n',
    b'data: {"id":"chatcmpl-A","object":"chat.completion.chunk","created":1752000000,"model":"gpt-4o-2024-11-20",'
    b'"service_tier":"default","system_fingerprint":"fp_07871e2ad8","choices":[{"index":0,"delta":{},'
    b'"logprobs":null,"finish_reason":"stop"}],"obfuscation":"c3"}\n\n',
)
VLLM = (
    b'data: {"id":"chatcmpl-9b","object":"chat.completion.chunk","created":1752000000,"model":"qwen","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}\n\n',
    b'data: {"id":"chatcmpl-9b","object":"chat.completion.chunk","created":1752000000,"model":"qwen","choices":'
    b'[{"index":0,"delta":{"reasoning_content":"hm"},"logprobs":null,"finish_reason":null}]}\n\n',
    b'data: {"id":"chatcmpl-9b","object":"chat.completion.chunk","created":1752000000,"model":"qwen","choices":'
    b'[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null}]}\n\n',
)
LLAMA_CPP = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],'
    b'"created":1752000000,"id":"chatcmpl-Q","model":"llama","system_fingerprint":"b5000-abc","object":"chat.completion.chunk"}\n\n',
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hi"}}],"created":1752000000,'
    b'"id":"chatcmpl-Q","model":"llama","system_fingerprint":"b5000-abc","object":"chat.completion.chunk"}\n\n',
    b'data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"created":1752000000,"id":"chatcmpl-Q",'
    b'"model":"llama","system_fingerprint":"b5000-abc","object":"chat.completion.chunk","timings":{"prompt_n":1}}\n\n',
)
OLLAMA = (
    b'data: {"id":"chatcmpl-42","object":"chat.completion.chunk","created":1752000000,"model":"llama3.2",'
    b'"system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},'
    b'"finish_reason":null}]}\n\n',
    b'data: {"id":"chatcmpl-42","object":"chat.completion.chunk","created":1752000000,"model":"llama3.2",'
    b'"system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"!"},'
    b'"finish_reason":null}]}\n\n',
    b'data: {"id":"chatcmpl-42","object":"chat.completion.chunk","created":1752000000,"model":"llama3.2",'
    b'"system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":""},'
    b'"finish_reason":"stop"}]}\n\n',
)
SPACED = (
    b'data: {"id": "x-1", "object": "chat.completion.chunk", "created": 1752000000, "model": "m", "choices": '
    b'[{"index": 0, "delta": {"role": "assistant", "content": "a", "tool_calls": null}, "finish_reason": null}]}\n\n',
    b'data: {"id": "x-1", "object": "chat.completion.chunk", "created": 1752000000, "model": "m", "choices": '
    b'[{"index": 0, "delta": {"role": null, "content": "b", "tool_calls": null}, "finish_reason": null}]}\n\n',
    b'data: {"id": "x-1", "object": "chat.completion.chunk", "created": 1752000000, "model": "m", "choices": '
    b'[{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n',
)
TOOLS = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1752000000,"model":"m","choices":[{"index":0,'
    b'"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":'
    b'{"name":"f","arguments":""}}]},"finish_reason":null}]}\n\n',
    b'data: {"id":"c","object":"chat.completion.chunk","created":1752000000,"model":"m","choices":[{"index":0,'
    b'"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a\\":1}"}}]},"finish_reason":null}]}\n\n',
    b'data: {"id":"c","object":"chat.completion.chunk","created":1752000000,"model":"m","choices":[{"index":0,'
    b'"delta":{},"finish_reason":"tool_calls"}]}\n\n',
)
PROVIDERS = {
    "OpenAI": OPENAI,
    "vLLM": VLLM,
    "llama.cpp": LLAMA_CPP,
    "Ollama": OLLAMA,
    "spaced": SPACED,
    "tools": TOOLS,
}


def relayed(chat: ChatReader, given: bytes) -> Meaning:
    """The meaning of a block as a body reads it: by the learned shape if it fits, else by the full reading."""
    frame = chat.shape.fit(given)
    return Meaning(frame, content=True) if frame is not None else chat.read(given)


def deltas(chunks: list[Meaning]) -> list[dict[str, Any]]:
    return [conforming(read.frame)["choices"][0]["delta"] for read in chunks if read.frame is not None]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_conforming_stream_goes_out_as_the_very_bytes_that_came(provider: str) -> None:
    chat = reader()
    for given in PROVIDERS[provider]:
        read = relayed(chat, given)
        assert read.frame is not None
        if given.isascii():
            assert read.frame is given
        assert read.frame == given
        conforming(read.frame)
    assert chat.finished
    assert relayed(chat, DONE) == Meaning(done=True)


def test_later_text_events_of_a_conforming_stream_fit_and_are_the_very_object() -> None:
    chat = reader()
    chat.read(block(ROLE))
    chat.read(block(TEXT))
    given = block(event({"content": "another"}))
    assert chat.shape.fit(given) is given


def test_what_azure_tells_in_an_event_without_choices_is_on_the_next_event() -> None:
    results = [{"prompt_index": 0}]
    azure = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": results}
    chat = reader()
    assert chat.read(block(azure)) == Meaning()
    first = conforming(chat.read(block(ROLE)).frame)
    assert first == {**ROLE, "prompt_filter_results": results}
    assert chat.read(block(TEXT)).frame == block(TEXT)


def test_what_is_told_behind_the_finish_is_on_the_usage_event() -> None:
    chat = reader()
    for given in (ROLE, TEXT, STOP):
        chat.read(block(given))
    assert chat.read(block({"choices": [], "timings": {"predicted_ms": 7}, "citations": ["a"]})) == Meaning()
    told = closing_event(chat)
    assert (told["timings"], told["citations"], told["choices"]) == ({"predicted_ms": 7}, ["a"], [])


@pytest.mark.parametrize(
    "choice",
    [
        {"index": 0, "delta": {}, "content_filter_offsets": {"check_offset": 1}},
        {"index": 0, "content_filter_results": {"hate": {"filtered": False}}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "content_filter"},
        {"index": 0, "delta": {"annotations": [{"url": "x"}]}},
    ],
)
def test_an_event_behind_the_finish_that_tells_more_is_relayed(choice: dict[str, Any]) -> None:
    chat = reader()
    for given in (ROLE, TEXT, STOP):
        chat.read(block(given))
    out = conforming(chat.read(block({**event(), "choices": [choice]})).frame)["choices"][0]
    assert choice.items() <= out.items()
    assert chat.finished


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"Infinity", b"1e999", b"-nan", b"inf", b"-nan(ind)"])
def test_what_is_no_number_becomes_null(number: bytes) -> None:
    given = block({**TEXT, "timings": {"ms": 7.5}}).replace(b"7.5", number)
    chat = reader()
    for _ in range(3):
        assert conforming(relayed(chat, given).frame)["timings"] == {"ms": None}


def test_the_comments_of_openrouter_are_kept_from_subscribers() -> None:
    assert reader().read(b": OPENROUTER PROCESSING\n\n") == Meaning()
    given = b": OPENROUTER PROCESSING\n" + block(TEXT)
    assert deltas([reader().read(given)]) == [{"content": "hello", "role": "assistant"}]


def test_the_content_list_of_mistral_becomes_text() -> None:
    parts = [{"type": "text", "text": "see "}, {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    read = reader().read(block(event({"role": "assistant", "content": parts})))
    assert deltas([read]) == [{"role": "assistant", "content": "see ", "reasoning_content": "hm"}]
    assert read.content


@pytest.mark.parametrize(
    "given",
    [
        b"data:" + block(TEXT)[6:],
        b"event: message\n" + block(TEXT),
        b"id: 7\n" + block(TEXT),
        b"retry: 10\n" + block(TEXT),
        b"retry: " + b"9" * 5000 + b"\n" + block(TEXT),
        b'data: {"choices":\ndata:[{"index":0,"delta":{"content":"hello"},\ndata: "finish_reason":null}]}\n\n',
    ],
)
def test_any_other_framing_becomes_one_data_line(given: bytes) -> None:
    assert deltas([reader().read(given)]) == [{"content": "hello", "role": "assistant"}]


def test_a_stream_with_bom_and_crlf_is_relayed_like_any_other() -> None:
    stream = b"\xef\xbb\xbf" + b"".join(OPENAI).replace(b"\n", b"\r\n")
    chat = reader()
    assert [relayed(chat, given).frame for given in sse.BlockDecoder().feed(stream)] == list(OPENAI)


@pytest.mark.parametrize("data", [b"[DONE]", b" [DONE]", b"[DONE] "])
def test_done_is_known_with_blanks_around_it(data: bytes) -> None:
    assert reader().read(b"data:" + data + b"\n\n") == Meaning(done=True)


@pytest.mark.parametrize("given", [b"event: ping\n\n", b"id: 1\n\n", b"retry: 5\n\n", b": x\n\n", b"nonsense\n\n"])
def test_a_block_without_data_is_nothing(given: bytes) -> None:
    assert reader().read(given) == Meaning()


@pytest.mark.parametrize("raw", ["\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("place", ["text", "model"])
def test_raw_line_ends_of_unicode_are_escaped_wherever_they_stand(raw: str, place: str) -> None:
    chat = reader()
    more: dict[str, Any] = {"model": f"m{raw}"} if place == "model" else {}
    text = f"a{raw}b" if place == "text" else "ab"
    for _ in range(4):
        read = relayed(chat, block(event({"role": "assistant", "content": text}, **more)))
        out = conforming(read.frame)
        assert out["choices"][0]["delta"]["content"] == text
        assert out["model"] == (f"m{raw}" if place == "model" else "gpt-x")


# --- errors


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "overloaded", "type": "server_error", "code": None, "param": None}}, "overloaded"),
        ({"error": {"message": "overloaded", "code": 502}}, "overloaded"),
        ({"error": "overloaded"}, "overloaded"),
        ({"error": 500}, "500"),
        ({"error": ["a", "b"]}, '["a","b"]'),
        ({"error": {"error": {"reason": "x"}}}, '{"reason":"x"}'),
        ({"error": {"code": 1}}, "the upstream gave no message"),
        ({"error": {"message": ""}}, "the upstream gave no message"),
        ({"type": "error", "message": "overloaded"}, "overloaded"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}}, "overloaded"),
        ({"object": "error", "message": "overloaded", "type": "BadRequestError", "code": 400}, "overloaded"),
        ({"detail": "Not authenticated"}, "Not authenticated"),
        ({"detail": [{"loc": ["body"], "msg": "x"}]}, '[{"loc":["body"],"msg":"x"}]'),
        ({"error": {"message": "overloaded"}, **event({"content": ""}, finish="error")}, "overloaded"),
    ],
)
def test_an_error_is_known_in_every_usual_shape(body: dict[str, Any], message: str) -> None:
    report = read_error(body)
    assert report is not None
    assert report.text == message
    meaning = reader().read(block(body))
    assert meaning.told is not None
    assert (meaning.error, meaning.told.text) == ("the upstream reported an error", message)


@pytest.mark.parametrize("data", [b'{"message":"overloaded"}', b'{"error":"overloaded"}', b'{"detail":"overloaded"}'])
def test_an_event_named_error_is_one_whatever_it_holds(data: bytes) -> None:
    told = reader().read(sse.frame(data, b"error")).told
    assert told is not None
    assert told.text == "overloaded"


@pytest.mark.parametrize("body", [{"error": None}, {"error": {}}, {"message": "x"}, {"choices": None}, {}])
def test_what_only_resembles_an_error_is_none(body: dict[str, Any]) -> None:
    assert read_error(body) is None
    assert reader().read(block(body)) == Meaning()


def test_an_event_is_no_error_because_of_a_detail_or_a_type() -> None:
    for more in ({"detail": "x"}, {"type": "error"}, {"object": "error"}):
        assert reader().read(block({**TEXT, **more})).error is None


def test_a_long_message_is_cut() -> None:
    cut = UpstreamMessage("x" * MAX_ERROR_TEXT)
    assert read_error({"error": "x" * (MAX_ERROR_TEXT + 1)}) == cut
    assert read_error({"error": "x" * MAX_ERROR_TEXT}) == cut


@pytest.mark.parametrize("error", [b'"\\ud800"', b'{"message":"\\ud800"}', b'{"message":{"a":"\\ud800"}}'])
def test_an_error_with_a_lone_surrogate_can_be_told_on(error: bytes) -> None:
    read = reader().read(b'data: {"error":' + error + b"}\n\n")
    assert orjson.loads(orjson.dumps(read.error)) == read.error


# --- what cannot be understood


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b"\xff",
        b"[DONE]x",
        b"{'a':1}",
        b'\xef\xbb\xbf{"choices":[]}',
        orjson.dumps(TEXT).replace(b"hello", b"\xed\xa0\x80"),
        orjson.dumps(TEXT).replace(b"hello", b"\xff"),
        orjson.dumps(TEXT).replace(b"1750000000", b"9" * 5000),
        orjson.dumps(TEXT).decode().encode("utf-16-le").replace(b"\n", b""),
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)
def test_data_that_is_no_json_object_is_an_error(data: bytes) -> None:
    assert reader().read(b"data: " + data + b"\n\n").error == "the upstream sent an event that is not a JSON object"


@pytest.mark.parametrize("digits", [19, 20, 40, 400])
def test_a_huge_integer_is_relayed_or_replaced(digits: int) -> None:
    for change in (b'"seed":', b'"created":'):
        given = block(ROLE).replace(b'"created":1750000000', change + b"9" * digits)
        read = reader().read(given)
        assert read.error is None
        assert read.frame is not None
        json.loads(read.frame[6:])
        again = reader().read(given.replace(b"data: ", b"data:"))
        assert again.error is None


@pytest.mark.parametrize("depth", [200, 260, 600, 980, 1010, 1020, 5000])
@pytest.mark.parametrize("place", ["chunk", "error", "content", "arguments"])
def test_deep_nesting_never_raises(depth: int, place: str) -> None:
    deep = b"[" * depth + b"]" * depth
    data = {
        "chunk": b'{"x":%b,"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}',
        "error": b'{"error":{"message":%b}}',
        "content": b'{"choices":[{"delta":{"content":%b}}]}',
        "arguments": b'{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":%b}}]}}]}',
    }[place] % deep
    chat = reader()
    for _ in range(3):
        read = relayed(chat, b"data: " + data + b"\n\n")
        assert (read.frame is None) != (read.error is None)


def test_a_deep_conforming_event_does_not_break_the_template() -> None:
    data = orjson.dumps({**ROLE, "x": "deep"}).replace(b'"deep"', b"[" * 1015 + b"]" * 1015)
    chat = reader()
    for text in (b"a", b"b", b"c"):
        given = b"data: " + data.replace(b'"content":""', b'"content":"%b"' % text) + b"\n\n"
        assert relayed(chat, given).frame == given


@hypothesis.given(st.binary(max_size=60))
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    for given in sse.BlockDecoder().feed(b"data: " + data + b"\n\n"):
        reader().read(given)


KEYS = (
    *("id", "created", "model", "object", "choices", "delta", "index", "role", "content", "tool_calls", "function"),
    *("arguments", "type", "finish_reason", "usage", "error", "message", "detail", "name"),
)
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 1 << 70), st.sampled_from(["", "a", "stop", "\ud800"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)),
    max_leaves=25,
)
CHUNK_LIKE = st.dictionaries(st.sampled_from(["choices", "error", "usage"]), JSON_VALUES)


@hypothesis.given(st.lists(CHUNK_LIKE, min_size=1, max_size=4))
def test_no_json_makes_the_reader_raise_or_send_what_is_not_json(values: list[dict[str, Any]]) -> None:
    chat = reader()
    for value in values:
        read = relayed(chat, b"data: " + json.dumps(value).encode() + b"\n\n")
        if read.frame is not None:
            assert json.loads(read.frame[6:].decode())["object"] == "chat.completion.chunk"
            assert sse.is_frame(read.frame)


# --- content, finish, usage, counters


def test_a_role_or_an_empty_text_is_no_content() -> None:
    chat = reader()
    assert not chat.read(block(ROLE)).content
    assert not chat.read(block(event({"content": None}))).content
    assert chat.read(block(TEXT)).content
    assert (chat.counts.events, chat.counts.text_bytes) == (1, 5)


def test_a_finish_closes_a_choice_and_the_completion_with_the_last_one() -> None:
    chat = reader()
    assert not chat.finished
    for index in (0, 1):
        chat.read(block(event({"content": "x"}, index=index)))
    assert chat.read(block(event(finish="stop", index=1))).finish
    assert not chat.finished
    assert chat.read(block(event({"content": "x"}))).frame is not None
    assert chat.read(block(event(finish="length"))).finish
    assert chat.finished


def test_a_finish_in_the_event_with_the_last_text_is_both() -> None:
    read = reader().read(block(event({"role": "assistant", "content": "x"}, finish="stop")))
    assert read.content
    assert read.finish


def test_a_second_finish_of_the_same_choice_is_kept_from_subscribers() -> None:
    chat = reader()
    chat.read(block(STOP))
    assert chat.read(block(STOP)) == Meaning()


def test_text_after_the_finish_is_still_relayed() -> None:
    chat = reader()
    chat.read(block(STOP))
    assert chat.read(block(TEXT)).content
    assert chat.finished


def test_a_choice_that_begins_after_another_has_finished_keeps_its_role_and_its_finish() -> None:
    chat = reader()
    given = [
        event({"role": "assistant", "content": "a"}),
        event(finish="stop"),
        event({"role": "assistant", "content": ""}, index=1),
        event({"content": "b"}, index=1),
        event(finish="stop", index=1),
        event({"role": "assistant"}, finish="stop", index=2),
    ]
    assert [conforming(chat.read(block(each)).frame) for each in given] == given
    assert chat.finished


@pytest.mark.parametrize("choices", [[], None, "absent"])
def test_usage_is_remembered_from_any_event_and_the_last_one_counts(choices: Any) -> None:
    chat = reader()
    counts = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    chat.read(block({**ROLE, "usage": {**counts, "completion_tokens": 1, "total_tokens": 2}}))
    chat.read(block({**STOP, "usage": None}))
    last = {**STOP, "choices": choices, "usage": counts}
    if choices == "absent":
        del last["choices"]
    assert chat.read(block(last)) == Meaning()
    assert chat.usage(0) == Usage(1, 2, estimated=False, reported=counts)
    assert chat.read(block({**STOP, "usage": {"total_tokens": 9}})) == Meaning()
    assert chat.usage(0).reported == counts


def test_without_counts_of_the_upstream_tokens_are_estimated() -> None:
    chat = reader()
    chat.read(block(ROLE))
    chat.read(block(TEXT))
    assert chat.usage(7) == Usage(7, 2, estimated=True)


def closing_event(chat: ChatReader) -> dict[str, Any]:
    (frame,) = chat.closing_frames(REPORT, None)
    value: dict[str, Any] = orjson.loads(frame[6:])
    return value


def test_the_identity_is_that_of_the_first_event() -> None:
    chat = reader()
    assert closing_event(chat)["id"] == "chatcmpl-own"
    chat.read(block(TEXT))
    own = closing_event(chat)
    assert {key: own[key] for key in ("id", "object", "created", "model")} == {
        key: TEXT[key] for key in ("id", "object", "created", "model")
    }


@hypothesis.given(st.lists(st.text("abc é", min_size=0, max_size=5), max_size=20), st.booleans())
def test_each_content_event_is_counted_exactly_once(texts: list[str], fitted: bool) -> None:
    chat = reader()
    chat.read(block(ROLE))
    for text in texts:
        given = block(event({"content": text}))
        if fitted:
            relayed(chat, given)
        else:
            chat.read(given)
    chat.read(block(STOP))
    assert chat.counts.events == sum(map(bool, texts))
    assert chat.counts.text_bytes == sum(len(text.encode()) for text in texts)


def test_an_event_with_text_and_finish_is_never_taken_for_plain_text() -> None:
    chat = reader()
    given = block(event({"content": "x"}, finish="stop"))
    for _ in range(3):
        assert chat.shape.fit(given) is None
        assert chat.read(given).finish
