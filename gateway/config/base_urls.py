"""Pure: what is odd about the base URL of an upstream: the mistakes that people make in it.

In: the URL as it is written, and where the gateway itself listens. Out: sentences for an operator.
"""

import ipaddress
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from urllib.parse import SplitResult, urlsplit

from gateway.config.values import Listen

# Where the OpenAI format of well-known providers begins, by host: the first path is the one to name. A path that ends
# in a slash has a name behind it.
_KNOWN_PATHS = {
    "api.openai.com": ("/v1",),
    "*.openai.azure.com": ("/openai/v1", "/openai/deployments/"),
    "*.cognitiveservices.azure.com": ("/openai/v1", "/openai/deployments/"),
    "api.anthropic.com": ("/v1",),
    "generativelanguage.googleapis.com": ("/v1beta/openai",),
    "bedrock-runtime.*.amazonaws.com": ("/openai/v1",),
    "openrouter.ai": ("/api/v1",),
    "api.groq.com": ("/openai/v1",),
    "api.mistral.ai": ("/v1",),
    "api.deepseek.com": ("/v1", "", "/beta"),
    "api.x.ai": ("/v1",),
    "api.perplexity.ai": ("", "/v1"),
    "api.fireworks.ai": ("/inference/v1",),
    "dashscope.aliyuncs.com": ("/compatible-mode/v1",),
    "dashscope-intl.aliyuncs.com": ("/compatible-mode/v1",),
}
# A path with a version in it (/v1, /v1beta/openai, /openai/v1), or one of Azure's deployments, which have none.
_VERSIONED = re.compile(r"/(v\d+[a-z0-9]*|deployments)(/|$)")
_REPEATED_VERSION = re.compile(r"(/v\d+)\1(/|$)")
# A version, and behind it a part of the path of an endpoint.
_BEHIND_VERSION = re.compile(
    r"(/v\d+[a-z0-9]*)(/(?:chat|engines|models|completions|messages|responses|embeddings)(/.*)?)$"
)
# Several providers have an API in Anthropic's format beside the one in OpenAI's.
ANTHROPIC_FORMAT = re.compile(r"/anthropic(/|$)")
_OLLAMA_PATHS = ("/api/generate", "/api/chat", "/api/tags")  # Ollama's own API, which is not OpenAI's
UNENCRYPTED = "sends the key unencrypted to a public host: use https://"
_LOCAL_NAMES = ("localhost", ".localhost", ".local", ".internal", ".lan", ".home.arpa")


def warnings(url: str, listen: Listen, *, has_key: bool) -> Iterator[str]:
    """Every warning about a base URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return  # the URL has a fault, which is told
    yield from _of_path(parts, host)
    if has_key and shows_key(url):
        yield UNENCRYPTED
    if listen.path is None and listen.port and port == listen.port and _is_this_machine(host):
        yield f"is where the gateway itself listens (server.listen is {listen})"


def shows_key(url: str) -> bool:
    """Whether a key that is sent to this URL goes through public networks as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False  # the URL has a fault, which is told
    return parts.scheme == "http" and is_public(parts.hostname or "")


def is_public(host: str) -> bool:
    """Whether a host is, by its name or address, not on this machine or in a private network."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        name = host.lower().rstrip(".")
        return "." in name and not name.endswith(_LOCAL_NAMES)


def _of_path(parts: SplitResult, host: str) -> Iterator[str]:
    path = parts.path.rstrip("/")
    root = f"{parts.scheme}://{parts.netloc}"
    known = next((paths for pattern, paths in _KNOWN_PATHS.items() if fnmatchcase(host, pattern)), None)
    if known is not None and not ANTHROPIC_FORMAT.search(path):
        if not any(path == right or (right.endswith("/") and path.startswith(right)) for right in known):
            what = (
                "is not where this provider's API begins" if _VERSIONED.search(path) else "has no version in its path"
            )
            yield f"{what}: this provider wants {_shown(root + known[0])}"
        return
    if path in _OLLAMA_PATHS:
        yield f"is not OpenAI's format: write {_shown(f'{root}/v1')}"
    elif (behind := _BEHIND_VERSION.search(path)) is not None:
        right = _shown(root + path.removesuffix(behind[2]))
        yield f"must end in its version, since the path of each endpoint is added to it: write {right}"
    elif not _VERSIONED.search(path):
        yield f"has no version in its path: most providers want {_shown(f'{root}{path}/v1')}"
    if _REPEATED_VERSION.search(path):
        yield "repeats the version in its path"


def _is_this_machine(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def _shown(url: str) -> str:
    """The URL, if it can hold no secret."""
    return url if re.fullmatch(r"https?://[A-Za-z0-9._:\[\]/-]{1,200}", url) else "the path that ends in its version"
