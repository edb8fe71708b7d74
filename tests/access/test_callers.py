"""The caller of a request: in open mode any secret names an owner; with keys in the ledger only their secrets do."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.books_thread import BooksThread
from gateway.access.callers import MAX_SECRET_BYTES, Caller, CallerMemory, Gate, open_caller
from gateway.access.cors import Cors
from gateway.access.key_ring import KeyRing
from gateway.access.sqlite_books import SqliteBooks
from gateway.errors import AuthenticationFailed, PermissionDenied

from .books import NOW, new_key, new_secret

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80)


# --- open mode


def test_a_caller_without_a_key_owns_nothing_and_sees_everything() -> None:
    operator = open_caller("")
    assert operator == Caller("", everything=True)
    assert operator.may_see("")
    assert operator.may_see(open_caller("a").id)


@given(KEYS, KEYS)
def test_a_key_sees_its_own_and_no_others(key: str, other: str) -> None:
    first, second = open_caller(key), open_caller(other)
    assert first.may_see(open_caller(key).id)
    assert not first.everything
    assert not first.may_see("")
    assert first.may_see(second.id) == (key == other)


@given(KEYS)
def test_an_owner_is_named_without_its_key(key: str) -> None:
    owner = open_caller(key).id
    assert owner.startswith("open_")
    assert len(key) < 4 or key not in owner


def test_a_key_that_is_not_ascii_names_an_owner_too() -> None:
    assert open_caller("schlüssel").id.startswith("open_")
    assert open_caller("k\udce9y").id.startswith(
        "open_"
    )  # a surrogate: a server hands over bytes that are not UTF-8 like this


# --- the gate


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyRing]:
    books = BooksThread(SqliteBooks.open(tmp_path / "ledger.db"))
    keys = KeyRing(books)
    keys.load()
    yield keys
    books.close()


@pytest.fixture
def gate(keys: KeyRing) -> Gate:
    return Gate(keys, lambda: NOW)


@pytest.fixture
def beside(tmp_path: Path) -> SqliteBooks:
    """The ledger as another process has it open: the command line."""
    return SqliteBooks.open(tmp_path / "ledger.db")


def asking(authorization: str | None) -> dict[str, str]:
    return {"Host": "localhost"} if authorization is None else {"Host": "localhost", "Authorization": authorization}


async def refusal(gate: Gate, authorization: str | None) -> AuthenticationFailed:
    with pytest.raises(AuthenticationFailed) as caught:
        await gate.caller(asking(authorization))
    assert caught.value.status == 401
    return caught.value


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer   ", "Basic dXNlcjpwYXNz", "sk-naked-key"])
async def test_without_keys_whoever_sends_none_is_the_operator(gate: Gate, header: str | None) -> None:
    assert await gate.caller(asking(header)) == open_caller("")


@pytest.mark.parametrize("header", ["Bearer key", "bearer key", "BEARER key", "Bearer  key", "Bearer key "])
async def test_the_spelling_of_the_scheme_does_not_matter(gate: Gate, header: str) -> None:
    assert await gate.caller(asking(header)) == open_caller("key")


@pytest.mark.parametrize("header", [None, "Bearer ", "Basic dXNlcjpwYXNz"])
async def test_the_first_key_closes_the_gate(gate: Gate, beside: SqliteBooks, header: str | None) -> None:
    secret = new_secret()
    beside.create(new_key(secret))
    caller = await gate.caller(asking(f"Bearer {secret}"))  # the gate is open until it looks into the ledger
    assert caller == open_caller(secret)
    gate = await reopened(gate, beside)
    assert "needed" in str(await refusal(gate, header))
    assert (await gate.caller(asking(f"Bearer {secret}"))).id.startswith("key_")


@pytest.mark.parametrize("name", ["Via", "X-Forwarded-For", "cf-connecting-ip"])
@pytest.mark.parametrize("authorization", [None, "Bearer key"])
async def test_without_keys_what_a_proxy_forwards_is_refused_and_logged_once(
    gate: Gate, name: str, authorization: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        with pytest.raises(AuthenticationFailed, match="rivergate keys create"):
            await gate.caller({**asking(authorization), name: "192.0.2.1"})
    assert await gate.caller(asking(authorization)) == open_caller("key" if authorization else "")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_with_keys_a_proxy_may_stand_in_front(gate: Gate, beside: SqliteBooks) -> None:
    secret = new_secret()
    beside.create(new_key(secret))
    gate = await reopened(gate, beside)
    caller = await gate.caller({**asking(f"Bearer {secret}"), "X-Forwarded-For": "192.0.2.1"})
    assert caller.account is not None


async def test_a_mistyped_key_is_told_from_one_that_does_not_exist(gate: Gate, beside: SqliteBooks) -> None:
    secret = new_secret()
    beside.create(new_key(secret))
    gate = await reopened(gate, beside)
    wrong = "0" if secret[10] != "0" else "1"
    assert "mistyped" in str(await refusal(gate, f"Bearer {secret[:10]}{wrong}{secret[11:]}"))
    assert "mistyped" in str(await refusal(gate, f"Bearer {secret[:-1]}"))
    assert "does not exist" in str(await refusal(gate, f"Bearer {new_secret()}"))
    assert "does not exist" in str(await refusal(gate, "Bearer sk-of-somebody-else"))
    assert "does not exist" in str(await refusal(gate, "Bearer k\udce9y"))
    assert await refusal(gate, "Bearer " + "k" * (MAX_SECRET_BYTES + 1))


async def test_a_revoked_and_an_expired_key_say_so(gate: Gate, beside: SqliteBooks) -> None:
    revoked, expired, lasting = new_secret(), new_secret(), new_secret()
    key = new_key(revoked)
    beside.create(key)
    beside.revoke(key.id, NOW)
    beside.create(new_key(expired, expires_at=NOW))
    beside.create(new_key(lasting, expires_at=NOW + 1))
    gate = await reopened(gate, beside)
    assert "revoked" in str(await refusal(gate, f"Bearer {revoked}"))
    assert (await refusal(gate, f"Bearer {expired}")).code == "expired_api_key"
    caller = await gate.caller(asking(f"Bearer {lasting}"))
    assert caller.account is not None
    assert caller.account.key.digest == new_key(lasting).digest


async def test_two_keys_do_not_see_each_others_streams(gate: Gate, beside: SqliteBooks) -> None:
    secret, other = new_secret(), new_secret()
    beside.create(new_key(secret))
    beside.create(new_key(other))
    gate = await reopened(gate, beside)
    mine, yours = await gate.caller(asking(f"Bearer {secret}")), await gate.caller(asking(f"Bearer {other}"))
    assert mine.may_see(mine.id)
    assert not mine.may_see(yours.id)
    assert not mine.may_see("")


async def test_an_admin_key_sees_the_streams_of_all_and_only_a_publishing_key_publishes(
    gate: Gate, beside: SqliteBooks
) -> None:
    admin, publisher = new_secret(), new_secret()
    beside.create(new_key(admin, admin=True))
    beside.create(new_key(publisher, publish=True))
    gate = await reopened(gate, beside)
    reader, writer = await gate.caller(asking(f"Bearer {admin}")), await gate.caller(asking(f"Bearer {publisher}"))
    assert reader.may_see(writer.id)
    assert reader.id != writer.id
    assert not writer.may_see(reader.id)
    assert (reader.may_publish, writer.may_publish) == (False, True)
    assert open_caller("any").may_publish


async def test_a_head_that_came_before_gives_no_revoked_key(gate: Gate, beside: SqliteBooks) -> None:
    secret = new_secret()
    key = new_key(secret)
    beside.create(key)
    keys = KeyRing(BooksThread(beside))
    keys.load()
    gate, headers, memory = Gate(keys, lambda: NOW), asking(f"Bearer {secret}"), CallerMemory()
    assert [gate.known_again(headers, memory) for _ in range(2)] == [gate.known(headers)] * 2
    account = keys.account(key.id)
    assert account is not None
    account.on_key(replace(key, revoked_at=int(NOW)), NOW)
    with pytest.raises(AuthenticationFailed, match="revoked"):
        gate.known_again(headers, memory)


@pytest.mark.parametrize("authorization", [None, "Bearer ", "Bearer unknown", f"Bearer {'x' * 2000}", "Basic abc"])
async def test_a_head_that_came_before_is_refused_as_it_was(
    gate: Gate, beside: SqliteBooks, authorization: str | None
) -> None:
    beside.create(new_key(new_secret()))
    gate, headers, memory = await reopened(gate, beside), asking(authorization), CallerMemory()
    known = answer_of(gate.known, headers)
    assert [answer_of(gate.known_again, headers, memory) for _ in range(2)] == [known] * 2
    assert known is None or isinstance(known, str)


def answer_of(find: Callable[..., Caller | None], *arguments: object) -> Caller | str | None:
    """What the gate answers, or the words of its refusal."""
    try:
        return find(*arguments)
    except AuthenticationFailed as error:
        return str(error)


def test_a_head_that_was_served_is_refused_when_the_rules_of_open_mode_have_changed(keys: KeyRing) -> None:
    rules: list[tuple[list[str], Cors]] = [(["gateway.lan"], Cors(()))]
    gate, memory = Gate(keys, lambda: NOW, lambda: rules[-1]), CallerMemory()
    headers = {"Host": "gateway.lan"}
    assert [gate.known_again(headers, memory) for _ in range(2)] == [open_caller("")] * 2
    rules.append(([], Cors(())))
    for _ in range(2):
        with pytest.raises(PermissionDenied, match="neither localhost"):
            gate.known_again(headers, memory)


async def reopened(gate: Gate, ledger: SqliteBooks) -> Gate:
    """A gate of a server that was started now."""
    keys = KeyRing(BooksThread(ledger))
    keys.load()
    return Gate(keys, lambda: NOW)
