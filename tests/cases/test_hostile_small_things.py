"""Thousands of small things in the answers of hostile upstreams: none costs much, and neither do all together."""

import itertools
from collections.abc import Iterator

import pytest

from tests.kit.configuration import KEYS
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer

from .test_hostile_answers import DONE, HI, LONGEST_TURN, MIB, STOP, Played, Stage, delta, event, many, told, word

pytestmark = pytest.mark.deep

LETTERS = "\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001"
PAIRS = "".join(
    f"\\u000{one}\\u000{other}x" for one, other in itertools.product(range(1, 8), repeat=2) if (one, other) != (7, 6)
)
NUMBERED_CALLS = [f'{{"id":"{number}","function":{{"name":"f"}}}}' for number in range(1024)]

# Events that have to be relayed, whatever they cost.
SMALL_WORK: dict[str, str] = {
    "one event with eight thousand names": f"event: {'a' * 1000}\n" * 8000 + word("a"),
    "a thousand calls without indexes": event(
        f'{{"index":0,"delta":{{"tool_calls":[{",".join(NUMBERED_CALLS[:512])}]}}}},'
        f'{{"index":1,"delta":{{"tool_calls":[{",".join(NUMBERED_CALLS[512:])}]}}}}'
    ),
    "five hundred calls with indexes from behind": event(
        '{{"index":0,"delta":{{"tool_calls":[{}]}}}}'.format(
            ",".join(
                f'{{"index":{number},"id":"{number}","function":{{"name":"f"}}}}' for number in range(511, -1, -1)
            )
        )
    ),
    "usage objects with ever more details": "".join(
        'data: {{"choices":[],"usage":{{"prompt_tokens":5,{}}}}}\n\n'.format(
            ",".join(f'"d{number}_{detail}":1' for detail in range(3_000))
        )
        for number in range(150)
    ),
    "comments behind long events": (word("A" * (MIB - 400)) + ": x\n\n" * 90) * 20,
    "all control characters": delta(",".join(f'"k{n}":"{LETTERS}"' for n in range(12_000)) + f',"z":"{PAIRS}"'),
    "lists that are kept for the next event": f'data: {{"choices":[],"x":[{many("{}", 300_000)}]}}\n\n' + word("a"),
    "half a pair beside many lists that were kept": "".join(
        f'data: {{"choices":[],"x{number}":[{many("1", 30_000)}]}}\n\n' for number in range(16)
    )
    + delta('"x":"\\ud800"'),
    "half a pair beside thirty thousand numbers": delta(f'"x":["\\ud800",{many("1", 30_000)}]') * 9,
    "NaN behind thirty thousand numbers": delta(f'"x":[{many("1", 30_000)},NaN]') * 9,
}


class SmallStage(Stage):
    """A stage on which an upstream may answer with any status, too."""

    def play_status(self, status: int, content: str, fields: str = "") -> Answer:
        """The answer of the gateway to an answer with this status, this body and these header lines."""
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content.encode())}\r\n"
        self._played = f"{head}{fields}\r\n{content}".encode()
        return self._ask(stream=True)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallStage]:
    stage = SmallStage(lambda written: LocalGateway(tmp_path_factory.mktemp("small"), written, KEYS))
    try:
        yield stage
    finally:
        stage.close()


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("work", SMALL_WORK)
def test_thousands_of_small_things_hold_up_nobody(stage: SmallStage, work: str, stream: bool) -> None:
    answer = stage.play(Played((HI + SMALL_WORK[work] + STOP + DONE).encode()), stream=stream)
    assert answer.status == 200
    assert b"upstream_error" not in answer.body[-2000:]
    assert stage.longest_turn < LONGEST_TURN


REFUSED_WORK: dict[str, tuple[str, str]] = {
    "new choices in every event": (
        "".join(
            event(",".join(f'{{"index":{n},"delta":{{"content":"a"}}}}' for n in range(start, start + 100)))
            for start in range(0, 20_000, 100)
        ),
        "more than 256 choices",
    ),
    "choices that end in every event": (
        "".join(
            event(f'{{"index":{n},"delta":{{"role":"assistant"}},"finish_reason":"stop"}}') for n in range(20_000)
        ),
        "more than 256 choices",
    ),
    "texts with commas and nothing between them": (delta('"x":[' + '","' * 200_000 + "]"), "not a JSON object"),
    "a code of sixty thousand letters": (
        f'data: {{"error":{{"message":"nothing today","code":"{"a." * 30_000}"}}}}\n\n',
        "nothing today",
    ),
    "a code of thirty thousand numbers": (
        f'data: {{"error":{{"message":"nothing today","code":[{many("1", 30_000)}]}}}}\n\n',
        "nothing today",
    ),
    "thirty thousand numbers that are no JSON": (delta(f'"x":[{many("1", 30_000)}') * 2, "not a JSON object"),
}


@pytest.mark.parametrize("work", REFUSED_WORK)
def test_thousands_of_small_things_that_are_no_answer_are_told(stage: SmallStage, work: str) -> None:
    content, words = REFUSED_WORK[work]
    answer = stage.play(Played((HI + content + DONE).encode()), stream=True)
    assert words in told(answer)
    assert stage.longest_turn < LONGEST_TURN


def test_blanks_between_all_that_stands_in_a_whole_answer_hold_up_nobody(stage: SmallStage) -> None:
    gap = " " * 60_000
    members = ",".join(f'{gap}"k{number}"{gap}:{gap}1{gap}' for number in range(120))
    content = f'{{"choices":[{{"message":{{"content":"a"}},"finish_reason":"stop"}}],{members}}}'
    answer = stage.play(Played(content.encode(), "application/json"), stream=False)
    assert answer.status == 200
    assert stage.longest_turn < LONGEST_TURN


def named(count: int, value: str) -> str:
    """An object with so many long names."""
    return "{" + ",".join(f'"{number}{"n" * 60}":{value}' for number in range(count)) + "}"


ERRORS: dict[str, str] = {
    "objects with many names": f'{{"error":{{"message":"no","a":{named(20, named(20, "1"))}}}}}',
    "objects in objects with many names": f'{{"error":{{"message":"no","a":{named(9, named(9, named(9, "1")))}}}}}',
    "many short words": '{"error":{"message":"'
    + "abcdefgh " * 220
    + f'","a":[{many(chr(34) + "abcdefgh " * 60 + chr(34), 20)}]}}}}',
    "many words in base64": '{"error":{"message":"'
    + "QUFBQUFBQUFB." * 150
    + f'","a":[{many(chr(34) + "QUFBQUFB." * 60 + chr(34), 20)}]}}}}',
    "backslashes": '{"error":{"message":"%s"}}' % ("\\\\" * 2000),
    "percent signs": '{"error":{"message":"%s"}}' % ("%25" * 680),
    "beginnings of keys": '{"error":{"message":"%s"}}' % ("sk-****" * 290),
    "parts of keys": '{"error":{"message":"%s"}}' % ("ending in sk-a, " * 120),
    "base64": '{"error":{"message":"%s"}}' % ("QUFB" * 500),
    "many base64": '{"error":{"message":"%s"}}' % ("QUFBQUFBQUFB." * 150),
    "numbers": '{"error":{"message":"%s"}}' % ("65 66 67 " * 220),
    "hexadecimal": '{"error":{"message":"%s"}}' % ("41 42 43 " * 220),
    "masks": '{"error":{"message":"%s"}}' % ("ab**cd " * 290),
    "long details": '{{"error":{{"message":"no","a":[{}]}}}}'.format(many('"%s"' % ("sk-ab12 " * 70), 20)),
    "a page": "<html><title>" + "<title>" * 9_000,
    "half an object": '{"error":"' + '"error" ' * 8_000,
    "FastAPI's faults": '{{"detail":[{}]}}'.format(
        many('{{"loc":["body",{}],"msg":"{}"}}'.format(many('"x"', 50), "m " * 200), 100)
    ),
    "a thousand members": '{{"error":{{"message":"no",{}}}}}'.format(
        ",".join(f'"k{n}":"{"v" * 30}"' for n in range(1500))
    ),
    "numbers as details": '{{"error":{{"message":"no","a":[{}]}}}}'.format(many("1234567890123456", 3000)),
}


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("error", ERRORS)
def test_long_words_of_an_error_hold_up_nobody(stage: SmallStage, error: str, status: int) -> None:
    answer = stage.play_status(status, ERRORS[error])
    assert answer.status in (400, 502)
    assert stage.longest_turn < LONGEST_TURN


FIELDS: dict[str, str] = {
    "one name ten thousand times": "a:b\r\n" * 10_000,
    "ten thousand names": "".join(f"{number}:b\r\n" for number in range(6_000)),
    "a wait of sixty thousand digits": f"retry-after: {'1' * 60_000}\r\n",
    "a wait of thousands of parts": f"x-ratelimit-reset-requests: {'1m' * 15_000}x\r\n"
    "x-ratelimit-remaining-requests: 0\r\n",
    "a date of sixty thousand words": f"retry-after: {'Mon, ' * 12_000}\r\n",
}


@pytest.mark.parametrize("status", [200, 429])
@pytest.mark.parametrize("fields", FIELDS)
def test_thousands_of_header_fields_hold_up_nobody(stage: SmallStage, fields: str, status: int) -> None:
    answer = stage.play_status(status, '{"error":{"message":"no"}}', FIELDS[fields])
    assert answer.status >= 400
    assert stage.longest_turn < LONGEST_TURN
