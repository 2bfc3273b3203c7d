"""Where a database file may be, and the lock that keeps a second gateway from it."""

import os
import sys
from pathlib import Path
from typing import Final

from actguard.gateway.storage.store import StoreError

_NETWORK: Final = {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "ncpfs", "9p", "fuse.sshfs", "ceph",
                   "glusterfs", "fuse.glusterfs", "lustre", "fuse.s3fs", "fuse.gcsfuse", "beegfs", "gpfs"}  # fmt: skip

_TO_POSTGRES: Final = "start the gateway with --database postgresql://USER@HOST/NAME"


def check_place(path: Path, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Refuse a path that cannot be written, or whose disk is shared over a network, where locks do not hold."""
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise StoreError(f"The database {path} cannot be written: name a file in a folder of yours with --database.")
    kind = _file_system(folder.resolve(), mounts)
    if kind in _NETWORK:
        raise StoreError(
            f"The database {path} is on a network disk ({kind}), where SQLite's locks do not hold: "
            f"name a file on a local disk, or {_TO_POSTGRES}."
        )


class OneGateway:
    """A lock beside the database that the system gives back when its process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path.with_name(path.name + ".lock")
        self._held: int | None = None

    def acquire(self) -> None:
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as error:  # a system that says it is writable, and is not: /proc, a disk that is full
            raise StoreError(
                f"{self._path} cannot be made ({error.strerror or error}): name a file in a folder of yours with "
                "--database."
            ) from error
        try:
            _lock(handle)
        except OSError as error:
            os.close(handle)
            raise StoreError(
                f"Another gateway already uses {self._path.with_suffix('')}, and SQLite serves one: stop it, "
                f"or, for several processes, {_TO_POSTGRES}."
            ) from error
        self._held = handle

    def release(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None


if sys.platform == "win32":  # pragma: no cover - the other system
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _file_system(folder: Path, mounts: Path) -> str:
    """The type of the mount that *folder* lies in; empty where the system does not tell."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        _, point, name, *_ = line.split(" ")
        place = Path(point.replace("\\040", " "))
        if (folder == place or place in folder.parents) and len(place.parts) >= best:
            best, kind = len(place.parts), name
    return kind
