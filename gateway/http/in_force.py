"""Wiring: what a reload exchanges while the gateway runs. A part reads it anew for each request and keeps none of
it.
"""

from collections.abc import Sequence

from gateway.access.cors import Cors
from gateway.access.viewer_token import SigningKey
from gateway.config import Config
from gateway.routing.router import Router


class InForce:
    """The configuration in force, and what was built from it."""

    __slots__ = ("config", "cors", "router", "signing_keys")

    def __init__(self, config: Config, router: Router, signing_keys: Sequence[SigningKey]) -> None:
        """`signing_keys`: those of viewer tokens; the first one signs, all of them verify."""
        self.exchange(config, router, signing_keys)

    def exchange(self, config: Config, router: Router, signing_keys: Sequence[SigningKey]) -> None:
        """From now on these are in force."""
        self.config = config
        self.router = router
        self.signing_keys = signing_keys
        self.cors = Cors(config.server.cors_origins)
