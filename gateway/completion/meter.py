"""Shell: the meter, which stands between an attempt and its stream if an answer's length or cost is limited.

A stream without such a limit has no meter: its frames go to the log directly.
"""

import sys
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from gateway.completion.spending import Spending
from gateway.dialects.learned_shape import Counts
from gateway.dialects.usage import TEXT_BYTES_PER_TOKEN
from gateway.errors import BALANCE_SPENT, CostExceeded, OutputExceeded, RivergateError
from gateway.stream.stream import Stream


class OutputLimits(NamedTuple):
    """The limits of one answer; 0 or None: no limit. The event that goes beyond a limit is the last one."""

    tokens: int = 0
    text_bytes: int = 0
    cost_usd: Decimal | None = None

    def __bool__(self) -> bool:
        return bool(self.tokens or self.text_bytes or self.cost_usd is not None)


def affordable_tokens(cost_usd: Decimal, prompt_usd: Decimal, output_usd_per_mtok: Decimal | None) -> int | None:
    """How many tokens an amount pays for once the prompt is paid; None: any number, since tokens have no price."""
    if not output_usd_per_mtok:
        return None if prompt_usd <= cost_usd else 0
    return max(int((cost_usd - prompt_usd) * 1_000_000 / output_usd_per_mtok), 0)


class Meter:
    """Passes frames on to the stream, and reports the first limit that the answer goes beyond (`FrameReceiver`)."""

    __slots__ = (
        "_affordable",
        "_counts",
        "_limits",
        "_most_bytes",
        "_most_events",
        "_on_exceeded",
        "_paid",
        "_spending",
        "_stream",
        "singly",
    )

    def __init__(
        self,
        stream: Stream,
        counts: Counts,
        limits: OutputLimits,
        affordable: int | None,
        on_exceeded: Callable[[RivergateError], None],
        spending: Spending | None = None,
    ) -> None:
        self.singly = True
        self._stream = stream
        self._counts = counts
        self._limits = limits
        self._affordable = affordable
        self._on_exceeded = on_exceeded
        self._spending = spending
        # How many tokens are paid for; None: any number.
        self._paid = spending.paid_tokens(0) if spending is not None else None
        self._set_marks()

    def on_frame(self, frame: bytes, chunk: bytes = b"") -> None:
        on_frame, counts = self._stream.on_frame, self._counts
        on_frame(frame, chunk)
        if counts.events > self._most_events or counts.text_bytes > self._most_bytes:
            self._check()

    def on_frames(self, frames: list[bytes]) -> None:
        self._stream.on_frames(frames)
        counts, most = self._counts, self._most_events
        if counts.events > most or counts.text_bytes > self._most_bytes or counts.reported > most:
            self._check()

    def _check(self) -> None:
        counts, limits = self._counts, self._limits
        text_bytes = counts.text_bytes
        tokens = max(counts.events, -(-text_bytes // TEXT_BYTES_PER_TOKEN))
        if limits.tokens and tokens > limits.tokens:
            self._on_exceeded(OutputExceeded(f"the answer is longer than max_output_tokens ({limits.tokens})"))
        elif limits.text_bytes and text_bytes > limits.text_bytes:
            self._on_exceeded(OutputExceeded(f"the answer is longer than max_output_bytes ({limits.text_bytes})"))
        else:
            self._check_cost(max(tokens, counts.reported))
        self._set_marks()

    def _check_cost(self, tokens: int) -> None:
        """Check what has to be paid, tokens among it of which no text has come."""
        if self._affordable is not None and tokens > self._affordable:
            self._on_exceeded(CostExceeded(f"the answer has cost max_cost_usd ({self._limits.cost_usd})"))
        elif self._spending is not None and self._paid is not None and tokens > self._paid:
            self._paid = self._spending.paid_tokens(tokens)
            if self._paid is not None and tokens > self._paid:
                self._on_exceeded(CostExceeded(BALANCE_SPENT))

    def _set_marks(self) -> None:
        """Compute the counts up to which no limit is exceeded: only these are compared for each token."""
        most = self._limits.tokens or sys.maxsize
        if self._affordable is not None:
            most = min(most, self._affordable)
        if self._paid is not None:
            most = min(most, self._paid)
        self._most_events = most
        self._most_bytes = min(TEXT_BYTES_PER_TOKEN * most, self._limits.text_bytes or sys.maxsize)
