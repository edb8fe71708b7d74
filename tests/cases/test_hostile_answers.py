"""Answers of hostile or broken upstreams: each is refused or relayed, and costs the gateway little."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from gateway.upstream.inflate import MAX_INFLATED_BYTES
from tests.kit.completions import MODEL, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, fetch
from tests.kit.raw_upstream import RawUpstream

pytestmark = pytest.mark.deep

# The longest turn of the loop in processor time: most of these take 10 ms, thousands of long members 11. Without the
# slices in which answers are read it is exceeded up to twentyfold.
LONGEST_TURN = 0.02
CHUNK = '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[%s]}'
DONE = "data: [DONE]\n\n"
MIB = 1 << 20


def event(choices: str) -> str:
    return f"data: {CHUNK % choices}\n\n"


def word(text: str) -> str:
    return event(f'{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}')


def delta(members: str) -> str:
    return event(f'{{"index":0,"delta":{{"content":"a",{members}}},"finish_reason":null}}')


def message(members: str) -> str:
    return f'{{"choices":[{{"message":{{"content":"a",{members}}},"finish_reason":"stop"}}]}}'


def many(item: str, count: int) -> str:
    return ",".join([item] * count)


HI, STOP = word("hi"), event('{"index":0,"delta":{},"finish_reason":"stop"}')
FLOODS: dict[str, tuple[str, str]] = {
    "millions of choices": (event(many("{}", 2_600_000)), "values"),
    "thousands of choices": (event(many("{}", 9_000)), "more than 256 choices"),
    "millions of parts": (delta(f'"x":0,"content":[{many("{}", 2_000_000)}]'), "values"),
    "thousands of parts": (delta(f'"x":0,"content":[{many("0", 15_000)}]'), "parts"),
    "millions of calls": (delta(f'"tool_calls":[{many("{}", 2_000_000)}]'), "values"),
    "thousands of calls": (delta(f'"tool_calls":[{many("{}", 9_000)}]'), "more than 512 tool calls"),
    "comments": (": x\n\n" * 200_000, "comments in a row"),
    "comments in one event": (": x\n" * 200_000 + "\n", "more than 20000 lines"),
    "blocks that are nothing": ("x\n\n" * 200_000, "empty events"),
    "empty objects": ("data: {}\n\n" * 100_000, "empty events"),
    "empty choices": ('data: {"choices":[{}]}\n\n' * 50_000, "empty events"),
    "half an object": ('data: {"a":"' + "b" * 9 * MIB + "\n\n", "not a JSON object"),
}
WHOLE_FLOODS: dict[str, tuple[str, str]] = {
    "millions of choices": (f'{{"choices":[{many("{}", 2_600_000)}]}}', "values"),
    "thousands of choices": (f'{{"choices":[{many("{}", 9_000)}]}}', "more than 256 choices"),
    "millions of parts": (message(f'"x":0,"content":[{many("{}", 2_000_000)}]'), "values"),
    "thousands of calls": (message(f'"tool_calls":[{many("{}", 9_000)}]'), "more than 512 tool calls"),
    "990 levels": (message(f'"x":{"[" * 990}{"]" * 990}'), "nested too deeply"),
}


@dataclass(frozen=True)
class Played:
    """What the upstream answers: the body of a 200, and its header lines beyond the usual."""

    content: bytes
    kind: str = "text/event-stream"
    more: str = ""

    def response(self) -> bytes:
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: {self.kind}\r\nContent-Length: {len(self.content)}\r\n{self.more}\r\n"
        )
        return head.encode() + self.content


class Stage:
    """A gateway before an upstream that plays what a test gives it."""

    def __init__(self, start: Callable[[str], LocalGateway]) -> None:
        self._played = b""
        self.longest_turn = 0.0  # of the last answer
        self._upstream = RawUpstream(lambda request: self._played, "hostile")
        written = configuration([(self._upstream, [MODEL])], "[routing]\nbreaker_failures = 0\n")
        self.gateway = start(
            written.replace("[[upstreams.models]]", "max_event_bytes = 10485760\n[[upstreams.models]]")
        )

    def play(self, played: Played, *, stream: bool) -> Answer:
        """The answer of the gateway to what the upstream answers."""
        self._played = played.response()
        return self._ask(stream=stream)

    def play_raw(self, response: bytes) -> Answer:
        """The streamed answer of the gateway to what the upstream answers behind its status and type."""
        self._played = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + response
        return self._ask(stream=True)

    def _ask(self, *, stream: bool) -> Answer:
        content = body(stream=stream, stream_options={"include_usage": True} if stream else None)
        answer, self.longest_turn = self.gateway.watch(lambda: fetch(self.gateway.port, content), LONGEST_TURN)
        return answer

    def close(self) -> None:
        self.gateway.close()
        self._upstream.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(lambda written: LocalGateway(tmp_path_factory.mktemp("hostile"), written, KEYS))
    try:
        yield stage
    finally:
        stage.close()


def told(answer: Answer) -> str:
    """The message of the error in an answer of either way."""
    if answer.status != 200:
        return str(answer.error()["message"])
    *events, last = answer.events()
    assert last == "[DONE]"
    return str(events[-1]["error"]["message"])


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_told_as_an_error_of_the_upstream(stage: Stage, flood: str) -> None:
    content, words = FLOODS[flood]
    answer = stage.play(Played((HI + content + DONE).encode()), stream=True)
    assert words in told(answer)
    assert len(answer.body) < 10_000
    assert stage.longest_turn < LONGEST_TURN
    assert stage.gateway.ending(answer.headers["x-request-id"])["ending"] == "upstream_error"


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_events_in_the_place_of_a_whole_answer_is_told_too(stage: Stage, flood: str) -> None:
    content, words = FLOODS[flood]
    answer = stage.play(Played((HI + content + DONE).encode()), stream=False)
    assert (answer.status, words in told(answer)) == (502, True)
    assert stage.longest_turn < LONGEST_TURN


@pytest.mark.parametrize("levels", [300, 900])
@pytest.mark.parametrize("brackets", [('{"data":', "}"), ("[", "]"), ('{"tool_calls":', "}")])
def test_events_that_are_nested_deeply_in_the_place_of_a_whole_answer_are_joined(
    stage: Stage, levels: int, brackets: tuple[str, str]
) -> None:
    deep = delta(f'"audio":{brackets[0] * levels}1{brackets[1] * levels}')
    answer = stage.play(Played((HI + deep + STOP + DONE).encode()), stream=False)
    assert (answer.status, b'"content":"hia"' in answer.body) == (200, True)
    assert stage.gateway.ending(answer.headers["x-request-id"])["ending"] == "completed"


@pytest.mark.parametrize("flood", WHOLE_FLOODS)
def test_a_flood_in_a_whole_answer_is_told_as_an_error_of_the_upstream(stage: Stage, flood: str) -> None:
    content, words = WHOLE_FLOODS[flood]
    answer = stage.play(Played(content.encode(), "application/json"), stream=False)
    assert answer.status == 502
    assert words in told(answer)
    assert stage.longest_turn < LONGEST_TURN


def chunked(content: bytes, size: int) -> bytes:
    """The body in transfer chunks of this size."""
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join([b"%x\r\n%b\r\n" % (len(part), part) for part in parts]) + b"0\r\n\r\n"


def calls(count: int, text: str) -> str:
    return many(f'{{"id":"c","function":{{"name":"f","arguments":"{text}"}}}}', count)


# Bodies that have to be relayed, whatever they cost.
LONG_WORK: dict[str, str] = {
    "events of many choices": event(many('{"index":0,"delta":{"content":"a"}}', 256)) * 300,
    "events of many empty choices": event(many("{}", 128)) * 300,
    "events that each need a repair": "".join(
        f'data: {{"choices":[{{"delta":{{"content":"x"}},"x":{number}}}]}}\n\n' for number in range(20_000)
    ),
    "events with two texts": 'data: {"choices":[{"delta":{"content":"x","reasoning":"y"}}]}\n\n' * 20_000,
    "events that are alike": HI * 20_000,
    "events of many tool calls": event(f'{{"index":0,"delta":{{"tool_calls":[{calls(512, "x")}]}}}}') * 20,
    "events of many lines": ("x:\n" * 19_000 + "\n") * 10,
    "events with nothing but usage": 'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
    * 9_000,
    "events that are kept for the next": "".join(
        f'data: {{"choices":[],"k{number}":"{"v" * 900_000}"}}\n\n' for number in range(32)
    ),
    "a million fractions in small events": event(f'{{"delta":{{"content":"a","x":[{many("0.1", 10_000)}]}}}}') * 100,
    "thousands of members": delta(",".join(f'"k{number}":0' for number in range(9_000))) * 9,
    "thousands of long members": delta(",".join(f'"k{number}":"{"v" * 90}"' for number in range(3_300))) * 9,
    "thousands of long names": delta(",".join(f'"{"k" * 99}{number}":0' for number in range(3_300))) * 9,
    "texts of sixty kilobytes": word("A" * 60_000) * 600,
    "texts of one letter": HI * 9
    + 'data: {"choices":[{"delta":{"content":"x","y":[1],"refusal":"z"}}]}\n\n' * 40_000,
    "a sound of nine mebibytes": delta(f'"audio":{{"id":"s","data":"{"A" * 9 * MIB}"}}') * 2,
    "millions of lists": delta(f'"x":[{many("[]", 2_000_000)}]'),
    "lists in lists": delta(f'"x":[{many("[" * 90 + "]" * 90, 10_000)}]'),
    "millions of numbers": delta(f'"x":[{many("1", 3_000_000)}]'),
    "an image of nine mebibytes": word("A" * 9 * MIB),
    "an image that needs a repair": f'data: {{"choices":[{{"delta":{{"content":"{"A" * 9 * MIB}"}}}}]}}\n\n',
}


@pytest.mark.parametrize("work", LONG_WORK)
def test_much_work_is_done_in_short_turns(stage: Stage, work: str) -> None:
    answer = stage.play(Played((HI + LONG_WORK[work] + STOP + DONE).encode()), stream=True)
    *_, event, end = answer.events()
    assert end == "[DONE]"
    assert "error" not in event
    assert stage.longest_turn < LONGEST_TURN


@pytest.mark.parametrize("work", LONG_WORK)
def test_much_work_of_events_in_the_place_of_a_whole_answer_is_done_in_short_turns(stage: Stage, work: str) -> None:
    answer = stage.play(Played((HI + LONG_WORK[work] + STOP + DONE).encode()), stream=False)
    assert answer.status == 200
    assert json.loads(answer.body)["choices"][0]["message"]["content"].startswith("hi")
    assert stage.longest_turn < LONGEST_TURN


def test_events_of_too_many_members_in_the_place_of_a_whole_answer_are_refused(stage: Stage) -> None:
    events = "".join(
        delta(",".join(f'"{n}":0' for n in range(start, start + 5_000))) for start in range(0, 10**5, 5000)
    )
    answer = stage.play(Played((HI + events + STOP + DONE).encode()), stream=False)
    assert answer.status == 502
    assert "cannot be joined to one answer: more than 100000 members" in told(answer)
    assert stage.longest_turn < LONGEST_TURN


@pytest.mark.parametrize("size", [1, 2, 7])
def test_tiny_transfer_chunks_hold_up_nobody(stage: Stage, size: int) -> None:
    content = (HI + word("A" * MIB) + STOP + DONE).encode()
    answer = stage.play_raw(b"Transfer-Encoding: chunked\r\n\r\n" + chunked(content, size))
    assert len(answer.text()) == MIB + 2
    assert stage.longest_turn < LONGEST_TURN


@pytest.mark.parametrize("start", [b"0\r\nx-trailer: ", b"0\r\n", b"5;"], ids=["trailer", "name", "extension"])
def test_a_chunk_line_or_a_trailer_without_an_end_is_no_body(stage: Stage, start: bytes) -> None:
    begun = chunked(HI.encode(), 100).removesuffix(b"0\r\n\r\n")
    answer = stage.play_raw(b"Transfer-Encoding: chunked\r\n\r\n" + begun + start + b"y" * 20 * MIB)
    assert "bytes of chunk lines or trailers" in told(answer)
    assert stage.longest_turn < LONGEST_TURN


def test_many_compressed_events_hold_up_nobody(stage: Stage) -> None:
    words = "".join(
        f'data: {{"choices":[{{"delta":{{"content":"x","reasoning":"{n}"}}}}]}}\n\n' for n in range(20_000)
    )
    answer = stage.play(
        Played(gzip.compress((words + STOP + DONE).encode()), more="Content-Encoding: gzip\r\n"), stream=True
    )
    assert answer.text() == "x" * 20_000
    assert stage.longest_turn < LONGEST_TURN


def test_many_keepalive_comments_between_two_events_are_no_flood(stage: Stage) -> None:
    answer = stage.play(
        Played((": OPENROUTER PROCESSING\n\n" * 900 + HI + ": x\n\n" * 900 + STOP + DONE).encode()), stream=True
    )
    assert answer.text() == "hi"


def test_a_burst_of_small_tokens_is_no_flood(stage: Stage) -> None:
    small = 'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
    answer = stage.play(Played((small * 5000 + STOP + DONE).encode()), stream=True)
    assert answer.text() == "x" * 5000


# --- large, and good


@pytest.mark.parametrize("learned", [False, True])
def test_an_image_of_nine_mebibytes_is_relayed(stage: Stage, learned: bool) -> None:
    image = "A" * (9 * MIB)
    before = HI * 3 if learned else ""
    answer = stage.play(Played((before + word(image) + STOP + DONE).encode()), stream=True)
    assert answer.text() == ("hihihi" if learned else "") + image


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_an_event_may_be_as_large_as_the_upstream_s_limit(stage: Stage, more: int, fits: bool) -> None:
    size = 10 * MIB - len(word("")) + more
    answer = stage.play(Played((HI + word("A" * size) + STOP + DONE).encode()), stream=True)
    if fits:
        assert len(answer.text()) == size + 2
    else:
        assert "an event of more than 10485760 bytes" in told(answer)


def test_the_probabilities_of_a_long_answer_are_relayed(stage: Stage) -> None:
    top = many('{"token":"a","logprob":-0.1,"bytes":[97]}', 20)
    token = f'{{"token":"a","logprob":-0.1,"bytes":[97],"top_logprobs":[{top}]}}'
    content = f'{{"choices":[{{"message":{{"content":"a"}},"logprobs":{{"content":[{many(token, 1500)}]}}}}]}}'
    answer = stage.play(Played(content.encode(), "application/json"), stream=False)
    assert len(json.loads(answer.body)["choices"][0]["logprobs"]["content"]) == 1500


# --- compressed


def test_a_bomb_is_told_before_it_fills_the_memory(stage: Stage) -> None:
    bomb = gzip.compress(b": x\n" * (16 * MIB))
    answer = stage.play(Played(bomb, more="Content-Encoding: gzip\r\n"), stream=True)
    assert f"grows by more than {MAX_INFLATED_BYTES} bytes" in told(answer)
    answer = stage.play(Played(bomb, "application/json", "Content-Encoding: gzip\r\n"), stream=False)
    assert f"grows by more than {MAX_INFLATED_BYTES} bytes" in told(answer)


def test_a_compressed_answer_that_comes_in_many_reads_is_whole(stage: Stage) -> None:
    """The reads are sampled for their gaps from the first content on."""
    words = [f"{number * number % 99991:x} " for number in range(15000)]
    content = gzip.compress(("".join(map(word, words)) + STOP + DONE).encode())
    assert len(content) > 2 * 16384
    answer = stage.play(Played(content, more="Content-Encoding: gzip\r\n"), stream=True)
    assert answer.text() == "".join(words)


def test_bytes_that_are_not_compressed_as_they_say_are_told(stage: Stage) -> None:
    answer = stage.play(Played((HI + DONE).encode(), more="Content-Encoding: gzip\r\n"), stream=True)
    assert "cannot be inflated" in told(answer)


def test_an_encoding_that_is_not_known_is_told(stage: Stage) -> None:
    answer = stage.play(Played((HI + DONE).encode(), more="Content-Encoding: br\r\n"), stream=True)
    assert "compressed (br)" in told(answer)


def test_deflate_without_its_head_is_inflated(stage: Stage) -> None:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    content = compressor.compress((HI + STOP + DONE).encode()) + compressor.flush()
    assert stage.play(Played(content, more="Content-Encoding: deflate\r\n"), stream=True).text() == "hi"


# --- line ends of Unicode in frames that are our own


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_line_ends_of_unicode_are_escaped_in_all_that_the_gateway_writes(
    stage: Stage, mark: str, stream: bool
) -> None:
    usage = f'"usage":{{"prompt_tokens":3,"completion_tokens":1,"note":"{mark}"}}'
    error = f'{{"error":{{"message":"a{mark}b"}}}}'
    if stream:
        last = f'data: {{"choices":[],"timings":"{mark}",{usage}}}\n\n'
        good = Played((HI + word(mark) + STOP + last + DONE).encode())
        bad = Played(f"{HI}data: {error}\n\n".encode())
    else:
        good = Played(
            f'{{"choices":[{{"message":{{"content":"{mark}"}},"x":"{mark}"}}],{usage}}}'.encode(), "application/json"
        )
        bad = Played(error.encode(), "application/json")
    answers = [stage.play(played, stream=stream) for played in (good, bad, Played(bad.content, bad.kind))]
    assert answers[0].status == 200
    assert b"prompt_tokens" in answers[0].body
    assert not any(mark.encode() in answer.body for answer in answers)
    assert "a b" in told(answers[1])
