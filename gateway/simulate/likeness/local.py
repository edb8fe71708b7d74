"""Pure: the likenesses of servers that people run themselves, and of LiteLLM, a gateway.

The words and shapes are those of each server's source and documentation, and of reports of its users.
"""

from collections.abc import Mapping

from gateway.simulate.likeness import quirks, shapes
from gateway.simulate.likeness.likeness import BEARER, Likeness, PlayedRefusal

_NO_DETAIL = PlayedRefusal(404, {"detail": "Not Found"})  # FastAPI's answer to an unknown path
_KEY_IF_ANY: tuple[tuple[str, str], ...] = ()  # the server was started without a key

LOCAL: Mapping[str, Likeness] = {
    "vllm": Likeness(
        title="vLLM: null members, reasoning under its own name, the status as a code",
        base="/v1",
        models=("meta-llama/Llama-3.1-8B-Instruct",),
        keys=_KEY_IF_ANY,
        shape=shapes.numeric,
        unknown_path=_NO_DETAIL,
        words={
            400: {
                "error": {
                    "message": "This model's maximum context length is 4096 tokens.",
                    "type": "BadRequestError",
                    "param": None,
                    "code": 400,
                }
            },
            401: {"error": "Unauthorized"},
            404: {
                "error": {
                    "message": "The model `sim` does not exist.",
                    "type": "NotFoundError",
                    "param": None,
                    "code": 404,
                }
            },
        },
        broken={"error": {"message": "EngineCore died", "type": "InternalServerError", "param": None, "code": 500}},
        quirks=(
            quirks.on_every_choice(logprobs=None, token_ids=None),
            quirks.on_the_finish(stop_reason=None),
            quirks.reasoning_under("reasoning"),
        ),
    ),
    "sglang": Likeness(
        title="SGLang: NaN and -Infinity in logprobs, matched_stop, errors without an envelope",
        base="/v1",
        models=("meta-llama/Llama-3.1-8B-Instruct",),
        keys=_KEY_IF_ANY,
        shape=shapes.flat,
        unknown_path=_NO_DETAIL,
        words={
            400: {
                "object": "error",
                "message": "The input is longer than the model's context length.",
                "type": "BadRequest",
                "param": None,
                "code": 400,
            },
            401: {"error": "Unauthorized"},
        },
        broken={
            "error": {"message": "The scheduler stopped.", "type": "InternalServerError", "param": None, "code": 500}
        },
        quirks=(quirks.logprobs_that_are_no_json, quirks.on_the_finish(matched_stop=151645)),
    ),
    "llama.cpp": Likeness(
        title="llama.cpp: timings at the end, 503 while the model loads, a context size in its errors",
        base="/v1",
        models=("llama-3.1-8b",),
        keys=_KEY_IF_ANY,
        shape=shapes.numeric,
        unknown_path=PlayedRefusal(
            404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}
        ),
        words={
            400: {
                "error": {
                    "code": 400,
                    "message": "request (9412 tokens) exceeds the available context size (8192 tokens), try "
                    "increasing it",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 9412,
                    "n_ctx": 8192,
                }
            },
            401: {"error": {"code": 401, "message": "Invalid API Key", "type": "authentication_error"}},
            503: {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        },
        quirks=(
            quirks.on_every_event(system_fingerprint="b6000-sim"),
            quirks.at_the_end(timings={"prompt_n": 8, "predicted_n": 100, "predicted_per_second": 51.5}),
        ),
    ),
    "ollama": Likeness(
        title="Ollama: silent while it loads the model, tool calls whole and without index",
        base="/v1",
        models=("llama3.1",),
        keys=_KEY_IF_ANY,
        shape=shapes.openai,
        unknown_path=PlayedRefusal(404, "404 page not found", "text/plain"),
        words={
            404: {
                "error": {
                    "message": 'model "sim" not found, try pulling it first',
                    "type": "api_error",
                    "param": None,
                    "code": None,
                }
            },
        },
        quirks=(
            quirks.on_every_event(system_fingerprint="fp_ollama"),
            quirks.role_on_every_delta,
            quirks.reasoning_under("reasoning"),
            quirks.whole_tool_calls(index=False),
        ),
        script={"load_ms": 1000.0},
    ),
    "lm-studio": Likeness(
        title="LM Studio: 200 with an error for an unknown path, errors are only text",
        base="/v1",
        models=("qwen3-8b",),
        keys=_KEY_IF_ANY,
        shape=shapes.text,
        unknown_path=PlayedRefusal(200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
        words={400: {"error": "Model has unloaded or crashed."}},
        broken={"error": {"message": "The model has crashed without additional information."}},
        quirks=(
            quirks.on_every_event(system_fingerprint="sim"),
            quirks.on_every_choice(logprobs=None),
            quirks.at_the_end(stats={}),
        ),
        script={"load_ms": 1000.0},
    ),
    "litellm": Likeness(
        title="LiteLLM: codes and null as text, its own class name before the provider's words",
        base="/v1",
        models=("gpt-4o",),
        keys=(BEARER, ("x-api-key", ""), ("api-key", "")),
        shape=shapes.quoted,
        unknown_path=_NO_DETAIL,
        words={
            401: {
                "error": {
                    "message": "Authentication Error, Invalid proxy server token passed. Unable to find token in "
                    "cache or `LiteLLM_VerificationTokenTable`",
                    "type": "token_not_found_in_db",
                    "param": "key",
                    "code": "401",
                }
            },
            429: {
                "error": {
                    "message": "litellm.RateLimitError: RateLimitError: OpenAIException - Rate limit reached.",
                    "type": "throttling_error",
                    "param": None,
                    "code": "429",
                }
            },
        },
        broken={
            "error": {
                "message": "litellm.InternalServerError: the provider closed the stream.",
                "type": "None",
                "param": "None",
                "code": "500",
            }
        },
    ),
}
