"""What an upstream gets and how it is reached, as its settings say, through the whole gateway."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.commands import key_orders
from gateway.config import load
from tests.kit.certificates import Certificates, server_context
from tests.kit.completions import ENDLESS, QUICK, body, text
from tests.kit.forward_proxy import ForwardProxy
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, RawClient, call, fetch
from tests.kit.raw_upstream import RawUpstream, json_answer
from tests.kit.upstreams import Upstream, Upstreams
from tests.kit.waiting import wait_for

WAYS = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
SECRETS = {"PROVIDER_KEY": "sk-provider-1a2b3c", "X_TOKEN": "token-of-the-header"}
SETTINGS = """
api_key_env = "PROVIDER_KEY"
auth_header = "api-key"
query = { api-version = "2026-01-01" }
headers = { HTTP-Referer = "https://app.example", X-Title = "An app" }
header_env = { X-Token = "X_TOKEN" }
forward_headers = ["OpenAI-Organization", "X-Title"]
rename = { max_tokens = "max_completion_tokens" }
defaults = { temperature = 0.5, max_completion_tokens = 9 }
drop = ["stream_options", "messages.name"]
"""


def settings(upstream: Any, lines: str = "", models: str = '[[upstreams.models]]\nid = "m"') -> str:
    return f'[[upstreams]]\nname = "{upstream.name}"\nbase_url = "{upstream.base_url}"\n{lines}\n{models}\n'


def configuration(*upstreams: str, routing: str = '[routing]\noptimize = "priority"\n') -> str:
    return "\n".join(['[server]\nlisten = "127.0.0.1:0"', routing, *upstreams])


def answer(request: bytes) -> bytes:
    """The shortest answer, streamed if the request asks for that."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    whole = {"id": "c", "created": 1, "model": "u", "choices": [choice]}
    if b'"stream":true' in request:
        choice["delta"] = {"role": "assistant", "content": "hello"}
        content = f"data: {json.dumps({'object': 'chat.completion.chunk', **whole})}\n\ndata: [DONE]\n\n".encode()
        kind = "text/event-stream"
    else:
        choice["message"] = {"role": "assistant", "content": "hello"}
        content, kind = json.dumps({"object": "chat.completion", **whole}).encode(), "application/json"
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


Start = Callable[..., LocalGateway]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts gateways with a configuration, and stops them."""
    started: list[LocalGateway] = []

    def start(content: str) -> LocalGateway:
        started.append(LocalGateway(tmp_path, content, SECRETS))
        return started[-1]

    yield start
    for gateway in started:
        gateway.close()


@pytest.fixture
def raw() -> Iterator[RawUpstream]:
    upstream = RawUpstream(answer)
    yield upstream
    upstream.close()


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    proxy = ForwardProxy("user:pass/word")
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def providers() -> Iterator[Upstreams]:
    providers = Upstreams()
    yield providers
    providers.close()


def sent(request: bytes) -> tuple[str, dict[str, str], dict[str, Any]]:
    """A request as it came to the upstream: its line, its header fields, its body."""
    head, _, content = request.partition(b"\r\n\r\n")
    line, *fields = head.decode("ascii").split("\r\n")
    parsed: dict[str, Any] = json.loads(content)
    return line, dict(field.split(": ", 1) for field in fields), parsed


# --- what is sent


@WAYS
def test_an_upstream_gets_what_its_settings_say(start: Start, raw: RawUpstream, stream: bool) -> None:
    gateway = start(configuration(settings(raw, SETTINGS)))
    question = body(model="m", stream=stream, max_tokens=5, seed=1)
    question["messages"][0]["name"] = "somebody"
    client = {
        "OpenAI_Organization": "org-1",
        "X_Title": "Mine",
        "api_key": "sk-client",
        "Cookie": "c=1",
        "X_Other": "y",
    }
    assert fetch(gateway.port, question, **client).status == 200
    line, fields, content = sent(raw.requests[0])
    assert line == "POST /v1/chat/completions?api-version=2026-01-01 HTTP/1.1"
    assert fields.pop("x-request-id").startswith("req_")
    assert fields == {
        "Host": raw.base_url.removeprefix("http://").removesuffix("/v1"),
        "User-Agent": fields["User-Agent"],
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "Accept": "text/event-stream" if stream else "application/json",
        "Content-Length": fields["Content-Length"],
        "api-key": "sk-provider-1a2b3c",
        "HTTP-Referer": "https://app.example",
        "X-Token": "token-of-the-header",
        "openai-organization": "org-1",
        "x-title": "Mine",
    }
    assert content == {
        "model": "m",
        "messages": [{"role": "user", "content": question["messages"][0]["content"]}],
        "stream": stream,
        "seed": 1,
        "max_completion_tokens": 5,
        "temperature": 0.5,
    }


@WAYS
def test_a_fallback_gets_the_fields_that_the_client_sent(start: Start, raw: RawUpstream, stream: bool) -> None:
    broken = RawUpstream(lambda request: json_answer(500, b"{}"), "broken")
    try:
        gateway = start(configuration(settings(broken, SETTINGS), settings(raw)))
        assert fetch(gateway.port, body(model="m", stream=stream, max_tokens=5)).status == 200
    finally:
        broken.close()
    _, fields, content = sent(raw.requests[0])
    assert content["max_tokens"] == 5
    assert "temperature" not in content
    assert not {"api-key", "X-Token", "x-title", "Authorization"} & fields.keys()


def test_a_secret_header_that_an_upstream_repeats_reaches_no_client(start: Start) -> None:
    told = json.dumps({"error": {"message": "bad header token-of-the-header, key sk-provider-1a2b3c"}}).encode()
    upstream = RawUpstream(lambda request: json_answer(400, told))
    try:
        gateway = start(configuration(settings(upstream, SETTINGS)))
        refused = fetch(gateway.port, body(model="m"))
    finally:
        upstream.close()
    assert "bad header [redacted], key [redacted]" in refused.error()["message"]
    assert not any(secret in gateway.errors() for secret in SECRETS.values())


def test_a_reload_takes_other_headers_over(start: Start, raw: RawUpstream) -> None:
    gateway = start(configuration(settings(raw)))
    fetch(gateway.port, body(model="m"))
    assert gateway.reload(configuration(settings(raw, 'headers = { X-New = "1" }')))["needs_restart"] == ["storage"]
    fetch(gateway.port, body(model="m"))
    assert ["X-New" in sent(request)[1] for request in raw.requests] == [False, True]


# --- the way to it


@WAYS
def test_a_plain_upstream_is_asked_through_its_proxy(
    start: Start, raw: RawUpstream, proxy: ForwardProxy, stream: bool
) -> None:
    gateway = start(configuration(settings(raw, f'proxy = "{proxy.url("user:pass%2Fword")}"\nquery = {{ a = "b" }}')))
    assert fetch(gateway.port, body(model="m", stream=stream)).status == 200
    assert proxy.asked == [f"POST {raw.base_url}/chat/completions?a=b HTTP/1.1"]
    line, fields, _ = sent(raw.requests[0])
    assert line == "POST /v1/chat/completions?a=b HTTP/1.1"
    assert "Proxy-Authorization" not in fields


@WAYS
def test_an_upstream_with_tls_is_asked_through_a_tunnel(
    start: Start, proxy: ForwardProxy, certificates: Certificates, stream: bool
) -> None:
    upstream = RawUpstream(answer, tls=server_context(certificates.good))
    try:
        lines = f'proxy = "{proxy.url("user:pass%2Fword")}"\ntls_ca_file = "{certificates.authority}"'
        gateway = start(configuration(settings(upstream, lines)))
        assert fetch(gateway.port, body(model="m", stream=stream)).status == 200
    finally:
        upstream.close()
    assert [line.split(" ")[0] for line in proxy.asked] == ["CONNECT"]
    assert "Proxy-Authorization" not in sent(upstream.requests[0])[1]


@pytest.mark.parametrize("tls", [True, False])
def test_a_proxy_that_refuses_us_is_a_failed_upstream_whose_password_nobody_sees(
    start: Start, raw: RawUpstream, proxy: ForwardProxy, certificates: Certificates, tls: bool
) -> None:
    upstream = RawUpstream(answer, tls=server_context(certificates.good)) if tls else raw
    gateway = start(configuration(settings(upstream, f'proxy = "{proxy.url("user:wrong-word")}"')))
    refused = fetch(gateway.port, body(model="m"))
    if tls:
        upstream.close()
    assert refused.status == 502
    assert "407" in refused.error()["message"]
    assert "wrong-word" not in refused.body.decode() + gateway.errors()
    assert raw.requests == []


def test_the_environment_names_a_proxy_for_hosts_elsewhere_and_the_setting_comes_first(
    start: Start, proxy: ForwardProxy, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url("user:pass%2Fword"))
    trust = f'tls_ca_file = "{certificates.authority}"\n'
    upstream = RawUpstream(answer, tls=server_context(certificates.good))
    try:
        gateway = start(configuration(settings(upstream, trust)))
        assert fetch(gateway.port, body(model="m")).status == 200
        assert len(proxy.asked) == 1
        straight = start(configuration(settings(upstream, trust + 'proxy = "none"')))
        assert fetch(straight.port, body(model="m")).status == 200
        assert len(proxy.asked) == 1
    finally:
        upstream.close()


@pytest.mark.parametrize("shown", [True, False])
def test_an_upstream_that_wants_a_certificate_gets_ours(
    start: Start, certificates: Certificates, tmp_path: Path, shown: bool
) -> None:
    context = server_context(certificates.good)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.authority)
    chain, key = split_pem(certificates.other, tmp_path)
    ours = f'tls_client_cert_file = "{chain}"\ntls_client_key_file = "{key}"\n' if shown else ""
    upstream = RawUpstream(answer, tls=context)
    try:
        gateway = start(configuration(settings(upstream, f'{ours}tls_ca_file = "{certificates.authority}"')))
        assert fetch(gateway.port, body(model="m")).status == (200 if shown else 502)
    finally:
        upstream.close()
    assert len(upstream.requests) == (1 if shown else 0)


def split_pem(both: Path, folder: Path) -> tuple[Path, Path]:
    """The certificate and the private key of a file that has both, in files of their own."""
    text, mark = both.read_text(), "-----BEGIN PRIVATE KEY-----"
    chain, _, key = text.partition(mark)
    (folder / "chain.pem").write_text(chain)
    (folder / "key.pem").write_text(mark + key)
    return folder / "chain.pem", folder / "key.pem"


# --- how often it is asked


def upstream_of(answered: Answer) -> str:
    assert answered.status == 200
    return answered.headers["x-upstream"]


def test_beyond_max_concurrency_the_next_upstream_is_asked_then_nobody(start: Start, providers: Upstreams) -> None:
    first, second = providers.start("first", **QUICK), providers.start("second", **QUICK)
    limit = "max_concurrency = 1"
    gateway = start(configuration(settings(first, limit), settings(second, limit)))
    with RawClient(gateway.port) as running, RawClient(gateway.port) as other:
        running.post(body(ENDLESS, model="m", stream=True))
        assert upstream_of(running.head()) == "first"
        other.post(body(ENDLESS, model="m", stream=True))
        assert upstream_of(other.head()) == "second"
        refused = fetch(gateway.port, body(QUICK, model="m", stream=True))
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert refused.error()["code"] == "rate_limit_exceeded"
    answered = wait_for(lambda: _good(fetch(gateway.port, body(QUICK, model="m", stream=True))), "a place")
    assert answered.text() == text(8)


def test_a_place_that_another_request_took_in_the_meantime_is_no_failure_of_the_upstream(
    start: Start, providers: Upstreams
) -> None:
    go = threading.Event()

    def fail(request: bytes) -> bytes:
        go.wait(10)
        return json_answer(500, b"{}")

    slow, second, third = RawUpstream(fail, "slow"), providers.start("second"), providers.start("third")
    gateway = start(configuration(settings(slow), settings(second, "max_concurrency = 1"), settings(third)))
    try:
        with RawClient(gateway.port) as one, RawClient(gateway.port) as other:
            for client in (one, other):  # both routes have the place at the second upstream
                client.post(body(ENDLESS, model="m", stream=True))
            gateway.turn()
            go.set()
            assert sorted(upstream_of(client.head()) for client in (one, other)) == ["second", "third"]
    finally:
        slow.close()


def _good(answered: Answer) -> Answer | None:
    return answered if answered.status == 200 else None


def test_beyond_its_rpm_an_upstream_is_asked_again_in_a_minute(start: Start, providers: Upstreams) -> None:
    first, second = providers.start("first", **QUICK), providers.start("second", **QUICK)
    gateway = start(configuration(settings(first, "rpm = 2"), settings(second, "rpm = 1")))
    answers = [fetch(gateway.port, body(QUICK, model="m", stream=True)) for _ in range(4)]
    assert [answered.headers.get("x-upstream") for answered in answers] == ["first", "first", "second", None]
    assert answers[3].status == 429
    assert 50 <= int(answers[3].headers["retry-after"]) <= 60


def test_requests_are_shared_by_weight(start: Start, providers: Upstreams) -> None:
    often, seldom = providers.start("often", **QUICK), providers.start("seldom", **QUICK)
    gateway = start(
        configuration(
            settings(seldom, "weight = 1"), settings(often, "weight = 9"), routing='[routing]\noptimize = "weight"\n'
        )
    )
    asked = [upstream_of(fetch(gateway.port, body(QUICK, model="m", stream=True))) for _ in range(60)]
    assert 40 <= asked.count("often") < 60


# --- names of models


MODELS = """
[[upstreams.models]]
id = "gpt-*"
upstream_id = "azure/*"
input_usd_per_mtok = 2.5
output_usd_per_mtok = 10.0
[[upstreams.models]]
id = "gpt-4o"
aliases = ["smart"]
"""


@WAYS
@pytest.mark.parametrize(("asked", "upstream_id"), [("gpt-4o", "gpt-4o"), ("smart", "gpt-4o"), ("gpt-5", "azure/5")])
def test_a_name_is_found_by_id_alias_or_wildcard(
    start: Start, raw: RawUpstream, asked: str, upstream_id: str, stream: bool
) -> None:
    gateway = start(configuration(settings(raw, models=MODELS)))
    assert fetch(gateway.port, body(model=asked, stream=stream)).status == 200
    assert sent(raw.requests[0])[2]["model"] == upstream_id


def test_models_are_listed_with_wildcards_and_aliases_and_each_can_be_read(start: Start, raw: RawUpstream) -> None:
    gateway = start(configuration(settings(raw, models=MODELS)))
    listed = json.loads(call(gateway, "GET", "/v1/models").body)["data"]
    assert [model["id"] for model in listed] == ["gpt-*", "gpt-4o", "smart"]
    found = json.loads(call(gateway, "GET", "/v1/models/gpt-5").body)
    assert (found["id"], found["providers"][0]["input_price"]) == ("gpt-5", 2.5)
    assert call(gateway, "GET", "/v1/models/llama").status == 404
    assert fetch(gateway.port, body(model="gpt-*")).status == 404


def test_names_that_clients_make_up_are_no_labels_of_metrics(start: Start, raw: RawUpstream) -> None:
    gateway = start(configuration(settings(raw, models=MODELS)))
    assert fetch(gateway.port, body(model="gpt-made-up", stream=True)).status == 200
    exposition = call(gateway, "GET", "/metrics").body.decode()
    assert "gpt-made-up" not in exposition
    assert 'model="gpt-*"' in exposition


@pytest.mark.parametrize(
    ("allowed", "good", "refused"),
    [
        ("smart", ["smart", "gpt-4o"], ["gpt-5"]),
        ("gpt-5", ["gpt-5"], ["gpt-6", "gpt-4o", "smart"]),
        ("gpt-*", ["gpt-5", "gpt-6"], ["gpt-4o", "smart"]),
    ],
)
def test_a_key_may_use_a_model_by_any_of_its_names(
    start: Start, raw: RawUpstream, tmp_path: Path, allowed: str, good: list[str], refused: list[str]
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(configuration(settings(raw, models=MODELS), routing=f'[storage]\npath = "{tmp_path}/keys.db"\n'))
    secret, _ = key_orders.create(load(file, {}), key_orders.KeyOrder("somebody", models=allowed))
    gateway = start(file.read_text())
    for model, status in [*((name, 200) for name in good), *((name, 403) for name in refused)]:
        answered = fetch(gateway.port, body(model=model, stream=True), Authorization=f"Bearer {secret}")
        assert answered.status == status, model


# --- discovery


def listing(*ids: str) -> Callable[[bytes], bytes]:
    """Answers the question for models with these, and any other request with a completion."""
    models = json.dumps({"object": "list", "data": [{"id": model_id} for model_id in ids]}).encode()
    return lambda request: json_answer(200, models) if request.startswith(b"GET /v1/models") else answer(request)


def model_ids(gateway: LocalGateway) -> list[str]:
    return [model["id"] for model in json.loads(call(gateway, "GET", "/v1/models").body)["data"]]


DISCOVER = 'discover = "on"\napi_key_env = "PROVIDER_KEY"\nquery = { a = "b" }'


def test_models_that_an_upstream_lists_are_served_from_the_start(start: Start) -> None:
    upstream = RawUpstream(listing("gpt-4o", "gpt-5", "a b", "wild*"))
    try:
        gateway = start(configuration(settings(upstream, DISCOVER, MODELS.replace("azure/*", "gpt-*"))))
        assert model_ids(gateway) == ["gpt-*", "gpt-4o", "gpt-5", "smart"]
        assert fetch(gateway.port, body(model="gpt-5")).status == 200
        found = json.loads(call(gateway, "GET", "/v1/models/gpt-5").body)
    finally:
        upstream.close()
    question = upstream.requests[0].decode()
    assert question.startswith("GET /v1/models?a=b HTTP/1.1\r\n")
    assert f"Authorization: Bearer {SECRETS['PROVIDER_KEY']}\r\n" in question
    assert sent(upstream.requests[1])[2]["model"] == "gpt-5"
    assert found["providers"][0]["input_price"] == 2.5  # the wildcard's


def test_a_listed_name_that_holds_a_secret_of_ours_is_told_nowhere(start: Start) -> None:
    key = SECRETS["PROVIDER_KEY"]
    named = [key, f"gpt-{key.upper()}", quote(f"a/{key}", safe=""), key.encode().hex(), "-".join(key)]
    upstream = RawUpstream(listing("gpt-5", *named))
    try:
        gateway = start(configuration(settings(upstream, DISCOVER)))
        assert model_ids(gateway) == ["m", "gpt-5"]
        told = [call(gateway, "GET", path).body for path in ("/v1/models", "/v1/registry/models", "/metrics")]
    finally:
        upstream.close()
    assert not any(name.encode() in body for body in told for name in named)


@pytest.mark.parametrize("fault", [json_answer(500, b"{}"), json_answer(200, b"[1]x"), b"", b"SSH-2.0-x\r\n\r\n"])
def test_a_discovery_that_fails_is_a_line_of_the_log_and_the_gateway_serves(start: Start, fault: bytes) -> None:
    upstream = RawUpstream(lambda request: fault if request.startswith(b"GET") else answer(request))
    try:
        gateway = start(configuration(settings(upstream, DISCOVER)))
        assert model_ids(gateway) == ["m"]
        assert fetch(gateway.port, body(model="m")).status == 200
    finally:
        upstream.close()
    [line] = [line for line in gateway.lines() if line["event"] == "models not discovered"]
    assert (line["upstream"], line["level"], line["models_kept"]) == ("raw", "warning", 0)


def test_a_reload_that_turns_discovery_on_finds_models_and_one_that_turns_it_off_forgets_them(
    start: Start, tmp_path: Path
) -> None:
    upstream = RawUpstream(listing("found"))
    storage = f'[storage]\npath = "{tmp_path}/s.db"\n'
    try:
        off = configuration(settings(upstream), routing=storage)
        on = configuration(settings(upstream, DISCOVER), routing=storage)
        gateway = start(off)
        assert model_ids(gateway) == ["m"]
        gateway.reload(on)
        wait_for(lambda: model_ids(gateway) == ["m", "found"], "the model that was found")
        gateway.reload(off)
        assert model_ids(gateway) == ["m"]
        gateway.reload(on)
        assert model_ids(gateway) == ["m", "found"]
    finally:
        upstream.close()


def test_an_upstream_without_models_of_its_own_is_served_by_discovery(start: Start, alpha: Upstream) -> None:
    gateway = start(configuration(settings(alpha, 'discover = "on"', models="")))
    listed = json.loads(call(gateway, "GET", "/v1/models").body)["data"]
    assert listed
    answered = fetch(gateway.port, body(QUICK, model=listed[0]["id"], stream=True))
    assert answered.text() == text(8)
