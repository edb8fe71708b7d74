"""The configuration: its sections, how they are loaded, and the faults and tables that are made of them."""

from gateway.config.faults import Finding
from gateway.config.feed_rules import MAX_PUBLISHED_BYTES
from gateway.config.feed_sections import FeedSettings, ViewerSettings
from gateway.config.loading import (
    MAX_SECRET_BYTES,
    MAX_TLS_FILE_BYTES,
    SYSTEM_FILE,
    Examination,
    defaults_table,
    examine,
    find,
    load,
    load_without_secrets,
    summary,
)
from gateway.config.provider_values import NO_PROXY
from gateway.config.sections import (
    Config,
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
    "MAX_PUBLISHED_BYTES",
    "MAX_SECRET_BYTES",
    "MAX_SOCKET_PATH_BYTES",
    "MAX_TLS_FILE_BYTES",
    "NO_PROXY",
    "OPTIMIZE_ALIASES",
    "SYSTEM_FILE",
    "Config",
    "Examination",
    "FeedSettings",
    "Finding",
    "Listen",
    "ModelSettings",
    "Optimize",
    "RoutingSettings",
    "ServerSettings",
    "StorageSettings",
    "StreamSettings",
    "TtftSettings",
    "UpstreamSettings",
    "ViewerSettings",
    "defaults_table",
    "examine",
    "find",
    "load",
    "load_without_secrets",
    "summary",
]
