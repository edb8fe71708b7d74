"""Pure: who sends a request, as far as streams have to know it."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of what it makes. `everything`: the machine's own operator, who may see what others made."""

    id: str
    everything: bool = False

    def may_see(self, owner: str) -> bool:
        return self.everything or owner == self.id


def caller_of(authorization: str | None) -> Caller:
    """The caller in open mode (no API key in the ledger, a loopback listener): any key names an owner.

    Without a key it is whoever sits at this machine: it owns nothing that a key made, and sees all.
    """
    scheme, _, secret = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        return Caller("", everything=True)
    return Caller("open_" + hashlib.sha256(secret.strip().encode("utf-8", "surrogateescape")).hexdigest()[:24])
