"""pydantic-ai's `OpenAIResponsesModel`, which stands behind `openai:`."""

import importlib
from collections.abc import AsyncIterator
from typing import Any

PROMPT = "What does the heron whisper to the weir?"

pydantic_ai: Any = importlib.import_module("pydantic_ai")
models: Any = importlib.import_module("pydantic_ai.models.openai")
providers: Any = importlib.import_module("pydantic_ai.providers.openai")
openai: Any = importlib.import_module("openai")


def _agent(settings: dict[str, Any], **options: Any) -> Any:
    client = openai.AsyncOpenAI(base_url=settings["base_url"], api_key=settings["api_key"], max_retries=0)
    model = models.OpenAIResponsesModel(settings["model"], provider=providers.OpenAIProvider(openai_client=client))
    return pydantic_ai.Agent(model, model_settings={"extra_body": settings["extra_body"]}, **options)


async def whole(settings: dict[str, Any]) -> Any:
    result = await _agent(settings).run(PROMPT)
    return {"text": result.output, "tokens": result.usage.output_tokens}


async def parts(settings: dict[str, Any]) -> AsyncIterator[str]:
    async with _agent(settings).run_stream(PROMPT) as result:
        async for part in result.stream_text(delta=True, debounce_by=None):
            yield part


async def called(settings: dict[str, Any]) -> Any:
    """What the tool whose call ends a run was given."""

    def lookup(query: str, limit: int) -> dict[str, Any]:
        return {"query": query, "limit": limit}

    async with _agent(settings, output_type=pydantic_ai.ToolOutput(lookup, name="lookup")).run_stream(
        PROMPT
    ) as result:
        return await result.get_output()
