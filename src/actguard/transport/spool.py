"""The spool: what was spent and is not acknowledged yet, on disk, until it is.

Each process appends to a segment of its own, and holds a lock on it for as long as it lives. A segment whose lock is
free belongs to nobody any more: whoever takes the lock delivers what is in it, and removes it. So any number of
processes share a folder without ever writing to the same file.

    {"keep": "...", "path": "/api/v1/settle", "body": {...}, "at": 1767225600.0}     synced before `keep` returns
    {"done": "..."}                                                                  not synced: twice is once there

A segment in which little is still owed is written anew, so that one entry that nobody takes does not make it grow.
A line that was torn by a crash is not a record: nobody was told that it is kept. Deliveries repeat at most; the
idempotency key that travels with each makes that harmless.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

_SEGMENT = ".spool"
_ANEW = ".anew"
_LARGEST_LEFT = 1 << 16
"""Bytes of a segment that is not looked at for what is done in it."""
_REFUSED = "refused.jsonl"


class Entry(NamedTuple):
    """One request that is owed to the gateway."""

    id: str
    """Its idempotency key."""
    path: str
    body: dict[str, Any]
    at: float
    """When it was kept; seconds since the epoch, for people."""

    def line(self) -> dict[str, Any]:
        return {"keep": self.id, "path": self.path, "body": self.body, "at": self.at}


class Segment:
    """A file of entries, locked by this process."""

    def __init__(self, file: Path, descriptor: int) -> None:
        self.file = file
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._torn = False
        self._anew_at = _LARGEST_LEFT
        self.pending: dict[str, Entry] = {}

    def keep(self, entry: Entry) -> None:
        """Have *entry* on disk when this returns.

        Raises:
            OSError: the disk is full, or does not take it.
        """
        with self._lock:
            self._append(entry.line())
            os.fsync(self._descriptor)
            self.pending[entry.id] = entry

    def done(self, id: str) -> None:
        """It was delivered, or is given up. What cannot be noted is delivered again."""
        with self._lock:
            if self.pending.pop(id, None) is None:
                return
            with suppress(OSError):
                if self.pending:
                    self._append({"done": id})
                    if os.fstat(self._descriptor).st_size > self._anew_at:
                        self._write_anew()
                else:
                    os.ftruncate(self._descriptor, 0)
                    self._torn = False

    def read(self) -> None:
        """Take up what an ended process has left."""
        self.pending = {entry.id: entry for entry in read_entries(self.file)}
        self._torn = True  # perhaps; an empty line does no harm
        self.file.with_suffix(_ANEW).unlink(missing_ok=True)  # of a process that ended while it wrote

    def close(self) -> None:
        """Let go of the lock; a segment with nothing in it is removed."""
        with self._lock:
            if self._descriptor < 0:
                return
            if not self.pending and sys.platform != "win32":
                self.file.unlink(missing_ok=True)  # while it is locked: nobody takes it up meanwhile
            os.close(self._descriptor)
            self._descriptor = -1
            if not self.pending and sys.platform == "win32":
                with suppress(OSError):
                    self.file.unlink(missing_ok=True)

    def forked(self) -> None:
        """In a forked child: close the file without a look at the lock, which somebody may have held."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write_anew(self) -> None:
        """Put what is pending into a file of its own, in the place of this one: whole or not at all."""
        lines = b"".join(_line(entry.line()) for entry in self.pending.values())
        size = os.fstat(self._descriptor).st_size
        self._anew_at = max(_LARGEST_LEFT, 4 * len(lines))
        if sys.platform == "win32" or size <= self._anew_at:  # where a file that is open cannot be replaced, it grows
            return
        place = self.file.with_suffix(_ANEW)
        descriptor = os.open(place, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _lock(descriptor)  # before anybody can find it
            _write(descriptor, lines)
            os.fsync(descriptor)
            os.replace(place, self.file)
        except OSError:
            self._anew_at = 2 * size
            os.close(descriptor)
            place.unlink(missing_ok=True)
            return
        _sync_folder(self.file.parent)
        os.close(self._descriptor)
        self._descriptor, self._torn = descriptor, False

    def _append(self, record: Mapping[str, Any]) -> None:
        if self._descriptor < 0:
            raise OSError("the spool is closed")
        line = _line(record)
        if self._torn:
            line = b"\n" + line
        self._torn = True
        _write(self._descriptor, line)
        self._torn = False


class Spool:
    """The segments for one gateway and key.

    Args:
        root: the folder of all spools; made when it is first needed, readable by this user only.
        url, key_id: whom the entries are for.
    """

    def __init__(self, root: Path, url: str, key_id: str) -> None:
        self.folder = root / _folder_name(url, key_id)
        self._about = {"gateway_url": url, "key_id": key_id}
        self._lock = threading.Lock()
        self._own: Segment | None = None
        self._adopted: list[Segment] = []

    def keep(self, id: str, path: str, body: Mapping[str, Any]) -> Entry:
        """Have a request on disk when this returns.

        Raises:
            OSError: that is not possible.
        """
        entry = Entry(id, path, dict(body), time.time())
        self._segment().keep(entry)
        return entry

    def done(self, id: str) -> None:
        """It was delivered."""
        if self._own is not None:
            self._own.done(id)

    def pending(self) -> list[Entry]:
        """Of this process, oldest first."""
        return list(self._own.pending.values()) if self._own is not None else []

    def adopt(self) -> Iterator[Segment]:
        """Segments of processes that have ended, locked and read. Close each when it is dealt with.

        Raises:
            OSError: after the last one: there is one that cannot be opened.
        """
        unopened: OSError | None = None
        for file in self.segments():
            try:
                segment = _take(file)
            except OSError as error:
                unopened = error
                continue
            if segment is not None:
                self._adopted.append(segment)
                segment.read()
                yield segment
                self._adopted.remove(segment)
        if unopened is not None:
            raise unopened

    def refuse(self, entry: Entry, reason: str) -> None:
        """Put aside what the gateway will never take, for a person to look at.

        Raises:
            OSError: that is not possible.
        """
        self._prepare()
        with (self.folder / _REFUSED).open("ab") as file:
            file.write(_line({**entry.line(), "reason": reason}))

    def segments(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{_SEGMENT}"))

    def forked(self) -> None:
        """In a forked child: the segment is the parent's, and so is its lock, which must end with the parent."""
        for segment in (self._own, *self._adopted):
            if segment is not None:
                segment.forked()
        self._own = None
        self._adopted = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Leave what is pending to whoever comes next."""
        with self._lock:
            own, self._own = self._own, None
        if own is not None:
            own.close()

    def _segment(self) -> Segment:
        with self._lock:
            if self._own is None:
                self._prepare()
                file = self.folder / f"{time.time_ns():020d}-{os.getpid()}-{os.urandom(4).hex()}{_SEGMENT}"
                segment = _take(file, create=True)
                assert segment is not None  # the name is new
                _sync_folder(self.folder)
                self._own = segment
            return self._own

    def _prepare(self) -> None:
        about = self.folder / "gateway.json"
        if not about.exists():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            whole = about.with_suffix(f".{os.urandom(4).hex()}")
            whole.write_text(json.dumps(self._about), encoding="utf-8")
            whole.replace(about)  # never half of it
            _sync_folder(self.folder.parent)


class Waiting(NamedTuple):
    """What one spool holds, for people."""

    folder: Path
    gateway_url: str
    key_id: str
    entries: list[Entry]
    refused: list[dict[str, Any]]


def look(root: Path) -> Iterator[Waiting]:
    """What is spooled under *root*; takes no lock, changes nothing."""
    for about in sorted(root.glob("*/gateway.json")):
        folder = about.parent
        said = next(_records(about), None) or dict[str, Any]()
        entries = [entry for file in sorted(folder.glob(f"*{_SEGMENT}")) for entry in read_entries(file)]
        refused = list(_records(folder / _REFUSED))
        yield Waiting(folder, str(said.get("gateway_url", "")), str(said.get("key_id", "")), entries, refused)


def default_root(environ: Mapping[str, str]) -> Path:
    """The folder for the state of this user's programs."""
    if sys.platform == "win32":
        base = Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return base / "actguard" / "spool"


def read_entries(file: Path) -> list[Entry]:
    """The entries in a segment that are not done."""
    pending: dict[str, Entry] = {}
    for record in _records(file):
        if isinstance(done := record.get("done"), str):
            pending.pop(done, None)
            continue
        id, path, body, at = (record.get(name) for name in ("keep", "path", "body", "at"))
        if isinstance(id, str) and isinstance(path, str) and isinstance(body, dict) and isinstance(at, (int, float)):
            pending[id] = Entry(id, path, cast("dict[str, Any]", body), at)
    return list(pending.values())


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _records(file: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of *file*; a torn one is left out."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            record: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield cast("dict[str, Any]", record)


def _folder_name(url: str, key_id: str) -> str:
    from hashlib import sha256

    return sha256(f"{url}\n{key_id}".encode()).hexdigest()[:20]


def _take(file: Path, *, create: bool = False) -> Segment | None:
    """The segment in *file*, if nobody else holds it."""
    flags = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0) | (os.O_CREAT | os.O_EXCL if create else 0)
    try:
        descriptor = os.open(file, flags, 0o600)
    except FileNotFoundError:
        return None
    try:
        if _lock(descriptor) and (create or _is_still(file, descriptor)):
            return Segment(file, descriptor)
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_still(file: Path, descriptor: int) -> bool:
    """Whether *file* was not removed between its opening and its locking."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """Have the names in *folder* on disk; where a folder cannot be opened (Windows), they are."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        os.lseek(
            descriptor, 1 << 30, os.SEEK_SET
        )  # far behind what is written: there, a lock keeps nobody from reading
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
