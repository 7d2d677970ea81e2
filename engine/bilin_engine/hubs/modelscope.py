"""ModelScope's own API, as modelscope_hub speaks it.

GET /api/v1/models/ID, /api/v1/models/ID/repo/files, /api/v1/models/ID/repo?FilePath=…; answers are
wrapped in {"Code", "Data", "Message", "Success"}. A token travels as its session cookie.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

from bilin_engine.hubs.base import (
    MAX_FILES,
    HubError,
    HubFile,
    Listing,
    OpenRange,
    check_listed,
)
from bilin_engine.hubs.connection import Connection
from bilin_engine.hubs.ranges import open_range
from bilin_engine.protocol import Repository

DEFAULT_REVISION = "master"


class ModelScope:
    """One repository. See `base.HubSource`."""

    def __init__(self, repository: Repository, connection: Connection) -> None:
        self._connection = connection
        self._name = repository.name
        self._revision = repository.revision or DEFAULT_REVISION
        self._api = f"{connection.endpoint}/api/v1/models/{quote(repository.name)}"

    @property
    def endpoint(self) -> str:
        """As `HubSource.endpoint`."""
        return self._connection.endpoint

    @property
    def has_token(self) -> bool:
        """As `HubSource.has_token`."""
        return self._connection.has_secret

    def list_files(self) -> Listing:
        """As `HubSource.list_files`."""
        about = self._data("")
        listed = self._data("/repo/files", Revision=self._revision, Recursive="False")
        entries = listed.get("Files") if isinstance(listed, dict) else listed
        if not isinstance(entries, list):
            raise HubError(f"{self.endpoint} lists no files of {self._name}: it is no such hub")
        if len(entries) > MAX_FILES:
            raise HubError(f"{self._name} has over {MAX_FILES} files; a model has fewer")
        found = [_file(entry, self._name) for entry in entries]
        files = tuple(file for file in found if file is not None)
        licence = about.get("License") if isinstance(about, dict) else None
        return Listing(
            files,
            licence=licence[:80] if isinstance(licence, str) else "",
            num_below=len(found) - len(files),
        )

    @contextmanager
    def open_range(self, file: HubFile, start: int, etag: str) -> Iterator[OpenRange]:
        """As `HubSource.open_range`."""
        query = urlencode({"Revision": self._revision, "FilePath": file.name})
        with open_range(self._connection, f"{self._api}/repo?{query}", file, start, etag) as opened:
            yield opened

    def _data(self, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        url = f"{self._api}{path}"
        what = f"the repository {self._name}"
        answer, _ = self._connection.json(f"{url}?{urlencode(query)}" if query else url, what)
        if not isinstance(answer, dict):
            raise HubError(f"{self.endpoint} answers {what} with no object: it is no such hub")
        if answer.get("Success") is False:
            said = str(answer.get("Message") or answer.get("Code") or "no reason")[:200]
            raise HubError(f"{self.endpoint} does not give out {what}: {said}")
        return answer.get("Data")


def _file(entry: Any, where: str) -> HubFile | None:  # noqa: ANN401 - JSON
    """A file of the listing; None for a folder."""
    path = (entry.get("Path") or entry.get("Name")) if isinstance(entry, dict) else None
    if not isinstance(path, str):
        raise HubError(f"the listing of {where} holds {str(entry)[:80]!r}, which is no file")
    check_listed(path, where)
    if entry.get("Type") == "tree" or "/" in path:
        return None
    size = entry.get("Size")
    num_bytes = size if isinstance(size, int) and size >= 0 else 0
    return HubFile(path, num_bytes, str(entry.get("Sha256") or "").lower())
