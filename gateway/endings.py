"""Pure: the closed set of endings: why a stream, or one subscriber of it, came to its end."""

from enum import StrEnum


class Ending(StrEnum):
    """Why a stream, or one subscriber of it, ended: the same word in logs, metrics, events and JSON."""

    COMPLETED = "completed"
    REFUSED = "refused"  # the request was at fault and an upstream said so
    UPSTREAM_ERROR = "upstream_error"
    STALLED = "stalled"
    TTFT_BUDGET_EXCEEDED = "ttft_budget_exceeded"
    MAX_DURATION = "max_duration"
    MAX_OUTPUT = "max_output"
    BUDGET_EXHAUSTED = "budget_exhausted"
    ABANDONED = "abandoned"  # the last reader left
    STOPPED = "stopped"  # somebody asked for the end
    EXPIRED = "expired"
    LAGGED = "lagged"  # a reader that took no byte for too long
    LEFT = "left"  # a reader that hung up
    DRAINED = "drained"
    INTERNAL_ERROR = "internal_error"
