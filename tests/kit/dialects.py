"""Configurations of upstreams that speak other dialects than chat."""

from .configuration import Served, configuration

SPOKEN = '["chat", "completions", "embeddings"]'


def speaking(upstreams: Served, sections: str = "", dialects: str = SPOKEN) -> str:
    """A configuration file: these upstreams, each of which speaks these dialects."""
    text = configuration(upstreams, sections)
    return text.replace("api_key_env", f"dialects = {dialects}\napi_key_env")
