"""openai-agents, whose usual model asks for responses."""

import importlib
from collections.abc import AsyncIterator
from typing import Any

PROMPT = "What does the heron whisper to the weir?"

agents: Any = importlib.import_module("agents")
openai: Any = importlib.import_module("openai")
agents.set_tracing_disabled(True)  # it would be sent to OpenAI


def _agent(settings: dict[str, Any], **options: Any) -> Any:
    client = openai.AsyncOpenAI(base_url=settings["base_url"], api_key=settings["api_key"], max_retries=0)
    model = agents.OpenAIResponsesModel(settings["model"], openai_client=client)
    extra = agents.ModelSettings(extra_body=settings["extra_body"])
    return agents.Agent(name="heron", instructions="Whisper.", model=model, model_settings=extra, **options)


async def whole(settings: dict[str, Any]) -> Any:
    result = await agents.Runner.run(_agent(settings), PROMPT)
    return {"text": result.final_output, "tokens": result.context_wrapper.usage.output_tokens}


async def parts(settings: dict[str, Any]) -> AsyncIterator[str]:
    async for event in agents.Runner.run_streamed(_agent(settings), PROMPT).stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            yield event.data.delta


async def called(settings: dict[str, Any]) -> Any:
    """What the tool that the model called was given."""
    given: list[dict[str, Any]] = []

    def lookup(query: str, limit: int) -> str:
        given.append({"query": query, "limit": limit})
        return "found"

    agent = _agent(settings, tools=[agents.function_tool(lookup)], tool_use_behavior="stop_on_first_tool")
    async for _ in agents.Runner.run_streamed(agent, PROMPT).stream_events():
        pass
    (arguments,) = given
    return arguments
