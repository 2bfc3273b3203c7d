"""From what the user says to a store: a path or `sqlite:///path`, or a `postgresql://` URL."""

import os
import sys
from pathlib import Path

from actguard.gateway.storage.store import Store, StoreError


def connect(database: str | None, *, alone: bool = True) -> Store:
    """The store that *database* names, not opened yet; by default a file in the user's state folder.

    Args:
        database: a path, `sqlite:///path`, or `postgresql://...`.
        alone: whether this process is a gateway, of which a SQLite file can have one.
    """
    if database is not None and database.startswith(("postgresql://", "postgres://")):
        try:
            from actguard.gateway.storage.postgres.store import PostgresStore
        except ImportError as error:
            raise StoreError(
                "Postgres needs its driver, which is not installed: pip install 'actguard[gateway]'."
            ) from error
        return PostgresStore(database)
    if database is not None and "://" in database and not database.startswith("sqlite:///"):
        kind = database.partition("://")[0]
        raise StoreError(f"--database cannot be {kind}://...; it is a path, or postgresql://USER@HOST/NAME.")
    from actguard.gateway.storage.sqlite.store import SqliteStore

    file = _default_file() if database is None else Path(database.removeprefix("sqlite:///")).expanduser()
    return SqliteStore(file.resolve(), alone=alone)  # one file has one lock, whatever it is called by


def state_folder() -> Path:
    """Where programs keep what they must not lose and the user need not see."""
    named = os.environ.get("ACTGUARD_STATE_DIR")
    if named:
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "actguard"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "actguard"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "actguard"


def _default_file() -> Path:
    folder = state_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"The folder {folder} cannot be made: name a file with --database.") from error
    return folder / "gateway.db"
