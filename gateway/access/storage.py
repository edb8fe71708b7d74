"""Wiring: the books that the configuration names, for the server and for the command line alike."""

from pathlib import Path

from gateway.access.books import Books
from gateway.access.sqlite_books import SqliteBooks
from gateway.config import StorageSettings


def open_books(storage: StorageSettings) -> Books:
    """Open the books; the first time they are made. Raises `ConfigError` if that cannot be done."""
    return SqliteBooks.open(Path(storage.path))
