"""Pure: reads how long an upstream asks its clients to wait, in any of the ways in which providers say it.

In: the header fields and the message of an answer, and the time. Out: whole seconds, rounded up, or None. The
invariant: the number is what the upstream said; nothing is cut, so that nobody is told a wait that is too short.
Sources: RFC 9110 section 10.2.3; google.rpc.RetryInfo; the headers that the SDKs of OpenAI read.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from gateway.dialects.dialect import UpstreamMessage

LONGEST_WAIT = 366 * 86400  # seconds; a larger number is nonsense
_DATES_FROM = 1_000_000_000  # a number from here on is a date in Unix seconds
_MILLISECONDS_FROM = 100_000_000_000  # a number from here on is a date in milliseconds

_NUMBER = re.compile(r"\d{1,18}(?:\.\d{0,9})?", re.ASCII)
_PARTS = re.compile(r"(?P<number>\d{1,9}(?:\.\d{0,9})?)(?P<unit>ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{0,9})?(?:ms|s|m|h|d))+", re.ASCII)
_IN_WORDS = re.compile(
    r"\b(?:try again|retry|wait|available)(?: again)?(?: in| after| for)?:? "
    r"(?P<wait>(?:\d{1,9}(?:\.\d{1,9})? ?(?:ms|milliseconds?|seconds?|secs?|minutes?|mins?|hours?|[smh])\b ?)+"
    r"|(?:\d{1,9}(?:\.\d{1,9})?[mhs])+\b)",
    re.IGNORECASE | re.ASCII,
)
_UNIT_IN_WORDS = re.compile(r"(milliseconds?|ms|[smh])[a-z]*")
_UNITS: Mapping[str, float] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_RESETS = ("x-ratelimit-reset", "ratelimit-reset", "x-rate-limit-reset")
_RESETS_OF = ("requests", "tokens", "input-tokens", "output-tokens", "requests-day", "tokens-minute")


def asked_wait(
    headers: Mapping[str, str], message: UpstreamMessage | None, now: float, *, limited: bool
) -> int | None:
    """The seconds that an answer asks to wait; `now` is Unix time. `limited`: the answer is a refusal for a limit.

    The headers of rate limits stand in good answers too, so only a refusal for a limit is read for them.
    """
    for seconds in _told(headers, message, now, limited):
        if seconds is not None and math.isfinite(seconds) and seconds <= LONGEST_WAIT:
            return max(math.ceil(round(seconds, 6)), 0)
    return None


def _told(
    headers: Mapping[str, str], message: UpstreamMessage | None, now: float, limited: bool
) -> Iterator[float | None]:
    """The waits that are told, the most exact source first."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    yield None if milliseconds is None else milliseconds / 1000
    yield _retry_after(headers, now)
    if message is not None:
        yield from _in_details(message.details, now, 0)
    if limited:
        yield _reset(headers, now)
    if message is not None and (found := _IN_WORDS.search(message.text)) is not None:
        yield _in_words(found["wait"])


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    text = headers.get("retry-after", "").strip()
    if (seconds := _number(text)) is not None:
        return seconds if seconds < _DATES_FROM else _until(seconds, now)
    if (seconds := _duration(text)) is not None:
        return seconds
    if (at := _date(text)) is None:
        return None
    # Both dates are the upstream's, so that a clock which goes wrong on one side changes nothing.
    return max(at - (_date(headers.get("date", "")) or now), 0.0)


def _reset(headers: Mapping[str, str], now: float) -> float | None:
    """The wait until the limit that is used up is filled again; the longest if several are."""
    named = [_until_reset(headers[name], now) for name in _RESETS if name in headers]
    for kind in _RESETS_OF:
        used_up = headers.get(f"x-ratelimit-remaining-{kind}", "").strip() in ("0", "0.0")
        if used_up and (reset := headers.get(f"x-ratelimit-reset-{kind}")) is not None:
            named.append(_until_reset(reset, now))
    named += [
        _until_reset(headers.get(f"anthropic-ratelimit-{kind}-reset", ""), now)
        for kind in ("requests", "tokens", "input-tokens", "output-tokens")
        if headers.get(f"anthropic-ratelimit-{kind}-remaining", "").strip() == "0"
    ]
    return max((seconds for seconds in named if seconds is not None), default=None)


def _until_reset(text: str, now: float) -> float | None:
    """The seconds until a reset that is told as a duration, a number of seconds, or a date of any kind."""
    text = text.strip()
    number = _number(text)
    if number is not None:
        return number if number < _DATES_FROM else _until(number, now)
    if (seconds := _duration(text)) is not None:
        return seconds
    at = _date(text)
    return None if at is None else max(at - now, 0.0)


def _until(date: float, now: float) -> float:
    return max((date / 1000 if date >= _MILLISECONDS_FROM else date) - now, 0.0)


def _in_details(value: Any, now: float, depth: int) -> Iterator[float | None]:
    """The waits in the details of an error: Google's `retryDelay`, and headers that a router has put there."""
    if depth > 4:
        return
    if isinstance(value, list):
        for entry in value:
            yield from _in_details(entry, now, depth + 1)
    if not isinstance(value, Mapping):
        return
    for key, entry in value.items():
        name = key.lower().replace("_", "-")
        if name in ("retrydelay", "retry-delay", "retry-after", "retry-after-seconds", "estimated-time"):
            yield _delay(entry)
        elif name in _RESETS:
            yield _until_reset(str(entry), now)
        elif isinstance(entry, Mapping | list):
            yield from _in_details(entry, now, depth + 1)


def _delay(value: Any) -> float | None:
    """A wait in JSON: a number of seconds, a duration as text, or `{"seconds": n, "nanos": n}`."""
    if isinstance(value, Mapping):
        parts = value.get("seconds", 0), value.get("nanos", 0)
        seconds, nanos = (_number(str(part)) or 0.0 for part in parts)
        return seconds + nanos / 1e9
    if isinstance(value, bool):
        return None
    text = str(value).strip()
    seconds_only = _number(text)
    return _duration(text) if seconds_only is None else seconds_only


def _in_words(text: str) -> float | None:
    """The wait in words such as `6m0s` or `1 minute 30 seconds`."""
    short = _UNIT_IN_WORDS.sub(lambda unit: "ms" if unit[1].startswith(("ms", "mill")) else unit[1], text.lower())
    return _duration(short.replace(" ", ""))


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _duration(text: str) -> float | None:
    """A duration such as `38s`, `1m30.5s`, `20ms`."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(part["number"]) * _UNITS[part["unit"]] for part in _PARTS.finditer(text))


def _date(text: str) -> float | None:
    """A date in HTTP's form, or in that of RFC 3339, as Unix time."""
    text = text.strip()
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if len(text) > 10 else None
    except (ValueError, OverflowError):
        return None
