"""Pure: the closed set of endings: why a stream, or one subscriber of it, came to its end.

An ending carries all that logs, metrics and pages have to know of it: a new ending is added in this file only.
"""

from enum import StrEnum
from typing import Literal

LogLevel = Literal["info", "warning"]


class Blame(StrEnum):
    """Who could have prevented an ending."""

    NOBODY = "nobody"
    CLIENT = "client"
    UPSTREAM = "upstream"
    GATEWAY = "gateway"


class Ending(StrEnum):
    """Why a stream, or one subscriber of it, ended: the same word in logs, metrics, events, JSON and tests."""

    sentence: str
    blame: Blame
    is_fault: bool
    aborts_upstream: bool
    is_told: bool
    log_level: LogLevel

    def __new__(
        cls,
        word: str,
        sentence: str,
        blame: Blame,
        *options: Literal["fault", "no abort", "not told", "warning"],
    ) -> "Ending":
        """`sentence` explains the ending in the reference pages; `options` say how it differs from most endings."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.sentence = sentence
        member.blame = blame
        member.is_fault = "fault" in options  # alerts count it, pages show it in red
        member.aborts_upstream = "no abort" not in options  # the upstream still runs, and the gateway closes it
        member.is_told = "not told" not in options  # a subscriber hears of it, by an event or an error
        member.log_level = "warning" if "warning" in options else "info"
        return member

    COMPLETED = (
        "completed",
        "The answer is complete; a subscriber has been sent all of it.",
        Blame.NOBODY,
        "no abort",
    )
    REFUSED = "refused", "The request was at fault, and an upstream said so.", Blame.CLIENT, "no abort"
    UPSTREAM_ERROR = (
        "upstream_error",
        "The upstreams failed, or the one that answered broke off.",
        Blame.UPSTREAM,
        "fault",
        "no abort",
    )
    STALLED = "stalled", "The upstream sent nothing for `stream.idle_timeout_ms`.", Blame.UPSTREAM, "fault"
    TTFT_BUDGET_EXCEEDED = (
        "ttft_budget_exceeded",
        "No first token came within the budget.",
        Blame.UPSTREAM,
        "fault",
    )
    MAX_DURATION = (
        "max_duration",
        "The answer took longer than `stream.max_duration_seconds`, `timeout_ms` or `deadline_ms`.",
        Blame.NOBODY,
    )
    MAX_OUTPUT = (
        "max_output",
        "The answer was longer than `stream.max_output_tokens` or `stream.max_output_bytes`.",
        Blame.NOBODY,
    )
    BUDGET_EXHAUSTED = (
        "budget_exhausted",
        "The balance of the key, or `max_cost_usd`, was used up.",
        Blame.CLIENT,
    )
    ABANDONED = "abandoned", "The last subscriber left.", Blame.CLIENT
    STOPPED = "stopped", "Somebody asked for the end.", Blame.NOBODY
    EXPIRED = (
        "expired",
        "The stream ran without a subscriber for `stream.detached_max_seconds`, or the viewer token expired.",
        Blame.NOBODY,
    )
    LAGGED = "lagged", "The subscriber was too slow.", Blame.CLIENT, "no abort", "not told", "warning"
    LEFT = "left", "The subscriber hung up.", Blame.CLIENT, "no abort", "not told"
    DRAINED = "drained", "The gateway was stopped.", Blame.GATEWAY
    INTERNAL_ERROR = (
        "internal_error",
        "The gateway has a defect; its log has the trace.",
        Blame.GATEWAY,
        "fault",
        "no abort",
    )
