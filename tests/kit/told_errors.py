"""Failures of upstreams as the official SDKs tell them: straight from the upstream, and through the gateway."""

import contextlib
import json
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from .completions import CLIENT_KEY
from .error_bench import ErrorBench, script, shown
from .scripted_upstream import ROLE, STREAM_HEAD, Script, Step, event
from .sdks import LazyModule

openai: Any = LazyModule("openai")
auriko: Any = LazyModule("auriko")

NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # an SDK would read those of the system for each client
THREADS = 16  # requests at the same time: an SDK sleeps before it tries again


@dataclass(frozen=True)
class ToldError:
    """What the user of an SDK sees of one request. `kind`: the class of the error; None: it raised none."""

    kind: str | None = None
    status: int | None = None
    message: str = ""
    code: str | None = None
    text: str = ""  # the content before the error
    requests: int = 1


Pair = tuple[ToldError, ToldError]  # straight from the upstream, and through the gateway


@dataclass(frozen=True)
class ErrorCase:
    """One case of the data files. `status`: of the upstream's answer."""

    name: str
    script: Script
    status: int = 200
    begun: bool = False  # content stands before the error


def answered(case: dict[str, Any]) -> ErrorCase:
    """A case of `errors.toml`: an answer with an error status."""
    return ErrorCase(case["name"], script(case["first"]), case["first"]["status"])


def reported(case: dict[str, Any]) -> ErrorCase:
    """A case of `errors_in_streams.toml` or `reported_failures.toml`: an error inside of a stream."""
    begun = ROLE + event('{"content":"word"}') if case.get("begun") else b""
    events = case.get("events") or [case["report"]]
    sent = b"".join(f"data: {shown(json.dumps(said))}\n\n".encode() for said in events)
    return ErrorCase(case["name"], lambda _: [STREAM_HEAD + begun + sent], begun=bool(begun))


def play_all(bench: ErrorBench, cases: list[ErrorCase]) -> None:
    """Let the first upstream play, for each request, the case whose number stands in `user`."""

    def play(request: bytes) -> list[Step]:
        content = request.partition(b"\r\n\r\n")[2]
        return list(cases[int(json.loads(content)["user"])].script(request)) if content else []

    bench.first.play(play)


def ask(number: int) -> dict[str, Any]:
    """The request of the case with this number."""
    messages = [{"role": "user", "content": "hello"}]
    return {"model": "one", "messages": messages, "user": str(number), "stream": True}


def by_openai(url: str, number: int) -> ToldError:
    """One case as the SDK of OpenAI tells it, which tries once more where it sees sense in it."""
    sent: list[object] = []
    text = ""
    hooks = {"request": [sent.append], "response": []}
    with openai.DefaultHttpxClient(event_hooks=hooks, verify=NO_AUTHORITIES) as transport:
        client = openai.OpenAI(base_url=url, api_key=CLIENT_KEY, max_retries=1, http_client=transport)
        try:
            for chunk in client.chat.completions.create(**ask(number)):
                text += chunk.choices[0].delta.content or "" if chunk.choices else ""
        except openai.APIError as error:
            status = getattr(error, "status_code", None)
            return ToldError(type(error).__name__, status, str(error), error.code, text, len(sent))
        except Exception as error:  # the SDK lets the faults of its own parser out
            return ToldError(type(error).__name__, None, str(error), None, text, len(sent))
    return ToldError(text=text, requests=len(sent))


def by_auriko(client: Any, number: int) -> ToldError:
    """One case as the SDK of Auriko tells it, which tries only once here: it would sleep as long as it is told."""
    text = ""
    try:
        for chunk in client.chat.completions.create(**ask(number)):
            text += chunk.choices[0].delta.content or "" if chunk.choices else ""
    except auriko.AurikoAPIError as error:
        return ToldError(type(error).__name__, error.status_code, str(error), error.code, text)
    except Exception as error:  # the SDK lets the faults of its own parser out
        return ToldError(type(error).__name__, None, str(error), None, text)
    return ToldError(text=text)


@contextlib.contextmanager
def sdk_at(name: str, url: str) -> Iterator[Callable[[int], ToldError]]:
    """An SDK for Python that asks this URL for the case with a number."""
    if name == "openai for Python":
        yield partial(by_openai, url)
        return
    client = auriko.Client(api_key=CLIENT_KEY, base_url=url, max_retries=0)
    try:
        yield partial(by_auriko, client)
    finally:
        client._httpx.close()  # noqa: SLF001


def told_by(name: str, urls: tuple[str, str], cases: int) -> list[Pair]:
    """All cases as an SDK for Python tells them."""
    told = []
    for url in urls:
        with sdk_at(name, url) as see, ThreadPoolExecutor(THREADS) as threads:
            told.append(list(threads.map(see, range(cases))))
    return list(zip(*told, strict=True))
