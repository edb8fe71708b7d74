"""LangChain's `ChatOpenAI(use_responses_api=True)`."""

import importlib
from collections.abc import AsyncIterator
from typing import Any

PROMPT = "What does the heron whisper to the weir?"

langchain: Any = importlib.import_module("langchain_openai")


def _model(settings: dict[str, Any]) -> Any:
    return langchain.ChatOpenAI(use_responses_api=True, max_retries=0, **settings)


async def whole(settings: dict[str, Any]) -> Any:
    message = await _model(settings).ainvoke(PROMPT)
    return {"text": message.text, "tokens": message.usage_metadata["output_tokens"]}


async def parts(settings: dict[str, Any]) -> AsyncIterator[str]:
    async for chunk in _model(settings).astream(PROMPT):
        yield chunk.text


async def called(settings: dict[str, Any]) -> Any:
    """The arguments of the call that the streamed chunks add up to."""
    tool = {"name": "lookup", "description": "Looks up.", "parameters": {"type": "object", "properties": {}}}
    message: Any = None
    async for chunk in _model(settings).bind_tools([tool]).astream(PROMPT):
        message = chunk if message is None else message + chunk
    (call,) = message.tool_calls
    return call["args"]
