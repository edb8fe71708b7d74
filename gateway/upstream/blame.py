"""Pure: whose fault the error answer of an upstream is: the client's, the gateway's own, or the upstream's.

In: the status of the answer and what it says. Out: an error of the gateway, whose class decides whether another
upstream is asked and what the client is told. The invariant: the words of an upstream are in `quoted` only, never in
the reason, which is logged.
"""

import re
from dataclasses import dataclass
from typing import Any

from gateway.dialects.dialect import ReportedFailure, UpstreamMessage
from gateway.errors import (
    RateLimited,
    RivergateError,
    UpstreamCredentialRefused,
    UpstreamError,
    UpstreamOutOfCredit,
    UpstreamRefused,
    UpstreamUnable,
)
from gateway.upstream.fault_words import (
    ACCESS,
    BAD_REQUEST,
    CREDENTIAL,
    CREDIT,
    LIMIT,
    MODERATION,
    NO_MODEL,
    NOT_FOUND,
    PAYMENT,
    TOO_LARGE,
    TOO_LONG,
    FaultWords,
    plain,
)
from gateway.upstream.retry_wait import asked_wait

MAX_PARAM = 80  # characters of the name of a field that an error message repeats

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}|\d{4,9}", re.ASCII)  # a shorter number repeats the HTTP status

_STATUS = re.compile(r"[45]\d\d", re.ASCII)
# The statuses of failures that are told by a code only.
_STATUS_OF = (
    (CREDENTIAL, 401),
    (LIMIT, 429),
    (NO_MODEL, 404),
    (NOT_FOUND, 404),
    (ACCESS, 403),
    (PAYMENT, 402),
    (TOO_LARGE, 413),
    *((fault, 400) for fault in (CREDIT, MODERATION, TOO_LONG, BAD_REQUEST)),
)

_ACCESS = frozenset({401, 403, 407})
_AGAIN = frozenset({408, 409, 421, 423, 424, 425, 499})  # statuses below 500 that tell of a passing state
_CLIENTS_FAULT = frozenset({400, 411, 413, 414, 415, 416, 417, 422, 428, 431, 451})


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An answer with an error status. `wait`: the seconds that it asks to wait; None: it asks for none.

    `is_inside`: the status stands in the words of an answer with status 200.
    """

    status: int
    message: UpstreamMessage | None
    wait: int | None
    is_inside: bool = False

    @property
    def how(self) -> str:
        """The status in words, for a reason."""
        return f"code {self.status} in an answer" if self.is_inside else f"HTTP {self.status}"


def blame(answer: ErrorAnswer) -> RivergateError:
    """The error of the gateway for an error answer."""
    error = _judged(answer)
    if (message := answer.message) is not None:
        error.quote_details(message.details)
    if answer.is_inside:
        error.answered_with(200)  # which the record keeps; a refusal takes the other status for the client
    error.answered_with(answer.status)
    # No client may open a breaker by a request whose refusal quotes words of it.
    error.is_guess = isinstance(error, UpstreamCredentialRefused | UpstreamOutOfCredit) and not (
        answer.status in _ACCESS or _Told.of(message).has_code_of(CREDENTIAL, CREDIT)
    )
    if isinstance(error, UpstreamRefused):
        _complete(error, message)
    return error


def blame_report(message: UpstreamMessage, *, begun: bool) -> RivergateError:
    """The error of the gateway for a failure that an upstream reports inside of an answer with status 200.

    Before the content it counts as if the answer had the status that it tells of. `begun`: some of the answer has
    been relayed, so that the status cannot change; a code that tells clients what to do is still the upstream's own.
    """
    code = message.code
    if begun:
        is_word = isinstance(code, str) and _CODE.fullmatch(code) is not None and not code.isdigit()
        tells = is_word and any(plain(code) in fault.codes for fault in (LIMIT, MODERATION, TOO_LONG, BAD_REQUEST))
        return ReportedFailure.of(message, code if tells else None)
    if (status := told_status(message)) is None:
        return ReportedFailure.of(message)
    wait = asked_wait({}, message, 0.0, limited=status == 429)
    return blame(ErrorAnswer(status, message, wait, is_inside=True))


def told_status(message: UpstreamMessage) -> int | None:
    """The HTTP status that a message tells of by its code or its kind; None: by neither."""
    for code in (message.code, message.kind):
        if isinstance(code, str | int) and (number := _STATUS.fullmatch(str(code))) is not None:
            return int(number[0])
    told = _Told.of(message)
    return next((status for fault, status in _STATUS_OF if told.has_code_of(fault)), None)


def _judged(answer: ErrorAnswer) -> RivergateError:
    status, message = answer.status, answer.message
    told = _Told.of(message)
    if status >= 500 or status in _AGAIN or status < 400:
        return UpstreamError(answer.how, quoted=told.text, retry_after=answer.wait)
    if status == 407:
        return UpstreamCredentialRefused(f"the proxy refused the gateway's credential ({answer.how})")
    if status == 402:
        return UpstreamUnable(f"it wants to be paid first ({answer.how})", quoted=told.text)
    if told.says(CREDIT, by_words=status != 429):
        return UpstreamOutOfCredit(f"the gateway's account there has no credit ({answer.how})", quoted=told.text)
    if status == 429:
        return RateLimited(f"over its limit ({answer.how})", quoted=told.text, retry_after=answer.wait)
    is_moderation = status != 401 and (told.has_reasons or told.says(MODERATION))
    if status == 401 or (not is_moderation and told.says(CREDENTIAL)):
        # Not quoted: such a message is for whoever holds the credential, and most of them repeat it in part.
        return UpstreamCredentialRefused(f"it refused the gateway's credential ({answer.how})")
    if status == 403 and not is_moderation:
        return UpstreamCredentialRefused(f"it refused the gateway's access ({answer.how})", quoted=told.text)
    refused = f"the upstream refused the request ({answer.how})"
    if message is not None and message.refuses_usage:
        refused = f"the upstream refused a field, perhaps the one that asks for the usage ({answer.how})"
    if status in _CLIENTS_FAULT or is_moderation:
        # A refusal inside of an answer may be that of one provider behind a router, so others are asked.
        kind = UpstreamUnable if answer.is_inside or told.says(NO_MODEL) else UpstreamRefused
        return kind(refused, quoted=told.text)
    return UpstreamUnable(f"the upstream cannot serve the request ({answer.how})", quoted=told.text)


def _complete(error: UpstreamRefused, message: UpstreamMessage | None) -> None:
    """Give a refusal the upstream's own code and field, and what the gateway acts on."""
    if message is None:
        return
    error.refuses_usage = message.refuses_usage
    if isinstance(message.param, str) and message.param:
        error.param = message.param[:MAX_PARAM]
    told = _Told.of(message)
    code = str(message.code)
    if isinstance(message.code, str | int) and _CODE.fullmatch(code):
        error.code = code
    elif told.says(TOO_LONG):
        error.code = "context_length_exceeded"
    elif told.has_reasons or told.says(MODERATION):
        error.code = "content_filtered"


@dataclass(frozen=True, slots=True)
class _Told:
    """What an answer says, for comparisons. `codes`: its code and kinds, without separators and in lower case."""

    text: str
    codes: frozenset[str]
    has_reasons: bool  # it lists why the input was flagged, as OpenRouter does

    @classmethod
    def of(cls, message: UpstreamMessage | None) -> "_Told":
        if message is None:
            return cls("", frozenset(), has_reasons=False)
        details = message.details
        codes = [message.code, message.kind, *_reasons(details)]
        metadata = details.get("metadata")
        flagged = isinstance(metadata, dict) and ("reasons" in metadata or "flagged_input" in metadata)
        return cls(message.text, frozenset(plain(code) for code in codes if code), has_reasons=flagged)

    def has_code_of(self, *faults: FaultWords) -> bool:
        """Whether it tells of one of these faults by a code."""
        return any(not self.codes.isdisjoint(fault.codes) for fault in faults)

    def says(self, fault: FaultWords, *, by_words: bool = True) -> bool:
        """Whether it tells of this fault by a code, or by its words."""
        return self.has_code_of(fault) or (by_words and fault.words.search(self.text) is not None)


def _reasons(details: Any) -> list[Any]:
    """The codes among the details: Azure's inner error and Google's `reason`."""
    inner, listed = details.get("innererror"), details.get("details")
    reasons = [inner.get("code")] if isinstance(inner, dict) else []
    if isinstance(listed, list):
        reasons += [entry.get("reason") for entry in listed if isinstance(entry, dict)]
    return [*reasons, details.get("status"), details.get("error_type")]
