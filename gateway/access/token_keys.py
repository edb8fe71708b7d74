"""Shell: the file of the keys that sign viewer tokens, beside the ledger.

Each line holds one key, `<id> <secret in hex>`. The first key signs, every key verifies. To rotate the keys, put a
new line on top; to revoke what a key has signed, take its line out. The file is made at the first start, readable by
its owner only.
"""

import os
import secrets
from pathlib import Path

from gateway.access.viewer_token import MIN_KEY_BYTES, SigningKey
from gateway.errors import ConfigError

SUFFIX = ".token-keys"


def load(storage: Path) -> list[SigningKey]:
    """The keys beside the ledger at `storage`. Raises `ConfigError`."""
    path = storage.with_name(storage.name + SUFFIX)
    try:
        text = path.read_text("ascii")
        if path.stat().st_mode & 0o077:
            raise ConfigError([f"storage.path: {path} holds secrets and can be read by others: chmod 600 it"])
    except FileNotFoundError:
        text = _create(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"storage.path: cannot read {path}: {error}"]) from None
    try:
        keys = [SigningKey(key_id, bytes.fromhex(secret)) for key_id, secret in map(str.split, text.splitlines())]
    except ValueError:
        # The message does not repeat the faulty line, which may hold a secret.
        raise ConfigError([f"storage.path: {path}: each line must be a key id and 64 or more hex digits"]) from None
    if not keys or len({key.id for key in keys}) < len(keys):
        raise ConfigError([f"storage.path: {path}: at least one key, and each id once"])
    return keys


def _create(path: Path) -> str:
    text = f"{secrets.token_hex(4)} {secrets.token_hex(MIN_KEY_BYTES)}\n"
    try:
        # The file is completed under another name first: two processes that start at once never read half a key.
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        partial.touch(mode=0o600, exist_ok=False)
        partial.write_text(text, "ascii")
        try:
            os.link(partial, path)
        except FileExistsError:
            text = path.read_text("ascii")
        finally:
            partial.unlink()
    except OSError as error:
        raise ConfigError([f"storage.path: cannot create {path}: {error.strerror or error}"]) from None
    return text
