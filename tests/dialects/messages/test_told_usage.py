"""The counts of a message are cumulative; what cannot be true is not believed."""

from typing import Any

import pytest

from gateway.dialects.messages.told_usage import ToldUsage
from gateway.dialects.usage import Usage

OWN = Usage(50, 20, estimated=True)


@pytest.mark.parametrize(
    ("name", "told", "expected"),
    [
        ("both at their place", [{"input_tokens": 25, "output_tokens": 1}, {"output_tokens": 15}], (25, 15)),
        (
            "the cache is counted beside the input",
            [
                {
                    "input_tokens": 5,
                    "cache_creation_input_tokens": 200,
                    "cache_read_input_tokens": 1000,
                    "output_tokens": 1,
                },
                {"output_tokens": 15},
            ],
            (1205, 15),
        ),
        (
            "a prompt that is in the cache as a whole",
            [{"input_tokens": 0, "cache_read_input_tokens": 1000, "output_tokens": 1}, {"output_tokens": 15}],
            (1000, 15),
        ),
        (
            "all of it at the end",
            [{"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 9, "output_tokens": 15}],
            (9, 15),
        ),
        (
            "later counts replace earlier ones",
            [{"input_tokens": 25, "output_tokens": 1}, {"input_tokens": 10682, "output_tokens": 15}],
            (10682, 15),
        ),
        (
            "null replaces nothing",
            [{"input_tokens": 25, "output_tokens": 1}, {"input_tokens": None, "output_tokens": 15}],
            (25, 15),
        ),
        (
            "zero replaces nothing",
            [{"input_tokens": 25, "output_tokens": 15}, {"input_tokens": 0, "output_tokens": 0}],
            (25, 20),
        ),
        ("negative", [{"input_tokens": 25, "output_tokens": 1}, {"output_tokens": -15}], (25, 20)),
        ("a text", [{"input_tokens": 25, "output_tokens": 1}, {"output_tokens": "15"}], (25, 20)),
        ("absurd", [{"input_tokens": 1 << 60, "output_tokens": 1}, {"output_tokens": 15}], (50, 15)),
        ("nothing", [None, "x", [], {}], (50, 20)),
        (
            "nonsense in the cache",
            [{"input_tokens": 25, "cache_read_input_tokens": -7, "output_tokens": 1}, {"output_tokens": 15}],
            (25, 15),
        ),
    ],
)
def test_the_last_counts_that_can_be_true_hold(name: str, told: list[Any], expected: tuple[int, int]) -> None:
    usage = ToldUsage()
    for events, value in zip((0, 12, 12, 12), told, strict=False):
        usage.take(value, events)
    found = usage.usage(OWN, 12)
    assert (found.prompt_tokens, found.completion_tokens) == expected


def test_the_details_of_the_upstream_are_kept() -> None:
    usage = ToldUsage()
    usage.take({"input_tokens": 25, "output_tokens": 1, "service_tier": "standard"}, 0)
    usage.take({"output_tokens": 15, "server_tool_use": {"web_search_requests": 1}}, 3)
    told = usage.usage(OWN, 3).as_json()
    assert (told["service_tier"], told["server_tool_use"]) == ("standard", {"web_search_requests": 1})
    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (25, 15, 40)


def test_an_answer_that_goes_on_behind_its_count_has_at_least_the_tokens_that_came() -> None:
    usage = ToldUsage()
    usage.take({"input_tokens": 25, "output_tokens": 5}, 3)
    assert usage.usage(OWN, 3).completion_tokens == 5
    assert usage.usage(OWN, 12).completion_tokens == 20


def test_members_of_a_usage_object_are_kept_within_limits() -> None:
    usage = ToldUsage()
    usage.take({"input_tokens": 1, **{f"k{number}": 1 for number in range(1000)}}, 0)
    assert len(usage.usage(OWN, 0).as_json()) < 80
