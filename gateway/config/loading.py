"""Shell: the loading of a configuration: TOML and environment in, one frozen `Config` out, or every fault at once.

It reads the given file, and the secret and TLS files that this file names; the environment is an argument.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from gateway.config import advice, environment, faults, reference
from gateway.config.faults import Fault, Finding, Gravity
from gateway.config.feed_rules import feed_faults
from gateway.config.feed_sections import FeedSettings
from gateway.config.fields import Loc
from gateway.config.provider_rules import header_faults, provider_faults
from gateway.config.reference import KeyRow
from gateway.config.sections import Config
from gateway.config.viewer_rules import KEY_FILES, viewer_faults
from gateway.errors import ConfigError

_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
SYSTEM_FILE = Path("/etc/rivergate/rivergate.toml")
MAX_SECRET_BYTES = 8192  # a header line beyond this is refused by common servers
UPSTREAM_TLS_FILES = ["tls_ca_file", "tls_client_cert_file", "tls_client_key_file"]
_SECRET_FILES = frozenset({"jwt_secret_file", "tls_client_key_file", "tls_key_file"})
MAX_TLS_FILE_BYTES = 1 << 22  # 16 times the system's whole bundle of certificate authorities


def find(environ: Mapping[str, str], cwd: Path, system_file: Path = SYSTEM_FILE) -> Path | None:
    """The file to load if a command names none: $RIVERGATE_CONFIG, ./rivergate.toml, the system's, or none."""
    if named := environ.get(environment.CONFIG_VARIABLE):
        return cwd / named
    return next((path for path in (cwd / "rivergate.toml", system_file) if path.is_file()), None)


@dataclass(frozen=True, slots=True)
class Examination:
    """What a configuration is like: the configuration (None with a fault), its faults, and what is odd about it."""

    config: Config | None
    faults: list[Finding]
    warnings: list[Finding]


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read `path` (None: the environment alone); raises ConfigError with every fault, one line each.

    Relative paths of secret and TLS files start at $CREDENTIALS_DIRECTORY if it is set, else beside `path`.
    """
    return _without_faults(examine(path, environ, warned_of=frozenset({Gravity.WARNING})))


def load_without_secrets(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration for a command that asks no upstream: as `load`, but no secret has to be there."""
    return _without_faults(examine(path, environ, warned_of=frozenset(Gravity) - {Gravity.FAULT}))


CHECKED = frozenset({Gravity.WARNING, Gravity.NO_SECRET})


def examine(path: Path | None, environ: Mapping[str, str], warned_of: frozenset[Gravity] = CHECKED) -> Examination:
    """Read `path` as `load` does, and find all that is wrong or odd. What is `warned_of` is no fault.

    Raises ConfigError for a file that cannot be read at all.
    """
    tree = {} if path is None else _read(path)
    origins, found = environment.overlay(Config, tree, environ)
    folder = Path(environ.get("CREDENTIALS_DIRECTORY") or (path.parent if path else Path()))
    for loc, asked in (*faults.tables_at(tree, "upstreams"), *faults.tables_at(tree, "feeds")):
        found += _resolve_key(loc, asked, folder, environ)
        found += _resolve_headers(loc, asked, folder, environ)
    for loc, upstream in faults.tables_at(tree, "upstreams"):
        found += _resolve_files(loc, upstream, folder, UPSTREAM_TLS_FILES)
    if isinstance(server := tree.get("server"), dict):
        found += _resolve_files(("server",), server, folder, ["tls_cert_file", "tls_key_file"])
    if isinstance(viewers := tree.get("viewers"), dict):
        found += _resolve_files(("viewers",), viewers, folder, KEY_FILES)
        found += viewer_faults(viewers)
    found += _cross_faults(tree)
    found += advice.warnings(tree)
    config = None
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        found = faults.faults_in(error, Config) + found
    grave: list[Fault] = []
    light: list[Fault] = []
    for fault in found:
        (light if fault.gravity in warned_of else grave).append(fault)
    faulty = {fault.loc for fault in grave}
    light = [fault for fault in light if fault.loc not in faulty]  # what is refused anyway needs no advice
    told = [faults.findings(kind, tree, origins, Config) for kind in (grave, light)]
    return Examination(None if grave else config, *told)


def _without_faults(examined: Examination) -> Config:
    if examined.config is None:
        raise ConfigError([finding.line() for finding in examined.faults])
    return examined.config


def defaults_table() -> list[KeyRow]:
    """Every key with its default, its range and one sentence, in the order of the models."""
    return reference.rows(Config)


def summary(config: Config) -> list[str]:
    """A valid configuration in a few lines for people."""
    summary = [f"listens on {config.server.listen}{' with TLS' * (config.server.tls_cert_file is not None)}"]
    for upstream in config.upstreams:
        source = f"${upstream.api_key_env}" if upstream.api_key_env else f"file {upstream.api_key_file}"
        named = upstream.api_key_env or upstream.api_key_file
        key = f"key from {source}{', which is missing' * (upstream.api_key is None)}" if named else "no key"
        models = f"{len(upstream.models)}{' and what it lists' * (upstream.discover == 'on')}"
        spoken = "" if "dialects" not in upstream.model_fields_set else f", speaks {', '.join(upstream.dialects)}"
        summary.append(f"upstream {upstream.name}: {upstream.base_url}, models: {models}, {key}{spoken}")
    summary += [f"feed {feed.name}: {_source_of(feed)}" for feed in config.feeds]
    return summary


def _source_of(feed: FeedSettings) -> str:
    return "published by clients" if feed.url is None else feed.url.partition("?")[0]


def _cross_faults(tree: dict[str, Any]) -> Iterator[Fault]:
    """The faults of keys that do not fit together, found in the raw tree and reported beside those of single keys."""
    if isinstance(server := tree.get("server"), dict):
        pair = ("tls_cert_file", "tls_key_file")
        for here, there in (pair, pair[::-1]):
            if here in server and there not in server:
                yield Fault(("server", there), f"is required beside {here}")
    if not tree.get("upstreams") and not tree.get("feeds"):
        yield Fault(("upstreams",), "at least one [[upstreams]] or [[feeds]] is needed")
    yield from faults.duplicates((), tree, "upstreams", "name")
    for loc, upstream in faults.tables_at(tree, "upstreams"):
        yield from faults.duplicates(loc, upstream, "models", "id")
        yield from provider_faults(loc, upstream)
        yield from _free_models_with_a_price(loc, upstream)
    yield from faults.duplicates((), tree, "feeds", "name")
    for loc, feed in faults.tables_at(tree, "feeds"):
        yield from feed_faults(loc, feed)
        yield from header_faults(loc, feed)


def _free_models_with_a_price(loc: Loc, upstream: dict[str, Any]) -> Iterator[Fault]:
    for model_loc, model in faults.tables_at(upstream, "models"):
        for key in (key for key in model if key.endswith("_usd_per_mtok")):
            if model.get("free") is True and model.get(key):
                yield Fault((*loc, *model_loc, "free"), f"must not be true for a model with {key}")


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text, parse_float=Decimal)
    except UnicodeDecodeError:
        fault = ": is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        fault = faults.toml_fault(str(error), text)
    except OSError as error:
        fault = f": cannot be read: {error.strerror}"
    # ValueError: an integer of thousands of digits, or a NUL in the path. RecursionError: tables nested too deeply.
    except (ValueError, RecursionError):
        fault = ": cannot be read: not a usable path, a number too long or tables too deep"
    raise ConfigError([found.line() for found in faults.findings([Fault((), f"{path}{fault}")], {}, {}, Config)])


def _resolve_files(loc: Loc, table: dict[str, Any], folder: Path, keys: list[str]) -> Iterator[Fault]:
    """Make the paths of these keys absolute, from `folder`, and see that the files can be read."""
    for key in keys:
        if isinstance(name := table.get(key), str) and name:
            try:
                _content(folder, name, MAX_TLS_FILE_BYTES)
                table[key] = str(folder / name)
            except ValueError as error:
                yield Fault((*loc, key), str(error), _gravity_of_file(key, error))


def _gravity_of_file(key: str, error: ValueError) -> Gravity:
    """How grave it is that a file cannot be read: only a private key, or a secret, is not on every machine."""
    return Gravity.NO_SECRET if key in _SECRET_FILES and isinstance(error, _NoSecret) else Gravity.BAD_SECRET


def _resolve_key(loc: Loc, upstream: dict[str, Any], folder: Path, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Put the secret beside the key that refers to it. No fault repeats the reference: it may be a pasted secret."""
    if upstream.pop("api_key", None) is not None:
        yield Fault((*loc, "api_key"), "a key does not belong here; use api_key_env or api_key_file")
    variable, file_name = upstream.get("api_key_env"), upstream.get("api_key_file")
    if variable is not None and file_name is not None:
        yield Fault((*loc, "api_key_file"), "only one of api_key_env and api_key_file may be set")
        return
    key = "api_key_env" if file_name is None else "api_key_file"
    try:
        if isinstance(variable, str) and _VARIABLE.fullmatch(variable):
            text, source = _variable(variable, environ), _shown_variable(variable)
        elif isinstance(file_name, str):
            text, source = _content(folder, file_name, MAX_SECRET_BYTES).decode("ascii", "replace"), "the file"
            upstream["api_key_file"] = str(folder / file_name)
        else:
            return
        upstream["api_key"] = SecretStr(_usable_secret(text, source))
        yield from _odd_secret((*loc, key), text, source, is_file=file_name is not None)
    except _NoSecret as error:
        yield Fault((*loc, key), str(error), Gravity.NO_SECRET)
    except ValueError as error:
        yield Fault((*loc, key), str(error), Gravity.BAD_SECRET)


def _resolve_headers(loc: Loc, upstream: dict[str, Any], folder: Path, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Put the values of secret header fields beside the tables that refer to them."""
    if upstream.pop("secret_headers", None) is not None:
        yield Fault((*loc, "secret_headers"), "unknown key; use header_env or header_file")
    secrets: dict[str, SecretStr] = {}
    for key in ("header_env", "header_file"):
        table = upstream.get(key)
        if not isinstance(table, dict):
            continue
        for name, source in list(table.items()):
            try:
                if not isinstance(source, str):
                    continue
                if key == "header_file":
                    content = _content(folder, source, MAX_SECRET_BYTES).decode("ascii", "replace")
                    secrets[name] = SecretStr(_usable_value(content, "the file"))
                    table[name] = str(folder / source)
                elif _VARIABLE.fullmatch(source):
                    secrets[name] = SecretStr(_usable_value(_variable(source, environ), _shown_variable(source)))
            except _NoSecret as error:
                yield Fault((*loc, key, name), str(error), Gravity.NO_SECRET)
            except ValueError as error:
                yield Fault((*loc, key, name), str(error), Gravity.BAD_SECRET)
    if secrets:
        upstream["secret_headers"] = secrets


class _NoSecret(ValueError):
    """A secret, or another file, is not there, or not for the user who looks."""


def _shown_variable(variable: str) -> str:
    # A secret pasted in place of a name can look like a name, but hardly like ALPHA_API_KEY.
    return f"${variable}" if variable.isupper() and ("_" in variable or len(variable) < 16) else "the variable"


def _variable(variable: str, environ: Mapping[str, str]) -> str:
    if variable not in environ:
        shown = _shown_variable(variable)
        hint = "" if shown.startswith("$") else ", or this is a key itself, which does not belong here"
        raise _NoSecret(f"{shown} is not set{hint}")
    return environ[variable]


def _usable_value(text: str, source: str) -> str:
    """The value of a secret header field, which may hold blanks, as `Bearer abc` does."""
    if not (value := text.strip()):
        raise ValueError(f"{source} holds no value: it is empty")
    if not re.fullmatch("[ -~]+", value):
        raise ValueError(f"{source} holds no usable value: control or non-ASCII characters in it")
    return value


def _usable_secret(text: str, source: str) -> str:
    if not (secret := text.strip()):
        raise ValueError(f"{source} holds no key: it is empty")
    if not re.fullmatch("[!-~]+", secret):
        raise ValueError(f"{source} holds no usable key: blanks, control or non-ASCII characters in it")
    return secret


def _odd_secret(loc: Loc, text: str, source: str, *, is_file: bool) -> Iterator[Fault]:
    """Warn of a key that was probably copied with more than itself. A file may end its line."""
    line = text.removesuffix("\n").removesuffix("\r") if is_file else text
    if line != line.strip():
        yield Fault(loc, f"{source} has blanks or line ends around the key; they are left out", Gravity.WARNING)
    if (secret := text.strip())[0] in "\"'" and secret[-1] == secret[0]:
        yield Fault(loc, f"{source} has the key in quotation marks, and they are sent with it", Gravity.WARNING)


def _content(folder: Path, name: str, limit: int) -> bytes:
    try:
        with (folder / name).open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a usable path"
        place = "" if Path(name).is_absolute() else f" (looked in {folder.absolute()})"
        absent = isinstance(error, FileNotFoundError | PermissionError)
        raise (_NoSecret if absent else ValueError)(f"cannot be read: {reason}{place}") from None
    if len(content) > limit:
        raise ValueError(f"is larger than {limit} bytes")
    return content
