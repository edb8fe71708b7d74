"""Wiring: the values that a reload exchanges while the gateway runs. Every request reads them anew."""

from collections.abc import Sequence

from gateway.access.cors import Cors
from gateway.access.viewer_token import ApplicationTokens, SigningKey
from gateway.config import Config
from gateway.routing.router import Router


class InForce:
    """The configuration in force, and what was built from it."""

    __slots__ = ("application_tokens", "config", "cors", "router", "signing_keys")

    def __init__(self, config: Config, router: Router, signing_keys: Sequence[SigningKey]) -> None:
        """Begin with these values. `signing_keys` are for viewer tokens: the first key signs, all keys verify."""
        self.application_tokens: ApplicationTokens | None = None  # those of `[viewers]`
        self.exchange(config, router, signing_keys)

    def take_tokens(self, tokens: ApplicationTokens | None) -> None:
        """Take these tokens of the application from now on, or none."""
        self.application_tokens = tokens

    def exchange(self, config: Config, router: Router, signing_keys: Sequence[SigningKey]) -> None:
        """Put these values in force, and the CORS rules of this configuration."""
        self.config = config
        self.router = router
        self.signing_keys = signing_keys
        self.cors = Cors(config.server.cors_origins)
