"""The configuration: its sections, how they are loaded, and the faults and tables that are made of them."""

from gateway.config.loading import (
    MAX_SECRET_BYTES,
    MAX_TLS_FILE_BYTES,
    SYSTEM_FILE,
    defaults_table,
    find,
    load,
    summary,
    unpriced,
)
from gateway.config.sections import (
    Config,
    FeedSettings,
    ModelSettings,
    RoutingSettings,
    ServerSettings,
    StorageSettings,
    StreamSettings,
    TtftSettings,
    UpstreamSettings,
)
from gateway.config.values import MAX_SOCKET_PATH_BYTES, OPTIMIZE_ALIASES, Listen, Optimize

__all__ = [
    "MAX_SECRET_BYTES",
    "MAX_SOCKET_PATH_BYTES",
    "MAX_TLS_FILE_BYTES",
    "OPTIMIZE_ALIASES",
    "SYSTEM_FILE",
    "Config",
    "FeedSettings",
    "Listen",
    "ModelSettings",
    "Optimize",
    "RoutingSettings",
    "ServerSettings",
    "StorageSettings",
    "StreamSettings",
    "TtftSettings",
    "UpstreamSettings",
    "defaults_table",
    "find",
    "load",
    "summary",
    "unpriced",
]
