"""Shell: the caller of a request: the holder of an API key, or, in open mode, whoever is at this machine."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gateway.access import secret as secrets
from gateway.access.accounts import Account
from gateway.access.cors import Cors
from gateway.access.key_ring import KeyRing
from gateway.access.open_mode import fault_of
from gateway.access.pasted_secret import without_secrets
from gateway.errors import AuthenticationFailed, PermissionDenied

MAX_SECRET_BYTES = 1024  # a longer secret is not one of ours, and hashing it would be work for nothing

_log = logging.getLogger("rivergate.access")


class Caller(NamedTuple):
    """The sender of a request, who owns the streams it makes.

    `everything`: the operator, or the holder of an admin key, who sees the streams of all keys.
    """

    id: str
    everything: bool = False
    account: Account | None = None  # None in open mode

    def may_see(self, owner: str) -> bool:
        """Whether the caller may see the streams of this owner."""
        return self.everything or owner == self.id

    @property
    def may_publish(self) -> bool:
        """Whether the caller may publish events to feeds: in open mode anybody, else the keys made for it."""
        return self.account is None or self.account.key.publish


def is_operator(caller: Caller | None) -> bool:
    """Whether the caller looks after the gateway, and so may see what every key has done and what it cost.

    In open mode it is whoever sits at this machine and sends no secret.
    """
    return caller is not None and caller.everything


class CallerMemory:
    """What the gate has found out from one head, for the next request with the same head."""

    __slots__ = ("caller", "cors", "digest")

    def __init__(self) -> None:
        self.caller: Caller | None = None  # in open mode, while the rules are those of `cors`
        self.cors: Cors | None = None
        self.digest: bytes | None = None  # of the secret; b"": there is none that could be a key's

    def serve(self, caller: Caller | None, cors: Cors) -> None:
        """Remember who the caller is in open mode under these rules."""
        self.caller, self.cors = caller, cors

    def digest_of(self, headers: Mapping[str, str]) -> bytes:
        """The digest of the secret in these headers, which are those of the head."""
        secret = _secret_in(headers)
        self.digest = secrets.digest(secret) if 0 < len(secret) <= MAX_SECRET_BYTES else b""
        return self.digest


class Gate:
    """The gate: it finds out from the headers of a request who its caller is."""

    def __init__(
        self,
        keys: KeyRing,
        wall_time: Callable[[], float],
        open_to: Callable[[], tuple[Sequence[str], Cors]] = lambda: ((), Cors(())),
    ) -> None:
        """`open_to` gives the hosts and the origins that open mode serves beside this machine's own."""
        self._keys = keys
        self._wall_time = wall_time
        self._open_to = open_to
        self._has_warned_of_proxy = False

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """The caller; the books are asked if this process does not know the key. Raises `AuthenticationFailed`."""
        _check_one_key(headers)
        known = self.known(headers)
        if known is not None:
            return known
        account = await self._keys.find(secrets.digest(_secret_in(headers)))
        if account is None:
            raise AuthenticationFailed("this API key does not exist")
        return self._holder(account)

    def known(self, headers: Mapping[str, str]) -> Caller | None:
        """The caller as far as this process knows; None: only the books can tell.

        The headers hold one key at most. Raises `AuthenticationFailed`, and `PermissionDenied` in open mode.
        """
        secret = _secret_in(headers)
        if self._keys.is_open:
            self.check_open_mode(headers)
            return open_caller(secret)
        if not secret:
            raise AuthenticationFailed(
                "an API key is needed: Authorization: Bearer rg_... (or x-api-key, or api-key)"
            )
        if len(secret) > MAX_SECRET_BYTES:
            raise AuthenticationFailed("this API key is mistyped: it is too long")
        account = self._keys.known(secrets.digest(secret))
        if account is not None:
            return self._holder(account)
        if secrets.is_mistyped(secret):
            raise AuthenticationFailed("this API key is mistyped: its check digit does not match")
        return None

    def known_again(self, headers: Mapping[str, str], memory: CallerMemory) -> Caller | None:
        """What `known` gives, for a head that may have come before; `memory` is the head's own.

        A key is looked up for each request: it may have been revoked, and the rules of open mode exchanged.
        """
        if self._keys.is_open:
            cors = self._open_to()[1]  # a reload makes a new object, whatever it changes
            if memory.cors is not cors:
                memory.serve(self.known(headers), cors)
            return memory.caller
        account = self._keys.known(memory.digest or memory.digest_of(headers))
        return self._holder(account) if account is not None else self.known(headers)

    def check_open_mode(self, headers: Mapping[str, str], *, is_page: bool = False) -> None:
        """Refuse a request that does not come from this machine, if there is no API key.

        `is_page`: a link of another site may lead to what is asked for. Raises `AuthenticationFailed` for a request
        through a proxy, `PermissionDenied` for any other.
        """
        if not self._keys.is_open:
            return
        hosts, cors = self._open_to()
        fault = fault_of(headers, hosts, cors, is_page=is_page)
        if fault is None:
            return
        if fault.proxy:
            raise self._refuse_forwarded(fault.header)
        message = f"without any API key only this machine is served, and {fault.reason}"
        raise PermissionDenied(message, param=fault.header)

    def check_old_version(self, headers: Mapping[str, str]) -> None:
        """Refuse a request by HTTP/1.0 that closes its connection, if there is no API key.

        nginx forwards all requests so, if it is told no more than where to; hardly a client of this machine asks so.
        Raises `AuthenticationFailed`.
        """
        if self._keys.is_open and "close" in headers.get("Connection", "").lower():
            raise self._refuse_forwarded("HTTP/1.0 with Connection: close")

    def _holder(self, account: Account) -> Caller:
        if account.key.revoked_at is not None:
            raise AuthenticationFailed("this API key was revoked")
        if account.key.expires_at is not None and account.key.expires_at <= self._wall_time():
            raise AuthenticationFailed("this API key has expired", code="expired_api_key")
        return Caller(account.key.id, everything=account.key.admin, account=account)

    def _refuse_forwarded(self, name: str) -> AuthenticationFailed:
        """The refusal of a request through a proxy. `name`: of the header, or what else tells of the proxy.

        Open mode trusts whoever reaches the loopback address, and behind a proxy that is the world.
        """
        if not self._has_warned_of_proxy:
            self._has_warned_of_proxy = True
            fields = {
                "header": without_secrets(name)[:100],
                "advice": "make a key with `rivergate keys create --name NAME`",
            }
            _log.warning("requests through a proxy are refused: there is no API key", extra={"fields": fields})
        return AuthenticationFailed(
            f"without any API key only this machine is served, and this request came through a proxy ({name[:100]}): "
            "make a key with `rivergate keys create --name NAME` and send it"
        )


def open_caller(secret: str) -> Caller:
    """The caller in open mode (no API key in the books, a loopback listener): any secret names an owner.

    A caller without a secret is whoever sits at this machine: it sees everything and owns nothing that a secret made.
    """
    if not secret:
        return Caller("", everything=True)
    return Caller("open_" + hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()[:24])


def _secret_in(headers: Mapping[str, str]) -> str:
    """The key in these headers, which hold one at most; "" if there is none."""
    scheme, _, secret = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and (secret := secret.strip()):
        return secret
    return (headers.get("x-api-key") or headers.get("api-key") or "").strip()


def _check_one_key(headers: Mapping[str, str]) -> None:
    """Refuse a request with two keys, since either could be the one that pays. Raises `AuthenticationFailed`."""
    scheme, _, secret = headers.get("Authorization", "").partition(" ")
    found = {secret.strip(): "Authorization"} if scheme.lower() == "bearer" else {}
    for name, value in headers.items():
        if name.lower() in secrets.BARE_FIELDS:
            found.setdefault(value.strip(), name.lower())
    found.pop("", None)
    if len(found) > 1:
        names = " and ".join(sorted(set(found.values())))
        raise AuthenticationFailed(f"this request holds different API keys, in {names}: send one")
