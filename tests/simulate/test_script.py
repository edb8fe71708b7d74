"""Every field of a script changes the bytes or the steps of an answer as its description says."""

import zlib
from typing import Any

import orjson
import pytest

from gateway.simulate.chat import CHAT
from gateway.simulate.feed import feed
from gateway.simulate.plan import plan
from gateway.simulate.script import Script
from gateway.simulate.steps import Close, End, Facts, Reset, Send, Stall, Step

FACTS = Facts(model="openai/gpt-x", prompt=b'[{"role":"user","content":"hi"}]')


def steps_of(facts: Facts = FACTS, **fields: Any) -> list[Step]:
    return list(plan(Script(**{"tokens": 3, **fields}), facts, CHAT))


def sends_of(steps: list[Step]) -> list[Send]:
    return [step for step in steps if isinstance(step, Send)]


def response(steps: list[Step]) -> tuple[str, bytes]:
    head, _, body = b"".join(send.data for send in sends_of(steps)).partition(b"\r\n\r\n")
    return head.decode(), body


def unchunked(body: bytes) -> bytes:
    """The data of transfer chunks, a torn last one included; asserts the last chunk if nothing is torn."""
    data = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        data += body[:length]
        assert length or body == b"\r\n"
        body = body[length + 2 :] if length else b""
    return data


def stream(facts: Facts = FACTS, **fields: Any) -> bytes:
    return unchunked(response(steps_of(facts, **fields))[1])


def payloads(body: bytes) -> list[Any]:
    events = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event.startswith(b"data: ")]
    return [orjson.loads(event) for event in events if event != b"[DONE]"]


def deltas(body: bytes) -> list[dict[str, Any]]:
    return [payload["choices"][0]["delta"] for payload in payloads(body) if payload["choices"]]


def test_a_default_stream_is_what_the_contract_demands() -> None:
    head, body = response(steps_of())
    assert head.startswith("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream")
    assert "Transfer-Encoding: chunked" in head
    text = unchunked(body)
    assert text.endswith(b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
    chunks = payloads(text)
    assert [list(chunk) for chunk in chunks] == [["id", "object", "created", "model", "choices"]] * 5
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
    assert chunks[0]["id"].startswith("chatcmpl-sim-")
    assert isinstance(chunks[0]["created"], int)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {"openai/gpt-x"}
    assert all(list(chunk["choices"][0]) == ["index", "delta", "finish_reason"] for chunk in chunks)
    assert deltas(text)[0] == {"role": "assistant", "content": ""}
    assert orjson.dumps(chunks[1]) in text, "compact JSON"


def test_one_event_is_one_chunk_is_one_send() -> None:
    sends = sends_of(steps_of())
    assert len(sends) == 1 + 1 + 3 + 2 + 1, "head, role, tokens, finish and [DONE], last chunk"
    assert all(unchunked(send.data + b"0\r\n\r\n").endswith(b"\n\n") for send in sends[1:-1])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    assert steps_of(seed=7) == steps_of(seed=7)
    assert stream(seed=7) != stream(seed=8)
    assert deltas(stream(seed=7)) != deltas(stream(seed=8))


def test_offsets_are_cumulative_from_the_request() -> None:
    sends = sends_of(steps_of(ttft_ms=50, head_ms=20, gap_ms=10))
    assert [round(send.at, 9) for send in sends] == [0.02, 0.02, 0.05, 0.06, 0.07, 0.08, 0.08, 0.08]
    assert [send.tokens for send in sends] == [0, 0, 1, 1, 1, 0, 0, 0]


def test_a_plan_has_exactly_one_last_step_and_it_is_the_end() -> None:
    steps = steps_of()
    assert [step for step in steps if not isinstance(step, Send)] == [End(0.08, True)]
    assert isinstance(steps[-1], End)


def test_a_given_text_is_said_word_by_word() -> None:
    said = [delta["content"] for delta in deltas(stream(text=" Two  words,\nthree."))[1:-1]]
    assert said == [" ", "Two  ", "words,\n", "three."]
    assert len(deltas(stream(text=""))) == 2


def test_tool_calls_come_in_fragments_that_join_to_json() -> None:
    said = deltas(stream(tool_calls=2))
    calls = [delta["tool_calls"][0] for delta in said if "tool_calls" in delta]
    assert [call["function"]["name"] for call in calls if "id" in call] == ["lookup", "lookup"]
    for index in (0, 1):
        fragments = [call["function"]["arguments"] for call in calls if call["index"] == index]
        assert len(fragments) > 2
        assert set(orjson.loads("".join(fragments))) == {"query", "limit"}
    assert b'"finish_reason":"tool_calls"' in stream(tool_calls=2)


def test_null_types_stand_in_the_later_fragments() -> None:
    calls = [d["tool_calls"][0] for d in deltas(stream(tool_calls=1, null_types=True)) if "tool_calls" in d]
    assert [call["type"] for call in calls[:2]] == ["function", None]
    assert b'"type":null' not in stream(tool_calls=1)


def test_reasoning_comes_first_and_at_the_time_of_the_first_token() -> None:
    steps = steps_of(reasoning_tokens=2, ttft_ms=50, gap_ms=10)
    said = [next(iter(delta)) for delta in deltas(unchunked(response(steps)[1]))[1:-1]]
    assert said == ["reasoning_content"] * 2 + ["content"] * 3
    assert [round(send.at, 9) for send in sends_of(steps) if send.tokens] == [0.05, 0.06, 0.07, 0.08, 0.09]


@pytest.mark.parametrize(
    ("usage", "include", "event"),
    [("auto", False, False), ("auto", True, True), ("always", False, True), ("never", True, False)],
)
def test_the_usage_event_comes_exactly_when_it_should(usage: str, include: bool, event: bool) -> None:
    chunks = payloads(stream(Facts(include_usage=include, prompt=b"x" * 40), usage=usage))
    assert (chunks[-1]["choices"] == []) is event
    if event:
        assert chunks[-1]["usage"] == {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
    assert all("usage" not in chunk for chunk in chunks if chunk["choices"])


def test_usage_can_stand_in_the_finish_alone() -> None:
    chunks = payloads(stream(usage="on_finish"))
    assert [("usage" in chunk, bool(chunk["choices"])) for chunk in chunks] == [(False, True)] * 4 + [(True, True)]


def test_usage_can_be_null_in_every_event_before_its_own() -> None:
    chunks = payloads(stream(usage="null_everywhere"))
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 5
    assert chunks[-1]["choices"] == []


def test_a_stall_leaves_the_stream_silent_after_its_tokens() -> None:
    for n in (0, 2, 3):
        steps = steps_of(stall_after=n)
        assert isinstance(steps[-1], Stall)
        assert sum(send.tokens for send in sends_of(steps)) == n
    assert isinstance(steps_of(stall_after=4)[-1], End), "never reached"
    assert not [send for send in sends_of(steps_of(stall_after=0, reasoning_tokens=2)) if send.tokens]


def test_silence_can_stand_before_the_head_or_before_the_role() -> None:
    assert steps_of(stall_before="head") == [Stall(0.0)]
    head, body = response(steps_of(stall_before="role"))
    assert head
    assert body == b""
    assert isinstance(steps_of(stall_before="role")[-1], Stall)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize(("field", "ending"), [("reset_after", Reset), ("cut_after", Close)])
def test_a_cut_falls_in_the_middle_of_a_frame(field: str, ending: type, after: int) -> None:
    behaviour: dict[str, Any] = {field: after}
    steps = steps_of(**behaviour)
    assert type(steps[-1]) is ending
    whole, torn = unchunked(response(steps)[1]).rsplit(b"\n\n", 1)
    assert whole.count(b"data: ") == 1 + after
    assert torn.startswith(b"data: {")
    assert sum(send.tokens for send in sends_of(steps)) == after


def test_a_clean_close_has_complete_frames_but_no_finish_and_no_done() -> None:
    steps = steps_of(close_after=2)
    text = unchunked(response(steps)[1])
    assert steps[-1] == End(steps[-1].at, keep_alive=False)
    assert text.endswith(b"\n\n")
    assert len(payloads(text)) == 3
    assert b"[DONE]" not in text
    assert b'"stop"' not in text


def test_the_first_of_several_faults_wins() -> None:
    assert isinstance(steps_of(stall_after=2, reset_after=1)[-1], Reset)


def test_done_and_finish_can_be_left_out() -> None:
    assert stream(done=False) == stream().removesuffix(b"data: [DONE]\n\n")
    assert b'"stop"' not in stream(finish=False)
    assert stream(finish=False).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_line_ends_are_as_told(line_end: str) -> None:
    assert stream(line_end=line_end, comments=1) == stream(comments=1).replace(b"\n", line_end.encode())


def test_the_space_after_data_can_be_missing() -> None:
    assert stream(space=False) == stream().replace(b"data: ", b"data:")


def test_comments_come_every_n_tokens() -> None:
    text = stream(comments=2, tokens=5)
    assert text.count(b": ping\n\n") == 2
    assert text.replace(b": ping\n\n", b"") == stream(tokens=5)


def test_bom_event_names_and_pretty_json() -> None:
    assert stream(bom=True) == b"\xef\xbb\xbf" + stream()
    assert stream(event_names=True) == stream().replace(b"data: ", b"event: message\ndata: ")
    first = stream(pretty=True).split(b"\n\n")[1]
    assert len(first.splitlines()) > 5
    joined = b"\n".join(line.removeprefix(b"data: ") for line in first.splitlines())
    assert orjson.loads(joined) == payloads(stream())[1]


@pytest.mark.parametrize("name", ["created", "model", "id", "object"])
def test_top_level_members_can_be_omitted(name: str) -> None:
    assert all(name not in chunk for chunk in payloads(stream(omit=(name,))))


def test_choice_members_and_the_role_can_be_omitted() -> None:
    assert all("index" not in chunk["choices"][0] for chunk in payloads(stream(omit=("index",))))
    choices = [chunk["choices"][0] for chunk in payloads(stream(omit=("finish_reason",)))]
    assert ["finish_reason" in choice for choice in choices] == [False] * 4 + [True]
    assert deltas(stream(omit=("role",)))[0] == {"content": ""}


def test_the_finish_reason_can_stand_in_the_delta_and_error_null_in_every_event() -> None:
    assert payloads(stream(finish_in_delta=True))[-1]["choices"] == [{"index": 0, "delta": {"finish_reason": "stop"}}]
    assert all(chunk["error"] is None for chunk in payloads(stream(error_null=True)))


def test_an_error_status_has_a_body_in_openais_shape() -> None:
    head, body = response(steps_of(status=429, retry_after=7, head_ms=30))
    assert head.startswith("HTTP/1.1 429 Too Many Requests")
    assert "Retry-After: 7" in head
    assert orjson.loads(body)["error"]["code"] == "rate_limit_exceeded"
    assert steps_of(status=429, head_ms=30)[-1] == End(0.03, True)
    assert set(orjson.loads(response(steps_of(status=418))[1])["error"]) == {
        "message",
        "type",
        "param",
        "code",
    }
    assert response(steps_of(status=599))[0].startswith("HTTP/1.1 599 Unknown")


def test_html_and_json_can_come_instead_of_a_stream() -> None:
    head, body = response(steps_of(status=502, html_error=True))
    assert "502 Bad Gateway" in head
    assert "text/html" in head
    assert body.startswith(b"<!doctype html>")
    head, body = response(steps_of(json_instead=True))
    assert head.startswith("HTTP/1.1 200 OK\r\nContent-Type: application/json")
    assert "error" in orjson.loads(body)


def test_an_error_event_can_come_first_or_after_some_tokens() -> None:
    first = steps_of(error_first=True, ttft_ms=50)
    assert [list(payload) for payload in payloads(unchunked(response(first)[1]))] == [["error"]]
    assert first[-1] == End(0.05, keep_alive=False)
    later = payloads(stream(error_after=2))
    assert len(later) == 4
    assert list(later[-1]) == ["error"]


def test_a_compressed_body_is_the_same_after_gunzip() -> None:
    head, _ = response(steps_of(gzip=True))
    assert "Content-Encoding: gzip" in head
    assert zlib.decompress(stream(gzip=True), wbits=31) == stream()
    _, error = response(steps_of(gzip=True, status=500))
    assert "error" in orjson.loads(zlib.decompress(error, wbits=31))


def test_a_close_delimited_body_has_no_framing() -> None:
    head, body = response(steps_of(body="close"))
    assert "Transfer-Encoding" not in head
    assert "Connection: close" in head
    assert body == stream()
    assert steps_of(body="close")[-1] == End(0.08, keep_alive=False)
    assert steps_of(Facts(chunked=False)) == steps_of(Facts(chunked=False), body="close")


def test_a_body_of_known_length_announces_it() -> None:
    head, body = response(steps_of(body="length"))
    assert body == stream()
    assert f"Content-Length: {len(body)}" in head
    closed, short = response(steps_of(body="length", close_after=1))
    assert f"Content-Length: {len(short)}" in closed
    torn, less = response(steps_of(body="length", cut_after=1))
    assert f"Content-Length: {len(body)}" in torn
    assert len(less) < len(body)


def test_a_split_body_is_sent_in_pieces_of_that_size() -> None:
    sends = sends_of(steps_of(split=5))[1:]
    assert all(len(send.data) <= 5 and send.alone for send in sends)
    assert response(steps_of(split=5)) == response(steps_of())
    assert sum(send.tokens for send in sends) == 3


def test_a_connection_is_not_kept_if_either_side_says_so() -> None:
    for steps in (steps_of(keep_alive=False), steps_of(Facts(keep_alive=False))):
        assert "Connection: close" in response(steps)[0]
        assert steps[-1] == End(0.08, keep_alive=False)


def test_the_end_of_the_body_can_be_held_back() -> None:
    *_, done, last, end = steps_of(hold_body_ms=500)
    assert isinstance(done, Send)
    assert [round(step.at, 9) for step in (done, last, end)] == [0.08, 0.58, 0.58]
    assert b"[DONE]" in done.data


def test_unicode_separators_are_raw() -> None:
    text = stream(unicode_separators=True)
    assert all(separator.encode() in text for separator in ("\u2028", "\u2029", "\u0085"))


def test_a_request_that_is_not_streamed_gets_the_same_text_at_the_end() -> None:
    facts = Facts(stream=False, prompt=b"x" * 8)
    steps = steps_of(facts, reasoning_tokens=1, ttft_ms=50, gap_ms=10)
    _, body = response(steps)
    message = orjson.loads(body)["choices"][0]["message"]
    said = [delta.get("content", "") for delta in deltas(stream())]
    assert message["content"] == "".join(said)
    assert message["reasoning_content"]
    assert steps[-1] == End(0.09, True)
    assert orjson.loads(body)["usage"]["completion_tokens"] == 4
    tools = orjson.loads(response(steps_of(facts, tool_calls=1))[1])["choices"][0]
    assert tools["finish_reason"] == "tool_calls"
    assert orjson.loads(tools["message"]["tool_calls"][0]["function"]["arguments"])


def test_faults_hit_a_request_that_is_not_streamed_too() -> None:
    facts = Facts(stream=False)
    assert [type(step) for step in steps_of(facts, stall_after=1)] == [Stall]
    assert isinstance(steps_of(facts, reset_after=1)[-1], Reset)
    assert isinstance(steps_of(facts, cut_after=1)[-1], Close)
    assert response(steps_of(facts, error_after=1))[0].startswith("HTTP/1.1 500")


def test_a_feed_resumes_after_the_last_event_seen_and_then_is_over() -> None:
    head, body = response(list(feed(3, 0.5, "1")))
    assert "text/event-stream" in head
    ticks = [f'event: tick\nid: {n}\ndata: {{"n":{n}}}\n\n' for n in (2, 3)]
    assert unchunked(body) == ("retry: 100\n\n" + "".join(ticks)).encode()
    assert [step.at for step in feed(3, 0.5, "1")] == [0, 0, 0, 0.5, 0.5, 0.5]
    assert response(list(feed(3, 0.5, "3")))[0].startswith("HTTP/1.1 204")


def test_a_script_is_read_from_json_over_the_defaults() -> None:
    script = Script.parse({"ttft_ms": 5, "omit": ["id"], "text": None, "stall_after": 3})
    assert script == Script(ttft_ms=5, omit=("id",), stall_after=3)
    assert script.replace({"tokens": 1}) == Script(ttft_ms=5, omit=("id",), stall_after=3, tokens=1)


@pytest.mark.parametrize(
    ("mapping", "complaint"),
    [
        ({"tempo": 1}, "tempo: no such field"),
        ({"ttft_ms": "5"}, "ttft_ms: must be a finite number"),
        ({"ttft_ms": -1}, "ttft_ms: must be a finite number"),
        ({"tokens": 1.5}, "tokens: must be a whole number"),
        ({"tokens": True}, "tokens: must be a whole number"),
        ({"stall_after": -1}, "stall_after: must be a whole number"),
        ({"done": 1}, "done: must be true or false"),
        ({"text": 3}, "text: must be a string or null"),
        ({"body": "brotli"}, "body: must be one of"),
        ({"line_end": "\n\n"}, "line_end: must be one of"),
        ({"omit": ["choices"]}, "omit: must be a list of names"),
        ({"status": 99}, "status: must be 200 to 599"),
        ({"head_ms": 60}, "head_ms: must not be above ttft_ms"),
        ({"ttft_jitter_ms": -1}, "ttft_jitter_ms: must be a finite number"),
        ({"ttft_jitter_ms": 41, "head_ms": 10}, "ttft_jitter_ms: must not be above ttft_ms - head_ms"),
        ({"slow_share": 1.01}, "slow_share: must be 0 to 1"),
        ({"slow_share": 0.1, "slow_ttft_ms": 49}, "slow_ttft_ms: must not be below ttft_ms"),
        ([1], "a script must be a JSON object"),
    ],
)
def test_a_wrong_script_is_refused_by_the_name_of_its_field(mapping: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Script.parse(mapping)


def test_comments_come_while_it_waits_and_the_opening_frames_behind_them() -> None:
    steps = steps_of(ttft_ms=30, head_ms=10, gap_ms=0, comment_every_ms=10, comment="working on it")
    sends = sends_of(steps)
    assert [round(send.at, 9) for send in sends[:4]] == [0.01, 0.01, 0.02, 0.03]
    assert stream(ttft_ms=30, comment_every_ms=15, comment="x").startswith(b": x\n\n: x\n\ndata: {")
    assert b": x" not in stream(comment="x")


def test_a_comment_is_one_line() -> None:
    with pytest.raises(ValueError, match="comment: must be one line"):
        Script(comment="a\ndata: b")
