"""Shell: the check whether the books could be opened where the configuration puts them; it changes nothing."""

import os
from pathlib import Path

from gateway.config import StorageSettings


def storage_fault(storage: StorageSettings) -> str | None:
    """Why the books could not be opened by this user, in words for an operator; None if they could."""
    path = Path(storage.path)
    folder = path.absolute().parent
    try:
        if not folder.exists():
            return f"the folder {folder} does not exist: make it, for the user that runs the gateway"
        if not folder.is_dir():
            return f"{folder} is no folder"
        if path.is_dir():
            return f"{path} is a folder, and a file is wanted"
    except OSError as error:  # a folder above it may not be entered, or the path is no path
        return f"{folder} cannot be looked at: {error.strerror or error}"
    # SQLite makes other files beside the ledger, so the folder has to be writable too.
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} is not writable for the user who runs this command"
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return f"{path} is not writable for the user who runs this command"
    return None
