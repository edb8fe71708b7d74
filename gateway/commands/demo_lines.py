"""Shell: the lines of `rivergate demo`: one on standard output for each request that was answered or refused.

In: the log records of the gateway. Out: lines for people. The invariant: a request has one line, without control
characters, and no line holds a prompt or an answer.
"""

import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TextIO

LOGGER = logging.getLogger("rivergate")  # the logger above all others of the gateway


class RequestLines(logging.Handler):
    """A handler of log records that writes the lines."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(logging.INFO)
        self._out = out
        self._last_id: str | None = None  # of the completion that ended last: its refusal needs no second line

    def emit(self, record: logging.LogRecord) -> None:
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        event = record.getMessage()
        if event == "completion ended":
            self._last_id = fields["request_id"]
            self._print(answered(fields))
        elif event == "request refused" and not (self._last_id and fields["request_id"] == self._last_id):
            self._print(refused(fields))

    def _print(self, line: str) -> None:
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        print(shown, file=self._out, flush=True)


def show_requests(out: TextIO) -> None:
    """Write a line for each request from now on, whatever the level of the log is."""
    LOGGER.addHandler(RequestLines(out))
    if not LOGGER.isEnabledFor(logging.INFO):
        LOGGER.setLevel(logging.INFO)


def answered(fields: Mapping[str, Any]) -> str:
    """The line of a completion that has ended: who answered, how it ended, how long it took and what it cost.

    An answer that was not streamed has no first token; one that no model wrote, such as embeddings, has no tokens.
    """
    told = [str(fields["ending"]).replace("_", " ")]
    if fields["streamed"] and fields["ttft_ms"] is not None:
        told.append(f"first token after {fields['ttft_ms']:.0f} ms")
    if fields["completion_tokens"] is not None:
        told.append(f"{_counted(fields)}{fields['duration_ms'] / 1000:.1f} s")
    if fields["cost_usd"] is not None:
        told.append(f"{Decimal(fields['cost_usd']):f} USD")
    return f"{fields['dialect']}: {fields['model'] or '-'} from {_upstreams(fields)}: {', '.join(told)}"


def _counted(fields: Mapping[str, Any]) -> str:
    """The tokens that were written, or that were only read, in words before the time that it took."""
    written, read = fields["completion_tokens"], fields["prompt_tokens"]
    if written or fields["streamed"]:
        return f"{written} token{'s' * (written != 1)} in "
    return f"{read} token{'s' * (read != 1)} read in " if read else ""


def refused(fields: Mapping[str, Any]) -> str:
    """The line of a request that was answered with an error."""
    what = fields["request"] or "bytes that are no request"
    return f"{what}: refused, HTTP {fields['status']} {str(fields['code']).replace('_', ' ')}"


def _upstreams(fields: Mapping[str, Any]) -> str:
    """The upstream that answered, and those that failed before."""
    attempts: Sequence[str] = fields["attempts"]
    answered_by = fields["upstream"]
    others = [name for name in (attempt.partition(":")[0] for attempt in attempts) if name != answered_by]
    if answered_by is None:
        return ", ".join(others) or "no upstream"
    return f"{answered_by} (after {', '.join(others)})" if others else str(answered_by)
