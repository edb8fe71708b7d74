"""The counts that upstreams report, whatever they call them; nonsense is not believed."""

import itertools
from typing import Any

import pytest
from auriko.models.common import Usage as StrictUsage

from gateway.dialects.reported_usage import MAX_TOKENS, read_usage, summed
from gateway.dialects.usage import Usage

NO_COUNTS: list[Any] = [-1, True, 4.0, "4", [4], MAX_TOKENS + 1, 1 << 70]
OWN = Usage(11, 12, estimated=True)
COUNTS = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def told(value: Any, own: Usage = OWN) -> Usage:
    report = read_usage(value)
    return own if report is None else report.usage(own)


@pytest.mark.parametrize(
    ("usage", "prompt", "completion"),
    [
        (COUNTS, 3, 4),
        ({**COUNTS, "completion_tokens": None}, 3, 4),
        ({**COUNTS, "total_tokens": None}, 3, 4),
        ({**COUNTS, "total_tokens": 1}, 3, 4),
        ({**COUNTS, "total_tokens": -1}, 3, 4),
        ({"input_tokens": 3, "output_tokens": 4}, 3, 4),
        ({"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}, 3, 4),
        ({"promptTokenCount": 3, "candidatesTokenCount": 4, "thoughtsTokenCount": 9, "totalTokenCount": 16}, 3, 13),
        ({"promptTokenCount": 3, "candidatesTokenCount": 4, "thoughtsTokenCount": 9}, 3, 13),
        ({"inputTokenCount": 3, "outputTokenCount": 4}, 3, 4),
        ('{"prompt_tokens": 3, "completion_tokens": 4}', 3, 4),
        # reasoning beyond the completion, and inside of it
        ({**COUNTS, "total_tokens": 107, "completion_tokens_details": {"reasoning_tokens": 100}}, 3, 104),
        (
            {"prompt_tokens": 3, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 100}},
            3,
            104,
        ),
        ({**COUNTS, "completion_tokens_details": {"reasoning_tokens": 4}}, 3, 4),
        ({"prompt_tokens": 3, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 3}}, 3, 4),
        ({**COUNTS, "total_tokens": 20}, 3, 17),
        # a cached prompt beside the rest, and inside of it
        ({"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 50}, 53, 4),
        ({"input_tokens": 3, "output_tokens": 4, "cache_creation_input_tokens": 50, "total_tokens": 57}, 53, 4),
        ({**COUNTS, "prompt_tokens_details": {"cached_tokens": 2}}, 3, 4),
        ({**COUNTS, "cache_read_input_tokens": 2}, 3, 4),
    ],
)
def test_counts_are_read_under_any_known_name(usage: Any, prompt: int, completion: int) -> None:
    seen = told(usage)
    assert (seen.prompt_tokens, seen.completion_tokens, seen.estimated) == (prompt, completion, False)
    assert StrictUsage.model_validate(seen.as_json()).total_tokens == prompt + completion


def test_details_are_kept() -> None:
    usage = {**COUNTS, "prompt_tokens_details": {"cached_tokens": 2}, "cost": 0.1}
    assert told(usage).as_json() == usage


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "7",
        "{",
        '"{}"',
        {"total_tokens": 7},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 3, "completion_tokens": None, "total_tokens": 2},
        *(
            {"prompt_tokens": 3, "completion_tokens": odd}
            for odd in (-1, True, 4.0, "4", [4], MAX_TOKENS + 1, 1 << 70)
        ),
        *({"prompt_tokens": odd, "completion_tokens": 4} for odd in [*NO_COUNTS, False]),
    ],
)
def test_nonsense_and_zeros_are_not_believed(usage: Any) -> None:
    assert told(usage) == OWN


def test_a_count_that_is_missing_or_zero_is_estimated_and_the_other_believed() -> None:
    for usage, counts in (
        ({"prompt_tokens": 3}, (3, 12)),
        ({"prompt_tokens": 3, "completion_tokens": 0}, (3, 12)),
        ({"prompt_tokens": 0, "completion_tokens": 4}, (11, 4)),
    ):
        seen = told(usage)
        assert (seen.prompt_tokens, seen.completion_tokens, seen.estimated) == (*counts, True)


def test_no_tokens_of_an_empty_answer_are_believed() -> None:
    seen = told({"prompt_tokens": 3, "completion_tokens": 0}, Usage(11, 0, estimated=True))
    assert (seen.prompt_tokens, seen.completion_tokens, seen.estimated) == (3, 0, False)


def test_the_largest_count_is_believed() -> None:
    assert told({"prompt_tokens": 1, "completion_tokens": MAX_TOKENS}).completion_tokens == MAX_TOKENS


def test_a_report_from_the_middle_of_an_answer_is_a_lower_bound() -> None:
    report = read_usage({"prompt_tokens": 3, "completion_tokens": 4})
    assert report is not None
    assert report.usage(OWN, stale=True).completion_tokens == 12
    assert report.usage(Usage(1, 2, estimated=True), stale=True).completion_tokens == 4


def test_alternatives_share_one_prompt() -> None:
    reports = [report for count in (4, 5) if (report := read_usage({**COUNTS, "completion_tokens": count}))]
    total = summed(reports)
    assert total is not None
    assert (total.prompt, total.completion) == (3, 9)
    assert summed([]) is None


NUMBERS = (0, 1, 4, 9, 13, -1, True, 13.0, None, MAX_TOKENS, MAX_TOKENS + 1)
DETAILS: tuple[Any, ...] = (
    None,
    {},
    {"reasoning_tokens": 3},
    {"reasoning_tokens": 40},
    {"reasoning_tokens": True},
    7,
)


@pytest.mark.parametrize("details", DETAILS)
def test_an_object_in_openais_own_words_is_read_as_one_with_other_words_beside_them(details: Any) -> None:
    for prompt, completion, total in itertools.product(NUMBERS, repeat=3):
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
        usage |= {"completion_tokens_details": details}
        plain, searched = read_usage(usage), read_usage({**usage, "note": None})
        assert (plain and plain[:2]) == (searched and searched[:2]), usage
