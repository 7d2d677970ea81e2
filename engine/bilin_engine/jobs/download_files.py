"""A download's files on disk: parts that grow, whole files, and what is known of each.

Knows nothing of the network. A name is a plain one (the selection saw to that), links are never
followed, and what is written down comes before the bytes that it speaks of.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bilin_engine import processes
from bilin_engine.errors import BilinError
from bilin_engine.hubs.base import HubFile
from bilin_engine.protocol import Repository

STATE_FILE = ".download.json"
LOCK_FILE = ".download.lock"
PART_SUFFIX = ".part"
BLOCK_BYTES = 4 * 1024 * 1024


class _Known(msgspec.Struct, frozen=True):
    """What a file's bytes are: the hub's digest, the server's ETag, the host they came from."""

    digest: str
    etag: str
    host: str


class _State(msgspec.Struct, frozen=True, kw_only=True):
    hub: str
    name: str
    files: dict[str, _Known] = {}


class Part:
    """A growing file and the hash of what it holds. One thread's."""

    def __init__(self, path: Path, file: HubFile) -> None:
        """Opens it, and reads what is there. Raises OSError, also for a link in its place."""
        self._file = file
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._fd = os.open(path, flags, 0o644)
        self._digest = self._new_digest()
        self.size = 0
        while block := os.read(self._fd, BLOCK_BYTES):
            self._digest.update(block)
            self.size += len(block)
        if self.size > file.size_bytes:
            self.restart()

    def _new_digest(self) -> "hashlib._Hash":
        if self._file.sha256 or not self._file.git_sha1:
            return hashlib.sha256()
        # git's name of a blob: git-hash-object(1)
        return hashlib.sha1(f"blob {self._file.size_bytes}\0".encode(), usedforsecurity=False)

    def write(self, block: bytes) -> None:
        """Adds bytes at the end; they survive the process."""
        view = memoryview(block)
        while view:
            written = os.write(self._fd, view)
            self._digest.update(view[:written])
            self.size += written
            view = view[written:]

    def restart(self) -> None:
        """Throws away what is there."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._digest = self._new_digest()
        self.size = 0

    def difference(self) -> str:
        """What tells it from the hub's file, for a sentence; "" for nothing."""
        file, found = self._file, self._digest.hexdigest()
        if self.size != file.size_bytes:
            return f"{self.size} bytes instead of {file.size_bytes}"
        wanted = file.sha256 or file.git_sha1
        if not wanted or found == wanted.lower():
            return ""
        kind = "sha256" if file.sha256 else "git's sha1"
        return f"{kind} {found[:12]}… instead of {wanted[:12]}…"

    def sync(self) -> None:
        """Waits until the bytes are on the disk."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Closes it."""
        os.close(self._fd)


class DownloadFolder:
    """The folder of one download. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._state = _State(hub="", name="")
        self._lock_fd: int | None = None

    def open(self, repository: Repository) -> None:
        """Makes the folder, or takes up the one that is there. Raises BilinError.

        What was fetched of another repository is no use: its parts have no digest here.
        """
        if self.path.is_symlink() or self.path.parent.is_symlink():
            raise BilinError(f"{self.path} is a link; nothing is written through it")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BilinError(f"{self.path} cannot be made: {error.strerror}") from error
        self._take()
        try:
            found = msgspec.json.decode((self.path / STATE_FILE).read_bytes(), type=_State)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            found = _State(hub="", name="")
        is_same = (found.hub, found.name) == (repository.hub, repository.name)
        files = found.files if is_same else {}
        self._state = _State(hub=repository.hub, name=repository.name, files=files)

    def _take(self) -> None:
        """Keeps other processes out until this one ends or `close`s."""
        if self._lock_fd is not None:
            return
        fd = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        if not processes.lock_file(fd):
            os.close(fd)
            raise BilinError(f"{self.path} is being downloaded by another process of Bilin's")
        self._lock_fd = fd

    def close(self) -> None:
        """Lets others in. Safe to call twice."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def clear_others(self, names: set[str]) -> None:
        """Removes files that the repository does not have, bilin.json of an earlier try among them.

        That one speaks of the files as they were then.
        """
        own = {
            STATE_FILE,
            LOCK_FILE,
            *names,
            *(f"{name}{PART_SUFFIX}" for name in names),
        }
        for path in self.path.iterdir():
            if path.name not in own and not path.is_dir():
                path.unlink()

    def num_bytes(self, file: HubFile) -> int:
        """Bytes of it that are here and its own."""
        if self.has(file):
            return file.size_bytes
        part = self._part_path(file)
        if part.is_symlink() or not part.is_file() or not self._is_same(file):
            return 0
        size = part.stat().st_size
        return size if size <= file.size_bytes else 0

    def has(self, file: HubFile) -> bool:
        """Whether it is here, whole. A file that nobody wrote down is read and compared."""
        path = self.path / file.name
        if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size_bytes:
            return False
        if self._is_same(file):
            return True
        whole = Part(path, file)
        try:
            is_same = bool(file.digest) and not whole.difference()
        finally:
            whole.close()
        if is_same:
            self.begin(file, "", "")
        return is_same

    @contextmanager
    def part(self, file: HubFile) -> Iterator[Part]:
        """What is here of a file that is not whole; what is not its own is thrown away."""
        part = Part(self._part_path(file), file)
        try:
            if not self._is_same(file):
                part.restart()
            (self.path / file.name).unlink(missing_ok=True)
            yield part
        finally:
            part.close()

    def begin(self, file: HubFile, etag: str, host: str) -> None:
        """Writes down whose bytes come next."""
        known = _Known(file.digest, etag, host)
        with self._lock:
            if self._state.files.get(file.name) == known:
                return
            files = {**self._state.files, file.name: known}
            self._state = msgspec.structs.replace(self._state, files=files)
            temporary = self.path / f"{STATE_FILE}.new"
            temporary.unlink(missing_ok=True)
            temporary.write_bytes(msgspec.json.encode(self._state))
            temporary.replace(self.path / STATE_FILE)

    def keep(self, file: HubFile, part: Part) -> None:
        """Gives a part that is whole and compared its name."""
        part.sync()
        self._part_path(file).replace(self.path / file.name)

    def etag(self, file: HubFile) -> str:
        """The ETag of the bytes that are here, "" where none is known."""
        known = self._state.files.get(file.name)
        return known.etag if known else ""

    def host(self, file: HubFile) -> str:
        """Where its bytes came from."""
        known = self._state.files.get(file.name)
        return known.host if known else ""

    def forget(self) -> None:
        """Removes what only a download needs."""
        for name in (STATE_FILE, LOCK_FILE):
            (self.path / name).unlink(missing_ok=True)
        for part in self.path.glob(f"*{PART_SUFFIX}"):
            part.unlink()

    def _part_path(self, file: HubFile) -> Path:
        return self.path / f"{file.name}{PART_SUFFIX}"

    def _is_same(self, file: HubFile) -> bool:
        """Whether what is here was begun as this very content."""
        known = self._state.files.get(file.name)
        return known is not None and known.digest == file.digest
