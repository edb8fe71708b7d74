"""Pure: the likenesses of services on the internet.

The words and shapes are those of each service's documentation and of reports of its users; no model answers here.
"""

from collections.abc import Mapping
from typing import Any

from gateway.simulate.likeness import quirks, shapes
from gateway.simulate.likeness.likeness import BEARER, Likeness, PlayedRefusal, RefusedField

_SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_PLAIN_404 = PlayedRefusal(404, "404 page not found", "text/plain")
_RESPONSIBLE_AI = {
    "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
    "type": None,
    "param": "prompt",
    "code": "content_filter",
    "status": 400,
    "innererror": {
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_result": {"violence": {"filtered": True, "severity": "medium"}},
    },
}


def _error(message: str, kind: str | None, code: object, **more: Any) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def _google_error(code: int, message: str, status: str, **details: Any) -> list[dict[str, Any]]:
    """An error in Google's list, with one of its details."""
    return [{"error": {"code": code, "message": message, "status": status, "details": [details]}}]


def _azure(title: str, base: str, query: tuple[str, ...] = (), keys: tuple[tuple[str, str], ...] = ()) -> Likeness:
    """Azure in one of its two forms; the answers of both are the same."""
    offsets = {"check_offset": 0, "start_offset": 0, "end_offset": 100}
    late = {"index": 0, "delta": {}, "finish_reason": None, "content_filter_results": _SAFE}
    filtered = {"prompt_index": 0, "content_filter_results": _SAFE}
    preamble = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [filtered]}
    return Likeness(
        title=title,
        base=base,
        query=query,
        keys=(("api-key", ""), *keys),
        shape=shapes.azure,
        unknown_path=PlayedRefusal(404, {"error": {"code": "404", "message": "Resource not found"}}),
        words={
            400: {"error": _RESPONSIBLE_AI},
            401: {
                "error": {
                    "code": "401",
                    "message": "Access denied due to invalid subscription key or wrong API endpoint. Make sure to "
                    "provide a valid key for an active subscription and use a correct regional API endpoint for your "
                    "resource.",
                }
            },
            404: {
                "error": {
                    "code": "DeploymentNotFound",
                    "message": "The API deployment for this resource does not exist.",
                }
            },
        },
        quirks=(
            quirks.on_every_choice(content_filter_results={}),
            quirks.before_all(preamble),
            quirks.behind_the_finish(
                {**preamble, "prompt_filter_results": [], "choices": [late | {"content_filter_offsets": offsets}]}
            ),
        ),
        lists_models="deployments" not in base,
    )


HOSTED: Mapping[str, Likeness] = {
    "openai": Likeness(
        title="OpenAI: obfuscation on every event, max_tokens refused by reasoning models",
        base="/v1",
        models=("gpt-4o", "gpt-4o-mini"),
        shape=shapes.openai,
        unknown_path=PlayedRefusal(
            404, _error("Invalid URL (POST /chat/completions)", "invalid_request_error", None)
        ),
        words={
            401: _error(
                "Incorrect API key provided: sk-wrong. You can find your API key at "
                "https://platform.openai.com/account/api-keys.",
                "invalid_request_error",
                "invalid_api_key",
            ),
            404: _error(
                "The model `sim` does not exist or you do not have access to it.",
                "invalid_request_error",
                "model_not_found",
            ),
            429: _error(
                "You exceeded your current quota, please check your plan and billing details.",
                "insufficient_quota",
                "insufficient_quota",
            ),
        },
        refuses=(
            RefusedField(
                "max_tokens",
                400,
                _error(
                    "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                    "'max_completion_tokens' instead.",
                    "invalid_request_error",
                    "unsupported_parameter",
                ),
                models=("o1", "o3", "o4", "gpt-5", "gpt-6"),
            ),
        ),
        quirks=(
            quirks.on_every_event(service_tier="default", system_fingerprint="fp_sim"),
            quirks.on_every_choice(logprobs=None),
            quirks.obfuscation,
        ),
    ),
    "azure": _azure(
        "Azure OpenAI, deployments: api-key and api-version, filter results before and behind the answer",
        "/openai/deployments/*",
        query=("api-version",),
    ),
    "azure-v1": _azure("Azure OpenAI, /openai/v1: api-key or a bearer token", "/openai/v1", keys=(BEARER,)),
    "anthropic": Likeness(
        title="Anthropic's OpenAI-compatible endpoint: an empty balance is a 400",
        base="/v1",
        models=("claude-opus-5-5",),
        shape=shapes.openai,
        unknown_path=PlayedRefusal(
            404, {"type": "error", "error": {"type": "not_found_error", "message": "Not found"}}
        ),
        words={
            400: _error(
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade "
                "or purchase credits.",
                "invalid_request_error",
                "invalid_request_error",
            ),
            401: _error("Invalid bearer token", "authentication_error", None),
            529: _error("Overloaded", "overloaded_error", None),
        },
    ),
    "gemini": Likeness(
        title="Gemini's OpenAI-compatible endpoint: errors in a list, RetryInfo, thoughts only in the total",
        base="/v1beta/openai",
        models=("gemini-2.5-flash",),
        shape=shapes.google,
        unknown_path=_PLAIN_404,
        wrong_key=PlayedRefusal(
            400,
            _google_error(
                400,
                "API key not valid. Please pass a valid API key.",
                "INVALID_ARGUMENT",
                **{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
            ),
        ),
        words={
            429: _google_error(
                429,
                "You exceeded your current quota, please check your plan and billing details. Please retry in 38s.",
                "RESOURCE_EXHAUSTED",
                **{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38s"},
            ),
        },
        broken={"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}},
        quirks=(
            quirks.role_on_every_delta,
            quirks.thoughts_beyond_completion(details=False),
            quirks.whole_tool_calls(index=True),
        ),
    ),
    "bedrock": Likeness(
        title="Amazon Bedrock's OpenAI-compatible endpoint: an error is only a message",
        base="/openai/v1",
        shape=shapes.message_only,
        unknown_path=PlayedRefusal(404, {"message": "The requested operation is not recognized by the service."}),
        wrong_key=PlayedRefusal(403, {"message": "The security token included in the request is invalid."}),
        words={
            400: {"message": "The provided model identifier is invalid."},
            429: {"message": "Too many requests, please wait before trying again."},
        },
        lists_models=False,
    ),
    "openrouter": Likeness(
        title="OpenRouter: comments while it waits, errors in a choice, the provider's own error in metadata.raw",
        base="/api/v1",
        models=("meta-llama/llama-3.1-8b-instruct",),
        shape=shapes.openrouter,
        unknown_path=_PLAIN_404,
        words={
            401: {"error": {"message": "No auth credentials found", "code": 401}},
            402: {"error": {"message": "Insufficient credits. Add more to continue.", "code": 402}},
            403: {
                "error": {
                    "message": "Your chosen model requires moderation and your input was flagged",
                    "code": 403,
                    "metadata": {"reasons": ["violence"], "flagged_input": "…", "provider_name": "Sim"},
                }
            },
            404: {"error": {"message": "No endpoints found that support image input", "code": 404}},
            429: {
                "error": {
                    "message": "Provider returned error",
                    "code": 429,
                    "metadata": {"raw": "sim/model is temporarily rate-limited upstream", "provider_name": "Sim"},
                }
            },
        },
        broken={
            "id": "gen-sim",
            "object": "chat.completion.chunk",
            "created": 1_750_000_000,
            "model": "sim",
            "provider": "Sim",
            "choices": [
                {
                    "index": 0,
                    "delta": {"role": "assistant", "content": ""},
                    "finish_reason": "error",
                    "error": {"code": 502, "message": "Provider disconnected unexpectedly"},
                }
            ],
        },
        quirks=(
            quirks.on_every_event(provider="Sim"),
            quirks.on_every_choice(native_finish_reason=None),
            quirks.on_the_finish(native_finish_reason="STOP"),
            quirks.reasoning_under("reasoning"),
            quirks.with_usage(cost=0.00014, is_byok=False),
        ),
        script={"comment": "OPENROUTER PROCESSING", "comment_every_ms": 10.0, "usage": "always"},
    ),
    "groq": Likeness(
        title="Groq: usage in x_groq, each tool call in one event",
        base="/openai/v1",
        models=("llama-3.1-8b-instant",),
        shape=shapes.openai,
        unknown_path=PlayedRefusal(
            404,
            _error(
                "Unknown request URL: POST /chat/completions. Please check the URL for typos, or see the docs.",
                "invalid_request_error",
                "unknown_url",
            ),
        ),
        words={
            401: _error("Invalid API Key", "invalid_request_error", "invalid_api_key"),
            429: _error(
                "Rate limit reached for model `sim` on tokens per minute (TPM): Limit 6000, Used 5990. Please try "
                "again in 7.66s.",
                "tokens",
                "rate_limit_exceeded",
            ),
        },
        refuses=tuple(
            RefusedField(name, 400, _error(f"property '{name}' is unsupported", "invalid_request_error", None))
            for name in ("logit_bias", "logprobs", "top_logprobs")
        ),
        broken=_error(
            "Failed to call a function.", "invalid_request_error", "tool_use_failed", failed_generation="<f"
        ),
        quirks=(
            quirks.on_the_first_event(x_groq={"id": "req_sim"}),
            quirks.usage_in_x_groq,
            quirks.whole_tool_calls(index=True),
        ),
    ),
    "mistral": Likeness(
        title="Mistral: refuses stream_options, content in parts, usage on the finish",
        base="/v1",
        models=("mistral-small-latest",),
        shape=shapes.flat,
        unknown_path=PlayedRefusal(404, {"message": "no Route matched with those values"}),
        words={401: {"detail": "Unauthorized"}},
        refuses=tuple(
            RefusedField(
                name,
                422,
                {
                    "object": "error",
                    "message": {
                        "detail": [
                            {
                                "type": "extra_forbidden",
                                "loc": ["body", name],
                                "msg": "Extra inputs are not permitted",
                            }
                        ]
                    },
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                },
            )
            for name in ("stream_options", "max_completion_tokens", "user", "seed", "logit_bias", "logprobs")
        ),
        quirks=(quirks.content_in_parts, quirks.whole_tool_calls(index=True)),
        script={"usage": "on_finish"},
    ),
    "deepseek": Likeness(
        title="DeepSeek: keep-alive comments and empty lines while it waits, reasoning, zeros for usage",
        base="/v1",
        models=("deepseek-chat", "deepseek-reasoner"),
        shape=shapes.openai,
        unknown_path=_PLAIN_404,
        words={
            401: _error(
                "Authentication Fails, Your api key: ****rong is invalid",
                "authentication_error",
                "invalid_request_error",
            ),
            402: _error("Insufficient Balance", "unknown_error", "invalid_request_error"),
        },
        quirks=(
            quirks.zero_usage_before_the_end,
            quirks.with_usage(prompt_cache_hit_tokens=0, prompt_cache_miss_tokens=1),
            quirks.blank_lines_first,
        ),
        script={"comment": "keep-alive", "comment_every_ms": 10.0, "reasoning_tokens": 8, "usage": "on_finish"},
    ),
    "xai": Likeness(
        title="xAI: reasoning beyond completion_tokens, a wrong key is a 400, errors are a sentence and a text",
        base="/v1",
        models=("grok-4",),
        shape=shapes.code_and_text,
        unknown_path=_PLAIN_404,
        wrong_key=PlayedRefusal(
            400,
            {
                "code": "Client specified an invalid argument",
                "error": "Incorrect API key provided: wr***ng. You can obtain an API key from https://console.x.ai.",
            },
        ),
        words={
            403: {
                "code": "The caller does not have permission to execute the specified operation",
                "error": "Your newly created team doesn't have any credits yet. You can purchase credits on "
                "https://console.x.ai.",
            },
            404: {
                "code": "Some requested entity was not found",
                "error": "The model sim does not exist or your team does not have access to it.",
            },
        },
        broken={"code": "The service is currently unavailable", "error": "The model is at capacity."},
        quirks=(
            quirks.thoughts_beyond_completion(details=True),
            quirks.with_usage(num_sources_used=0),
            quirks.whole_tool_calls(index=True),
        ),
        script={"reasoning_tokens": 8},
    ),
}
