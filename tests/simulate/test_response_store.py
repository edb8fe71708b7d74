"""The responses that a simulated provider keeps: asked for by their ids, deleted, forgotten."""

import asyncio
import json
from typing import Any

import pytest

from gateway.errors import ClientError, MethodNotAllowed, NotFound
from gateway.simulate import Provider, Script
from gateway.simulate.response_store import MAX_KEPT, MAX_PROMPT_BYTES, ResponseStore
from gateway.simulate.responses import RESPONSES, SimulatedResponse
from gateway.simulate.steps import Facts

SCRIPT = Script.parse({"text": "one two three", "ttft_ms": 0, "gap_ms": 0})


def facts_of(number: int = 0, **body: Any) -> Facts:
    facts = RESPONSES.facts({"input": f"question {number}", **body}, keep_alive=True, chunked=True)
    return Facts(facts.model, prompt=facts.prompt, max_tokens=facts.max_tokens, salt=b"%d" % number)


def id_of(facts: Facts) -> str:
    return SimulatedResponse(SCRIPT, facts).id


def told(kept: ResponseStore, method: str, path: str) -> Any:
    answer = kept.answer(method, f"/v1/responses/{path}")
    return None if answer is None else json.loads(answer)


def test_a_response_is_told_with_its_end_and_its_input() -> None:
    kept, facts = ResponseStore(), facts_of(max_output_tokens=2)
    kept.add(SCRIPT, facts)
    response = told(kept, "GET", id_of(facts))
    assert (response["id"], response["status"]) == (id_of(facts), "incomplete")
    assert response["output"][0]["content"][0]["text"] == "one two "
    page = told(kept, "GET", f"{id_of(facts)}/input_items")
    assert [item["content"] for item in page["data"]] == [[{"type": "input_text", "text": "question 0"}]]
    assert page["first_id"] == page["last_id"] == page["data"][0]["id"]


def test_the_items_of_an_input_come_newest_first() -> None:
    said: list[Any] = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"type": "function_call_output", "id": "fco_1", "call_id": "c", "output": "5"},
        7,
    ]
    kept, facts = ResponseStore(), facts_of(input=said)
    kept.add(SCRIPT, facts)
    items = told(kept, "GET", f"{id_of(facts)}/input_items")["data"]
    assert [item["type"] for item in items] == ["message", "function_call_output", "message", "message"]
    assert [item["content"][0]["type"] for item in items[2:]] == ["output_text", "input_text"]
    assert items[1]["id"] == "fco_1"
    nothing = facts_of(1, input=[])
    kept.add(SCRIPT, nothing)
    assert told(kept, "GET", f"{id_of(nothing)}/input_items")["data"] == []


def test_a_deleted_response_does_not_exist_and_methods_are_checked() -> None:
    kept, facts = ResponseStore(), facts_of()
    kept.add(SCRIPT, facts)
    with pytest.raises(ClientError, match="background"):
        told(kept, "POST", f"{id_of(facts)}/cancel")
    with pytest.raises(MethodNotAllowed, match="wants GET or DELETE, not POST"):
        told(kept, "POST", id_of(facts))
    assert told(kept, "DELETE", id_of(facts))["deleted"] is True
    with pytest.raises(NotFound, match=id_of(facts)):
        told(kept, "GET", id_of(facts))
    assert told(kept, "GET", "a/b/c") is None


def test_only_the_newest_are_kept_and_no_failure_and_no_huge_prompt() -> None:
    kept = ResponseStore()
    for number in range(MAX_KEPT + 1):
        kept.add(SCRIPT, facts_of(number))
    assert told(kept, "GET", id_of(facts_of(1)))["id"] == id_of(facts_of(1))
    huge = Facts(prompt=b"x" * (MAX_PROMPT_BYTES + 1))
    kept.add(SCRIPT, huge)
    failed = facts_of(9_999)
    kept.add(SCRIPT.replace({"status": 500}), failed)
    for gone in (facts_of(0), huge, failed):
        with pytest.raises(NotFound):
            told(kept, "GET", id_of(gone))


async def exchange(port: int, method: str, path: str, body: Any = None) -> Any:
    read, write = await asyncio.open_connection("127.0.0.1", port)
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.0\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    write.write(head.encode() + content)
    _, _, answer = (await read.read()).partition(b"\r\n\r\n")
    write.close()
    await write.wait_closed()
    return json.loads(answer)


async def test_equal_requests_have_ids_of_their_own_and_a_provider_keeps_what_it_may() -> None:
    providers = [await Provider.start(script=SCRIPT) for _ in range(2)]
    ports = [providers[0].port, providers[0].port, providers[1].port]
    for path, asked in (
        ("/v1/responses", {"input": "hi"}),
        ("/v1/chat/completions", {"messages": []}),
        ("/v1/messages", {"messages": []}),
        ("/v1/completions", {"prompt": "hi"}),
    ):
        assert len({(await exchange(port, "POST", path, asked))["id"] for port in ports}) == 3
    first = await exchange(ports[0], "POST", "/v1/responses", {"input": "hi"})
    second = await exchange(ports[0], "POST", "/v1/responses", {"input": "hi", "store": False})
    assert await exchange(ports[0], "GET", f"/v1/responses/{first['id']}") == first
    assert "not found" in (await exchange(ports[0], "GET", f"/v1/responses/{second['id']}"))["error"]["message"]
    for provider in providers:
        await provider.close()
