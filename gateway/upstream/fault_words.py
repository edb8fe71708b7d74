"""Pure: the codes and words by which providers say what the status of an error answer alone does not.

Each fault is listed as it was seen; a new one is a line.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_SEPARATORS = re.compile(r"[ ._-]+")
_MAX_CODE = 200  # characters; the longest code that is known has 30


@dataclass(frozen=True, slots=True)
class FaultWords:
    """How a fault is known. `codes`: values of `code`, `type`, `status` or `reason`, as `plain` makes them."""

    codes: frozenset[str]
    words: re.Pattern[str]

    @classmethod
    def of(cls, codes: Sequence[str], words: Sequence[str]) -> "FaultWords":
        """The fault with these codes, and these patterns of words in any case."""
        found = re.compile("|".join(words) if words else r"(?!)", re.IGNORECASE)
        return cls(frozenset(map(plain, codes)), found)


def plain(code: Any) -> str:
    """A code in lower case, without separators and without the namespace that Amazon puts before it."""
    text = str(code)[:_MAX_CODE] if isinstance(code, str | int | float) else ""
    return _SEPARATORS.sub("", text).lower().rpartition("#")[2]


# The upstream does not know the gateway's key, or does not take it any more.
CREDENTIAL = FaultWords.of(
    codes=[
        "invalid_api_key",
        "API_KEY_INVALID",
        "API_KEY_EXPIRED",
        "expired_api_key",
        "missing_api_key",
        "api_key_disabled",
        "API_KEY_SERVICE_BLOCKED",
        "invalid_authentication",
        "invalid_authentication_error",
        "authentication_error",
        "UNAUTHENTICATED",
        "unauthorized",
        "account_deactivated",
        "invalid_organization",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "ExpiredTokenException",
        "AuthFailure",
        "invalid_token",
        "1004",  # MiniMax
        "2049",  # MiniMax
    ],
    words=[
        r"\b(?:invalid|incorrect|wrong|missing|expired|unknown|disabled|revoked)\b.{0,20}"
        r"\b(?:api[ _-]?key|x-api-key|access token|subscription key|auth\w* (?:token|header)|credentials)\b",
        r"\bapi[ _-]?key\b.{0,40}"
        r"\b(?:not valid|invalid|incorrect|expired|not found|disabled|revoked|missing|required|leaked)\b",
        r"\bauthentication (?:fail\w*|error|required)",
        r"\bno auth credentials",
        r"\bunauthori[sz]ed\b",
        r"\bsecurity token .{0,40}(?:invalid|expired)",
    ],
)

# The gateway's account has nothing left to pay with.
CREDIT = FaultWords.of(
    codes=[
        "insufficient_quota",
        "insufficient_balance",
        "insufficient_credits",
        "insufficient_credit",
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit_balance_too_low",
        "payment_required",
        "Arrearage",
        "AccountOverdueError",
        "1113",  # Zhipu
        "1008",  # MiniMax
        "30001",  # SiliconFlow
    ],
    words=[
        r"\bcredit balance is too low",
        r"\binsufficient (?:account )?(?:balance|credits?|funds?)",
        r"\b(?:out of|used (?:up )?all|no) (?:\w+ )?credits?\b",
        r"\bbilling (?:hard limit|is not active|details? (?:is|are) required)",
        r"\b(?:account|balance) (?:is )?(?:overdue|in arrears)",
        r"\bspending limit",
    ],
)

# What the client sent is not wanted, by any policy of the upstream.
MODERATION = FaultWords.of(
    codes=[
        "content_filter",
        "content_filtered",
        "content_policy_violation",
        "image_content_policy_violation",
        "moderation_blocked",
        "moderation",
        "data_inspection_failed",
        "DataInspectionFailed",
        "input_flagged",
        "SAFETY",
        "ResponsibleAIPolicyViolation",
        "sensitive_content",
        "prompt_blocked",
        "1301",  # Zhipu
        "1026",  # MiniMax
    ],
    words=[
        r"\bflagged\b",
        r"\bmoderat(?:ion|ed)\b",
        r"\bcontent (?:management )?(?:policy|filter\w*)\b",
        r"\binappropriate (?:content|input)",
        r"\bviolat\w+ .{0,40}\b(?:polic\w+|guidelines|terms|safety)",
        r"\bsensitive (?:content|words?|information)",
        r"\b(?:unsafe|harmful|prohibited|disallowed) (?:content|input|prompt)",
        r"\bsafety (?:system|reasons|checks?|filters?|guidelines)",
    ],
)

# The prompt, with the answer asked for, is longer than the model can take.
TOO_LONG = FaultWords.of(
    codes=["context_length_exceeded", "context_window_exceeded", "string_above_max_length"],
    words=[
        r"\bcontext[ _](?:length|window|size)",
        r"\bmaximum context",
        r"\b(?:prompt|input|request) (?:is |was )?too long",
        r"\btoo many (?:input )?tokens",
        r"\bexceed\w* .{0,30}\b(?:token limit|maximum .{0,20}tokens)",
    ],
)

# The upstream does not have the model under the name that it is called by.
NO_MODEL = FaultWords.of(
    codes=[
        "model_not_found",
        "invalid_model",
        "model_not_supported",
        "unknown_model",
        "ModelNotFoundError",
        "DeploymentNotFound",
        "model_not_exist",
    ],
    words=[],
)

# What the request names is not there: a file, an endpoint, or a model under the name that it is called by.
NOT_FOUND = FaultWords.of(
    codes=["not_found_error", "not_found", "NOT_FOUND", "NotFoundError", "resource_not_found", "ResourceNotFound"],
    words=[],
)

# The upstream knows the gateway's key, and does not let it do what was asked.
ACCESS = FaultWords.of(
    codes=[
        "permission_error",
        "permission_denied",
        "PERMISSION_DENIED",
        "PermissionDeniedError",
        "insufficient_permissions",
        "forbidden",
        "AccessDeniedException",
        "AccessDenied",
    ],
    words=[],
)

# The upstream wants to be paid first, as Anthropic tells it.
PAYMENT = FaultWords.of(codes=["billing_error"], words=[])

# The request has too many bytes.
TOO_LARGE = FaultWords.of(codes=["request_too_large", "payload_too_large"], words=[])

# The gateway asks too much of the upstream for now.
LIMIT = FaultWords.of(
    codes=[
        "rate_limit_exceeded",
        "rate_limit_error",
        "rate_limit_reached",
        "rate_limited",
        "too_many_requests",
        "RateLimitError",
        "RESOURCE_EXHAUSTED",
        "ThrottlingException",
        "Throttling",
        "Throttling.RateQuota",
        "Throttling.BurstRate",
        "Throttling.AllocationQuota",
        "RequestLimitExceeded",
        "1302",  # Zhipu
        "1303",  # Zhipu
        "1305",  # Zhipu
        "1002",  # MiniMax
        "1039",  # MiniMax
    ],
    words=[],
)

# The request is not one that the upstream can serve.
BAD_REQUEST = FaultWords.of(
    codes=[
        "invalid_request_error",
        "invalid_request",
        "bad_request",
        "BadRequestError",
        "INVALID_ARGUMENT",
        "invalid_parameter",
        "InvalidParameter",
        "ValidationException",
        "invalid_prompt",  # this and what follows: the codes of a response that failed
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "invalid_image_url",
        "invalid_image_mode",
        "image_too_large",
        "image_too_small",
        "image_parse_error",
        "image_file_too_large",
        "image_file_not_found",
        "unsupported_image_media_type",
        "empty_image_file",
        "failed_to_download_image",
        "2013",  # MiniMax
    ],
    words=[],
)
