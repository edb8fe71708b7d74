"""Configurations of upstreams that speak other dialects than chat."""

from pathlib import Path

from .configuration import Served, configuration
from .keyring import Keyring

SPOKEN = '["chat", "completions", "embeddings"]'


def with_dialects(configured: str) -> str:
    """The configuration, in which every upstream speaks these dialects."""
    return configured.replace("api_key_env", f"dialects = {SPOKEN}\napi_key_env")


def speaking(upstreams: Served, sections: str = "") -> str:
    """A configuration file with these upstreams, each of which speaks these dialects."""
    return with_dialects(configuration(upstreams, sections))


class SpeakingKeyring(Keyring):
    """The ledger of a gateway whose upstreams speak these dialects."""

    def __init__(self, folder: Path, served: Served) -> None:
        super().__init__(folder, served)
        self.configuration = with_dialects(self.configuration)
        self.file.write_text(self.configuration)
