"""Pure: the one error tree.

Every failure that a client can see is a `RivergateError`. It carries the HTTP status and the fields of the error
envelope, so that one object becomes a status before the commit, and an event in the stream after the commit. The
blame is in the type: `ClientError`, `UpstreamError`, `GatewayError`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from gateway.endings import Ending


class RivergateError(Exception):
    """A failure in the terms of the wire: status, `type` and `code` of the envelope."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: str = "internal_error"
    retryable: ClassVar[bool] = True
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
        self.param = param
        self.retry_after = retry_after
        self.details: Mapping[str, Any] = {}  # members of the envelope beside `error`
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """The message for the client."""
        return f"{self.reason}: {self.quoted}" if self.quoted else self.reason

    def blame(self, upstream: str) -> None:
        """Put the upstream's name before the message."""
        self.reason = f"{upstream}: {self.reason}"

    def add_details(self, details: Mapping[str, Any]) -> None:
        """Put these members into the envelope, beside `error`; earlier ones are replaced."""
        self.details = details

    def redact(self, secret: str) -> None:
        """Replace a credential of the gateway in what an upstream said."""
        self.quoted = self.quoted.replace(secret, "[redacted]")

    def envelope(self) -> dict[str, Any]:
        """The body that every SDK understands: `{"error": {"message", "type", "code", "param"}}`."""
        error = {"message": self.message, "type": self.type, "code": self.code, "param": self.param}
        return {"error": error, **self.details}

    def headers(self) -> Mapping[str, str]:
        """Headers that tell SDKs whether and when to try again."""
        headers: dict[str, str] = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if not self.retryable:
            headers["x-should-retry"] = "false"
        return headers


class ClientError(RivergateError):
    """The request is at fault: sending it again as it is cannot help."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    retryable = False
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
    """The body is compressed in a way that is not understood."""

    status = 415
    code = "unsupported_content_encoding"


class ConstraintNotMet(ClientError):
    """A routing option that no upstream of the model satisfies; `code` names the kind of the option."""


class ExpectationFailed(ClientError):
    status = 417


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


class UpstreamRefused(ClientError):
    """An upstream's 400, 413 or 422: the client's fault, which the client is told at once in the upstream's words."""

    @property
    def message(self) -> str:
        return self.quoted or self.reason


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
