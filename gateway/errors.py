"""Pure: the one error tree.

Every failure that a client can see is a `RivergateError`. It carries the HTTP status and the fields of the error
envelope, so that one object becomes a status before the commit, and an event in the stream after the commit. The
blame is in the type: `ClientError`, `UpstreamError`, `GatewayError`.
"""

import functools
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from gateway.endings import Ending

MAX_QUOTED = 500  # characters of an upstream's message, and of each text in its details, that a client is told
MAX_PARAM = 200  # characters of the name of a field, which a client may have made up
LONGEST_RETRY_AFTER = 60  # seconds: OpenAI's SDKs sleep no longer, others block; a longer wait is put into words
_ENVELOPE = frozenset({"message", "type", "code", "param"})


class RivergateError(Exception):
    """A failure in the terms of the wire: status, `type` and `code` of the envelope."""

    status: int = 500
    type: str = "api_error"
    code: str = "internal_error"
    log_code: ClassVar[str] = ""  # the word for logs and metrics, where it tells more than the code
    retryable: bool = True
    another_may_help: ClassVar[bool] = True  # another upstream may answer the request
    ending: ClassVar[Ending] = Ending.INTERNAL_ERROR

    def __init__(
        self,
        message: str,
        *,
        quoted: str = "",
        param: str | None = None,
        retry_after: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = message  # in our words: safe to log
        self.quoted = quoted  # in an upstream's words, which may repeat a prompt: for the client only
        self.param = None if param is None else param[:MAX_PARAM]
        self.retry_after = retry_after
        self.details: Mapping[str, Any] = {}  # members of the envelope beside `error`
        self.quoted_details: Mapping[str, Any] = {}  # members of `error` that an upstream has added to its own
        self.upstream_status: int | None = None  # the status of an upstream's answer; None: it gave none
        self.is_guess = False  # only words tell whose fault it is, and a request may have put them there
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """The message for the client."""
        return self._with_wait(f"{self.reason}: {self.quoted}" if self.quoted else self.reason)

    def blame(self, upstream: str) -> None:
        """Put the upstream's name before the message."""
        self.reason = f"{upstream}: {self.reason}"

    def answered_with(self, status: int | None) -> None:
        """Note the status of the upstream's answer, unless one is noted; None: there was no answer."""
        if self.upstream_status is None:
            self.upstream_status = status

    def add_details(self, details: Mapping[str, Any]) -> None:
        """Put these members into the envelope, beside `error`; earlier ones are replaced."""
        self.details = details

    def quote_details(self, details: Mapping[str, Any]) -> None:
        """Put what an upstream's error object says beside its message into the client's, under the same keys."""
        self.quoted_details = details

    def redact(self, clean: Callable[[Any], Any]) -> None:
        """Take the gateway's secrets out of all that is an upstream's; `clean` does it for any JSON value."""
        self.quoted = _cut(clean(self.quoted))
        self.quoted_details = _cut(clean(self.quoted_details))
        if self.code != type(self).code and clean(self.code) != self.code:
            self.code = type(self).code
        if self.param is not None:
            self.param = clean(self.param)

    def envelope(self) -> dict[str, Any]:
        """The body that every SDK understands: `{"error": {"message", "type", "code", "param"}}`."""
        error = {"message": self.message, "type": self.type, "code": self.code, "param": self.param}
        error.update({name: value for name, value in self.quoted_details.items() if name not in _ENVELOPE})
        return {"error": error, **self.details}

    def headers(self) -> Mapping[str, str]:
        """Headers that tell SDKs whether and when to try again."""
        headers: dict[str, str] = {}
        if self.retry_after is not None and not self._waits_too_long:
            headers["Retry-After"] = str(self.retry_after)
        if not self.retryable or self._waits_too_long:
            headers["x-should-retry"] = "false"
        elif self.retry_after:
            headers["x-should-retry"] = "true"
        return headers

    @property
    def _waits_too_long(self) -> bool:
        return self.retry_after is not None and self.retry_after > LONGEST_RETRY_AFTER

    def _with_wait(self, message: str) -> str:
        """The message, with the wait in words if it is too long for a header."""
        return f"{message} (retry after {self.retry_after} seconds)" if self._waits_too_long else message


def _cut(value: Any) -> Any:
    """A JSON value whose texts are cut to `MAX_QUOTED` characters."""
    if isinstance(value, str):
        return value[:MAX_QUOTED]
    if isinstance(value, Mapping):
        return {name: _cut(entry) for name, entry in value.items()}
    return [_cut(entry) for entry in value] if isinstance(value, list) else value


class ClientError(RivergateError):
    """The request is at fault: sending it again as it is cannot help."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    retryable = False
    another_may_help = False
    ending = Ending.REFUSED


class InvalidParameter(ClientError):
    """One named field of the request is at fault."""

    code = "invalid_parameter_value"


class AuthenticationFailed(ClientError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class InsufficientQuota(ClientError):
    status = 402
    type = "rate_limit_error"
    code = "insufficient_quota"
    ending = Ending.BUDGET_EXHAUSTED


class PermissionDenied(ClientError):
    status = 403
    type = "permission_error"
    code = "insufficient_permissions"


class NotFound(ClientError):
    status = 404
    type = "not_found_error"
    code = "resource_not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class MethodNotAllowed(ClientError):
    status = 405
    code = "method_not_allowed"


class StreamKeyConflict(ClientError):
    status = 409
    code = "stream_key_conflict"


class RequestTimeout(ClientError):
    """The body of the request did not arrive in time; another try may succeed."""

    status = 408
    code = "request_timeout"
    retryable = True


class PayloadTooLarge(ClientError):
    status = 413
    code = "payload_too_large"


class UnsupportedEncoding(ClientError):
    """The body is of a type, or compressed in a way, that is not understood."""

    status = 415
    code = "unsupported_content_encoding"


class ConstraintNotMet(ClientError):
    """A routing option that no upstream of the model satisfies; `code` names the kind of the option."""


class ExpectationFailed(ClientError):
    status = 417


class VersionNotSupported(ClientError):
    status = 505
    code = "http_version_not_supported"


class RateLimited(RivergateError):
    """A limit of the key, or of every upstream that could have answered, is exceeded."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    ending = Ending.UPSTREAM_ERROR


class UpstreamError(RivergateError):
    """An upstream failed; another upstream may succeed."""

    status = 502
    code = "upstream_error"
    ending = Ending.UPSTREAM_ERROR


class UpstreamStalled(UpstreamError):
    """Silence between two tokens outlasted `stream.idle_timeout_ms`."""

    code = "upstream_stalled"
    ending = Ending.STALLED


class UpstreamTimeout(UpstreamError):
    """An attempt brought no content in the time that it had."""

    status = 504
    code = "upstream_timeout"


class UpstreamCredentialRefused(UpstreamError):
    """An upstream does not take the gateway's credential: no other try at it helps before the operator acts."""

    log_code = "credential_refused"
    retryable = False


class UpstreamOutOfCredit(UpstreamError):
    """The gateway's account at an upstream has no credit left."""

    log_code = "no_credit"
    retryable = False


# The type and the code of a refusal by the status of an upstream, where they differ from those of a `ClientError`.
_REFUSALS: Mapping[int, tuple[str, str]] = {
    402: ("rate_limit_error", "insufficient_quota"),
    403: ("permission_error", "insufficient_permissions"),
    404: ("not_found_error", "resource_not_found"),
    410: ("not_found_error", "resource_not_found"),
    413: ("invalid_request_error", "payload_too_large"),
}


_CLIENT_STATUSES = frozenset(status.value for status in HTTPStatus if 400 <= status < 500)


class UpstreamRefused(ClientError):
    """An upstream's refusal that is the client's fault, which the client is told at once in the upstream's words.

    `refuses_usage`: it is the field that the gateway itself has put into the request to get the usage of a stream.
    """

    log_code = "invalid_request"
    refuses_usage = False

    @property
    def message(self) -> str:
        return self.quoted or self.reason

    def answered_with(self, status: int | None) -> None:
        """Note the status of the upstream's answer, which the client gets too."""
        super().answered_with(status)
        if status is not None and status in _CLIENT_STATUSES:
            self.status = status
            self.type, code = _REFUSALS.get(status, (self.type, self.code))
            if self.code == type(self).code:
                self.code = code


class UpstreamUnable(UpstreamRefused):
    """A refusal that says only that this upstream cannot serve the request; if none can, the client is told why."""

    log_code = "not_served"
    another_may_help = True


class GatewayError(RivergateError):
    """This process cannot serve the request now."""


class ServiceUnavailable(GatewayError):
    status = 503
    code = "service_unavailable"


class NoProviderAvailable(GatewayError):
    status = 503
    code = "no_provider_available"


class Draining(GatewayError):
    status = 503
    code = "server_draining"
    ending = Ending.DRAINED


class TtftBudgetExceeded(GatewayError):
    status = 504
    code = "ttft_budget_exceeded"
    ending = Ending.TTFT_BUDGET_EXCEEDED


class DeadlineExceeded(GatewayError):
    """The request's own `deadline_ms` passed before the first content."""

    status = 504
    code = "upstream_timeout"
    ending = Ending.MAX_DURATION


class DurationExceeded(GatewayError):
    status = 504
    code = "stream_duration_exceeded"
    ending = Ending.MAX_DURATION


class OutputExceeded(GatewayError):
    """The answer is longer than the configuration, or the request, allows."""

    code = "stream_output_exceeded"
    ending = Ending.MAX_OUTPUT


BALANCE_SPENT = "the balance of this API key is used up"


class CostExceeded(ClientError):
    """The answer costs more than the balance of the key, or the request, allows."""

    status = 402
    type = "rate_limit_error"
    code = "budget_exhausted"
    ending = Ending.BUDGET_EXHAUSTED


class StreamAborted(GatewayError):
    """Somebody stopped the stream on purpose."""

    code = "stream_aborted"
    ending = Ending.STOPPED


# Codes that an error of the gateway may have instead of the code of its class.
MORE_CODES = frozenset(
    {"expired_api_key", "cost_constraint_exceeded", "latency_constraint_exceeded", "throughput_constraint_not_met"}
    | {"provider_not_in_allowlist", "provider_blocked", "unsupported_media_type"}
)


def closed_code(error: RivergateError) -> str:
    """The code of an error for logs and metrics: one of a closed set, whatever code an upstream has made up."""
    return error.log_code or (error.code if error.code in _closed_codes() else type(error).code)


@functools.cache
def _closed_codes() -> frozenset[str]:
    kinds: list[type[RivergateError]] = [RivergateError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return frozenset(kind.code for kind in kinds) | MORE_CODES


class ConfigError(Exception):
    """All faults of a configuration, or of the arguments of a command, one line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class LedgerError(Exception):
    """A failure of the books (gateway/access/books.py).

    `reason` is the store's own word for it; `fault` is the line for an operator, which begins with the key path of
    the configuration.
    """

    def __init__(self, reason: str, fault: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fault = fault
