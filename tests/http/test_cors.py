"""Pages of other sites: those that may call can, with all that SDKs read; the others cannot, also not blindly."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.completions import MODEL, QUICK, body, text
from tests.kit.gateway import Gateway
from tests.kit.http_client import RawClient, call, fetch
from tests.kit.keyring import Keyring, MadeKey
from tests.kit.upstreams import Upstream

APP, EVIL = "https://app.example.com", "https://evil.example.com"
ASKS = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,content-type"}
ASKS |= {"Connection": "close"}  # so that the end of the connection ends an answer without a body
COMPLETIONS = "/v1/chat/completions"


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory, alpha: Upstream) -> Keyring:
    server = f'[server]\nlisten = "127.0.0.1:0"\ncors_origins = ["{APP}"]\n'
    return Keyring(tmp_path_factory.mktemp("cors"), [(alpha, [MODEL])], server)


@pytest.fixture(scope="module")
def key(keyring: Keyring) -> MadeKey:
    return keyring.create()


@pytest.fixture(scope="module")
def gateway(logs: Path, keyring: Keyring, key: MadeKey) -> Iterator[Gateway]:
    gateway = keyring.start(logs)
    try:
        yield gateway
    finally:
        gateway.close()


def test_a_preflight_of_an_allowed_origin_needs_no_key_and_allows_what_is_asked(gateway: Gateway) -> None:
    answer = call(gateway, "OPTIONS", COMPLETIONS, Origin=APP, **ASKS)
    assert answer.status == 204
    assert answer.body == b""
    assert answer.headers["access-control-allow-origin"] == APP
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    assert int(answer.headers["access-control-max-age"]) > 0
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/streams/st_1", "/v1/usage", "/v1/models/a/b", "/v1/nothing"])
def test_a_preflight_is_answered_wherever_a_page_may_want_to_call(gateway: Gateway, path: str) -> None:
    assert call(gateway, "OPTIONS", path, Origin=APP, **ASKS).status == 204


@pytest.mark.parametrize("origin", [EVIL, "null", f"{APP}.evil.com", "http://app.example.com", "http://["])
def test_a_preflight_of_another_origin_is_refused(gateway: Gateway, origin: str) -> None:
    answer = call(gateway, "OPTIONS", COMPLETIONS, Origin=origin, **ASKS)
    assert answer.status == 403
    assert answer.error()["type"] == "permission_error"
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("names", [b"\xff\xfe", "\u00e9".encode(), b"x" * 5000])
def test_header_names_that_are_none_break_nothing(gateway: Gateway, names: bytes) -> None:
    head = f"OPTIONS {COMPLETIONS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: {APP}\r\n"
    asks = b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: " + names + b"\r\n\r\n"
    with RawClient(gateway.port) as client:
        client.socket.sendall(head.encode() + asks)
        assert client.answer().status == 204


@pytest.mark.parametrize("streamed", [True, False])
def test_an_allowed_page_gets_its_answer_and_may_read_the_headers(
    gateway: Gateway, key: MadeKey, streamed: bool
) -> None:
    answer = fetch(gateway.port, body(QUICK, stream=streamed), Origin=APP, Authorization=key.bearer)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == APP
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "x-upstream", "x-ttft-ms", "retry-after", "x-should-retry"} <= set(exposed)
    if streamed:
        assert "x-stream-id" in exposed
        assert answer.text() == text(8)


def test_an_allowed_page_may_read_errors_too(gateway: Gateway, key: MadeKey) -> None:
    for content, authorization, status in ((b"{", key.bearer, 400), (body(QUICK), "Bearer no", 401)):
        answer = call(gateway, "POST", COMPLETIONS, content, Origin=APP, Authorization=authorization)
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == APP


@pytest.mark.parametrize("origin", [EVIL, "null", "http://["])
def test_a_page_that_is_not_allowed_cannot_even_ask(
    gateway: Gateway, key: MadeKey, alpha: Upstream, origin: str
) -> None:
    before = alpha.statistics()
    for path in (COMPLETIONS, "/v1/streams"):
        # As a form or `fetch` with mode no-cors sends it: without a preflight.
        headers = {"Content_Type": "text/plain", "Authorization": key.bearer}
        answer = call(gateway, "POST", path, body(QUICK), Origin=origin, **headers)
        assert (answer.status, answer.error()["param"]) == (403, "Origin")
        assert "access-control-allow-origin" not in answer.headers
    assert call(gateway, "DELETE", "/v1/streams/st_1", Origin=origin, Authorization=key.bearer).status == 403
    assert alpha.statistics().requests == before.requests


def test_a_page_of_the_gateway_itself_needs_no_permission(gateway: Gateway, key: MadeKey) -> None:
    answer = fetch(gateway.port, body(QUICK), Origin="http://localhost", Authorization=key.bearer)
    assert answer.status == 200  # `localhost` is the host that these requests name


def test_a_gateway_allows_no_origin_unless_told(logs: Path, tmp_path: Path, alpha: Upstream) -> None:
    gateway = Keyring(tmp_path, [(alpha, [MODEL])]).start(logs)
    try:
        answer = call(gateway, "GET", "/v1/models", Origin=APP)
        assert answer.status == 403  # without any API key not even a GET
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert call(gateway, "OPTIONS", COMPLETIONS, Origin=APP, **ASKS).status == 403
        assert call(gateway, "POST", COMPLETIONS, body(QUICK), Origin=APP).status == 403
        assert call(gateway, "POST", COMPLETIONS, body(QUICK)).status == 200
    finally:
        gateway.close()


def test_any_origin_is_a_star_without_credentials(logs: Path, tmp_path: Path, alpha: Upstream) -> None:
    server = '[server]\nlisten = "127.0.0.1:0"\ncors_origins = ["*"]\n'
    gateway = Keyring(tmp_path, [(alpha, [MODEL])], server).start(logs)
    try:
        for answer in (
            call(gateway, "OPTIONS", COMPLETIONS, Origin=EVIL, **ASKS),
            call(gateway, "POST", COMPLETIONS, body(QUICK), Origin=EVIL),
        ):
            assert answer.status in (200, 204)
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers
    finally:
        gateway.close()
