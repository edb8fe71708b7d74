"""scenarios.py <base URL>: LangChain's OpenAI() and OpenAIEmbeddings(); prints what came of each scenario as JSON."""

import asyncio
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

BASE_URL = sys.argv[1]
MODEL, KEY = "openai/gpt-4o", "sk-client-0a1b2c3d4e5f"
PROMPT = "What does the heron whisper to the weir?"
QUICK: dict[str, Any] = {"ttft_ms": 5, "gap_ms": 1, "tokens": 8}

langchain: Any = importlib.import_module("langchain_openai")


def llm(**simulate: Any) -> Any:
    """A model as a user makes it; the provider behaves as `simulate` says."""
    body = {"simulate": {**QUICK, **simulate}}
    return langchain.OpenAI(model=MODEL, base_url=BASE_URL, api_key=KEY, max_retries=0, extra_body=body)


def embeddings(**options: Any) -> Any:
    """Embeddings as a user makes them for a server that is not OpenAI's, which counts no tokens before."""
    options = {"check_embedding_ctx_length": False, "max_retries": 0, **options}
    return langchain.OpenAIEmbeddings(model=MODEL, base_url=BASE_URL, api_key=KEY, **options)


def invoke() -> Any:
    return llm().invoke(PROMPT)


def stream() -> Any:
    return list(llm().stream(PROMPT))


def astream() -> Any:
    async def read() -> list[str]:
        return [part async for part in llm().astream(PROMPT)]

    return asyncio.run(read())


def batch() -> Any:
    result = llm().generate([PROMPT, "And the reed?"])
    texts = [generation.text for generations in result.generations for generation in generations]
    return {"texts": texts, "usage": result.llm_output["token_usage"]}


def broken() -> Any:
    parts: list[str] = []
    try:
        parts.extend(llm(reset_after=3).stream(PROMPT))
    except Exception as error:
        return {"class": type(error).__name__, "text": "".join(parts)}
    return {"class": None, "text": "".join(parts)}


def failed() -> Any:
    try:
        return llm(status=500).invoke(PROMPT)
    except Exception as error:
        return {"class": type(error).__name__, "status": getattr(error, "status_code", None)}


def embed() -> Any:
    texts = ["the river", "the weir"]
    return {"documents": embeddings().embed_documents(texts), "query": embeddings().embed_query(texts[0])}


def embed_many() -> Any:
    return len(embeddings(dimensions=16, chunk_size=100).embed_documents(["a"] * 250))


SCENARIOS: tuple[Callable[[], Any], ...] = (invoke, stream, astream, batch, broken, failed, embed, embed_many)
print(json.dumps({scenario.__name__: scenario() for scenario in SCENARIOS}))
