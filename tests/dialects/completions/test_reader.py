"""The reader relays what conforms as it came, says what each block means, and never raises."""

import hypothesis
import orjson
import pytest
from hypothesis import strategies as st

from gateway.dialects.dialect import AnswerReport, Meaning
from gateway.dialects.learned_shape import AnswerMemory
from gateway.dialects.usage import Usage
from gateway.errors import UpstreamError
from gateway.wire.http1 import encode_chunk
from tests.dialects.completions.answers import DONE, Played, answer, block, conforming, event, in_steps, reader, word

OPENAI = (
    b'data: {"id":"cmpl-A","object":"text_completion","created":1752000000,"choices":[{"text":"H\xc3\xa9","index":0,'
    b'"logprobs":null,"finish_reason":null}],"model":"gpt-3.5-turbo-instruct"}\n\n',
    b'data: {"id":"cmpl-A","object":"text_completion","created":1752000000,"choices":[{"text":" there","index":0,'
    b'"logprobs":null,"finish_reason":null}],"model":"gpt-3.5-turbo-instruct"}\n\n',
    b'data: {"id":"cmpl-A","object":"text_completion","created":1752000000,"choices":[{"text":"","index":0,'
    b'"logprobs":null,"finish_reason":"length"}],"model":"gpt-3.5-turbo-instruct"}\n\n',
)
VLLM = (
    b'data: {"id":"cmpl-9b","object":"text_completion","created":1752000000,"model":"qwen","choices":[{"index":0,'
    b'"text":"Hi","logprobs":null,"finish_reason":null,"stop_reason":null}]}\n\n',
    b'data: {"id":"cmpl-9b","object":"text_completion","created":1752000000,"model":"qwen","choices":[{"index":0,'
    b'"text":"","logprobs":null,"finish_reason":"stop","stop_reason":"\\n"}]}\n\n',
)
WITH_LOGPROBS = (
    b'data: {"id":"c","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":" a",'
    b'"logprobs":{"tokens":[" a"],"token_logprobs":[-0.25],"top_logprobs":null,"text_offset":[3]},'
    b'"finish_reason":null}]}\n\n',
)


@pytest.mark.parametrize("blocks", [OPENAI, VLLM, WITH_LOGPROBS], ids=["OpenAI", "vLLM", "logprobs"])
def test_what_conforms_passes_as_the_very_bytes(blocks: tuple[bytes, ...]) -> None:
    read = reader()
    for each in blocks:
        meaning = read.read(each)
        assert meaning.frame is each
        conforming(meaning.frame)


def test_a_text_is_content_and_an_empty_one_is_none() -> None:
    read = reader()
    assert read.read(word("")) == Meaning(word(""))
    assert read.read(word("a")) == Meaning(word("a"), content=True)
    assert read.read(word("", finish="stop")) == Meaning(word("", finish="stop"), finish=True)
    assert read.read(DONE) == Meaning(done=True)
    assert (read.counts.events, read.counts.text_bytes) == (1, 1)


def test_an_answer_with_several_choices_is_whole_when_all_have_finished() -> None:
    read = reader()
    for each in (word("a"), word("b", index=1), word("", finish="stop")):
        read.read(each)
    assert not read.finished
    read.read(word("", index=1, finish="length"))
    assert read.finished


def test_usage_is_taken_out_and_told_at_the_end() -> None:
    played = Played(*answer())
    assert played.owner.calls == ["content", "complete"]
    assert played.frames == answer()[:4]
    usage = played.body.usage(9)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.estimated) == (4, 3, False)
    (closing,) = played.body.closing_frames(AnswerReport(usage, {"provider": "alpha"}))
    told = orjson.loads(closing[6:])
    assert (told["object"], told["choices"], told["id"]) == ("text_completion", [], "cmpl-1")
    assert told["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    assert told["routing_metadata"] == {"provider": "alpha"}
    assert played.body.closing_frames(None) == []


def test_a_usage_that_is_nonsense_is_not_believed() -> None:
    read = reader()
    for each in (word("one"), block({**event(""), "choices": [], "usage": {"prompt_tokens": -1}}), DONE):
        read.read(each)
    assert read.usage(5) == Usage(5, 1, estimated=True)


def test_what_was_told_without_choices_is_not_lost() -> None:
    read = reader()
    read.read(word("a", finish="stop"))
    read.read(block({"choices": [], "timings": {"predicted_n": 1}}))
    (closing,) = read.closing_frames(None, None)
    told = orjson.loads(closing[6:])
    assert told["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": None}]
    assert told["timings"] == {"predicted_n": 1}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"error":{"message":"out of memory","type":"server_error"}}', "out of memory"),
        (b'{"error":"out of memory"}', "out of memory"),
        (b'{"object":"error","message":"out of memory","code":500}', "out of memory"),
        (b'{"choices":[{"index":0,"text":"","finish_reason":"error"}]}', "finish_reason error"),
        (b'{"choices":[{"index":0,"text":"","error":{"message":"gone"},"finish_reason":null}]}', "gone"),
    ],
)
@pytest.mark.parametrize("before", [[], [word("a")]], ids=["first", "behind content"])
def test_an_error_in_the_stream_breaks_the_answer_in_the_upstreams_words(
    data: bytes, told: str, before: list[bytes]
) -> None:
    played = Played(*before, b"data: " + data + b"\n\n")
    assert played.owner.calls == ["content"] * bool(before) + ["broken"]
    assert played.owner.error is not None
    assert played.owner.error.quoted == told
    (frame,) = played.body.break_frames(played.owner.error)
    assert orjson.loads(frame[6:])["error"]["message"].endswith(told)


@pytest.mark.parametrize(
    "choice", [b'{"index":0,"delta":{"content":"a"}}', b'{"index":0,"message":{"content":"a"}}', b"3", b'{"text":4}']
)
def test_an_answer_of_another_dialect_is_refused_before_any_of_it_is_relayed(choice: bytes) -> None:
    played = Played(b'data: {"id":"c","choices":[%b]}\n\n' % choice)
    assert (played.owner.calls, played.frames) == (["broken"], [])
    assert isinstance(played.owner.error, UpstreamError)


def test_a_body_that_ends_without_a_finish_is_a_break_and_with_one_is_an_end() -> None:
    broken, whole = Played(word("a"), ends=True), Played(word("a"), word("", finish="stop"), ends=True)
    assert broken.owner.calls == ["content", "broken"]
    assert broken.owner.error is not None
    assert broken.owner.error.message == "the upstream ended in mid-stream, with neither a finish nor [DONE]"
    assert whole.owner.calls == ["content", "complete"]


def test_a_token_of_the_learned_shape_is_sent_on_as_the_chunk_that_came() -> None:
    played = Played(word("one"), word(" two"))
    assert played.body.feed_chunk(encode_chunk(word(" three")))
    assert not played.body.feed_chunk(encode_chunk(word("", finish="stop")))
    assert played.frames[:3] == [word("one"), word(" two"), word(" three")]
    assert played.reader.counts.events == 3


def test_a_shape_is_learned_of_events_that_are_repaired_too() -> None:
    blocks = [block({**event(text), "usage": None}) for text in ("one", "two", "three")]
    played = Played(*blocks)
    assert [conforming(frame)["choices"][0]["text"] for frame in played.frames] == ["one", "two", "three"]
    assert played.reader.shape.fit(blocks[0]) == played.frames[0]


def test_a_second_answer_is_found_by_the_bytes_of_the_first() -> None:
    memory = AnswerMemory()
    Played(*answer("cmpl-1"), memory=memory)
    read = reader(memory)
    first, second, *_ = answer("cmpl-2")
    assert read.read_beginning(first + second) == ([first], len(first))
    assert read.shape.fit(second) is second
    assert (read.counts.events, read.counts.text_bytes) == (2, 7)
    rest = b"".join(answer("cmpl-2")[3:])
    assert read.read_rest(rest) == answer("cmpl-2")[3]
    assert read.finished
    assert read.usage(0) == Played(*answer("cmpl-2")).body.usage(0)


ODD = [
    *(word("", answer_id="cmpl-2"), word("x", index=1), word("x", finish="stop"), word("\n"), word("\u00e9")),
    *(word("x", model="other"), word("x", usage=None), block({"error": {"message": "no"}}), b": ping\n\n", DONE),
    *(word("x").replace(b'"text"', b'"text" '), word("x").replace(b"1750000000", b"01"), b"data: \xff\n\n"),
]


@hypothesis.given(st.lists(st.sampled_from([*answer("cmpl-2"), *ODD]), max_size=6), st.booleans())
def test_with_a_memory_an_answer_means_what_it_means_without(blocks: list[bytes], at_once: bool) -> None:
    memory = AnswerMemory()
    Played(*answer("cmpl-1"), memory=memory)
    pieces = [b"".join(blocks)] if at_once else blocks
    with_memory, without = Played(*pieces, memory=memory, ends=True), Played(*pieces, ends=True)
    assert with_memory.owner.calls == without.owner.calls
    assert b"".join(with_memory.frames) == b"".join(without.frames)
    assert with_memory.body.usage(3) == without.body.usage(3)
    assert str(with_memory.owner.error) == str(without.owner.error)


@hypothesis.given(st.lists(st.integers(1, 400), max_size=8))
def test_a_stream_cut_anywhere_is_the_same_stream(cuts: list[int]) -> None:
    data, pieces = b"".join(answer()), []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    played = Played(*pieces, data)
    assert (played.owner.calls, played.frames) == (["content", "complete"], answer()[:4])


@hypothesis.given(st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["choices", "text", "index", "error", "usage", "id", "finish_reason"]), inner),
    max_leaves=12,
).map(block))  # fmt: skip
def test_no_block_raises(data: bytes) -> None:
    read = reader()
    read.read(word("a"))
    assert isinstance(read.read(data), Meaning)


LONG_TEXT = "word " * 20_000


@pytest.mark.parametrize(
    "value",
    [
        event(LONG_TEXT),
        {**event(LONG_TEXT), "object": "other"},
        event("a", logprobs=None, note=LONG_TEXT),
        {**event("a"), "choices": [{"text": LONG_TEXT, "finish_reason": "stop"}]},
        {"choices": [{"text": 3, "index": 0}], "note": LONG_TEXT},
        {"error": {"message": "m", "note": LONG_TEXT}},
    ],
    ids=["text", "repaired", "beside", "finish", "no text", "error"],
)
def test_a_long_event_means_the_same_in_steps(value: object) -> None:
    once, steps = reader(), reader()
    at_once, stepped = once.read(block(value)), in_steps(steps, block(value))
    assert stepped == at_once
    assert (once.counts.events, once.counts.text_bytes) == (steps.counts.events, steps.counts.text_bytes)
