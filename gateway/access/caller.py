"""Shell: who sends a request: the holder of an API key, or, in open mode, whoever is at this machine."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from gateway.access import secret as secrets
from gateway.access.accounts import Account, Accounts
from gateway.errors import AuthenticationFailed

MAX_SECRET_BYTES = 1024  # a longer one is none of ours; hashing it would be work for nothing


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of what it makes. `everything`: the machine's own operator, who may see what others made."""

    id: str
    everything: bool = False
    account: Account | None = None  # None in open mode

    def may_see(self, owner: str) -> bool:
        return self.everything or owner == self.id


class Gate:
    """Tells who a caller is by its `Authorization` header."""

    def __init__(self, accounts: Accounts, wall_time: Callable[[], float]) -> None:
        self._accounts = accounts
        self._wall_time = wall_time

    async def caller(self, authorization: str | None) -> Caller:
        """Raises `AuthenticationFailed`."""
        secret = _bearer(authorization)
        if self._accounts.is_open:
            return open_caller(secret)
        if not secret:
            raise AuthenticationFailed("an API key is needed: Authorization: Bearer rg_...")
        if len(secret) > MAX_SECRET_BYTES or secrets.is_mistyped(secret):
            raise AuthenticationFailed("this API key is mistyped: its check digit does not match")
        account = await self._accounts.find(secrets.digest(secret))
        if account is None:
            raise AuthenticationFailed("this API key does not exist")
        if account.key.revoked_at is not None:
            raise AuthenticationFailed("this API key was revoked")
        if account.key.expires_at is not None and account.key.expires_at <= self._wall_time():
            raise AuthenticationFailed("this API key has expired", code="expired_api_key")
        return Caller(account.key.id, account=account)


def open_caller(secret: str) -> Caller:
    """The caller in open mode (no API key in the ledger, a loopback listener): any key names an owner.

    Without a key it is whoever sits at this machine: it owns nothing that a key made, and sees all.
    """
    if not secret:
        return Caller("", everything=True)
    return Caller("open_" + hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()[:24])


def _bearer(authorization: str | None) -> str:
    scheme, _, secret = (authorization or "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""
