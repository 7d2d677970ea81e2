"""Hugging Face's API at any endpoint, as huggingface_hub 2.4 speaks it. Xet is never spoken.

GET /api/models/ID/revision/REV, /api/models/ID/tree/COMMIT (pages by the Link header),
/ID/resolve/COMMIT/FILE, which redirects to wherever the bytes lie.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

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

DEFAULT_REVISION = "main"


class HuggingFace:
    """One repository. See `base.HubSource`."""

    def __init__(self, repository: Repository, connection: Connection) -> None:
        self._connection = connection
        self._name = repository.name
        self._revision = repository.revision or DEFAULT_REVISION

    @property
    def endpoint(self) -> str:
        """As `HubSource.endpoint`."""
        return self._connection.endpoint

    @property
    def has_token(self) -> bool:
        """As `HubSource.has_token`."""
        return self._connection.has_secret

    def list_files(self) -> Listing:
        """As `HubSource.list_files`; from here on the commit it names is the one that is read."""
        api = f"{self.endpoint}/api/models/{quote(self._name)}"
        what = f"the repository {self._name}"
        about, _ = self._connection.json(f"{api}/revision/{quote(self._revision, safe='')}", what)
        commit = about.get("sha") if isinstance(about, dict) else None
        if not isinstance(commit, str) or not commit.isalnum():
            raise HubError(f"{self.endpoint} names no commit of {self._name}: it is no such hub")
        self._revision = commit
        files: list[HubFile] = []
        below = 0
        url = f"{api}/tree/{commit}?recursive=false&expand=false"
        while url:
            page, response = self._connection.json(url, what)
            for entry in page if isinstance(page, list) else ():
                file = _file(entry, self._name)
                if file is None:
                    below += 1
                else:
                    files.append(file)
            if len(files) + below > MAX_FILES:
                raise HubError(f"{self._name} has over {MAX_FILES} files; a model has fewer")
            following = response.links.get("next", {}).get("url", "")
            # A page elsewhere would be sent no token and could be anything.
            url = following if following.startswith(f"{self.endpoint}/") else ""
        return Listing(tuple(files), commit, _licence(about), below)

    @contextmanager
    def open_range(self, file: HubFile, start: int, etag: str) -> Iterator[OpenRange]:
        """As `HubSource.open_range`."""
        path = f"{quote(self._name)}/resolve/{quote(self._revision, safe='')}/{quote(file.name)}"
        with open_range(self._connection, f"{self.endpoint}/{path}", file, start, etag) as opened:
            yield opened


def _file(entry: Any, where: str) -> HubFile | None:  # noqa: ANN401 - JSON
    """A file of the tree; None for a folder."""
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(path, str):
        raise HubError(f"the listing of {where} holds {str(entry)[:80]!r}, which is no file")
    check_listed(path, where)
    if entry.get("type") != "file" or "/" in path:
        return None
    lfs = entry.get("lfs")
    sha256 = lfs.get("oid", "") if isinstance(lfs, dict) else ""
    size = lfs.get("size") if isinstance(lfs, dict) else entry.get("size")
    return HubFile(
        path,
        size if isinstance(size, int) and size >= 0 else 0,
        str(sha256),
        "" if sha256 else str(entry.get("oid", "")),
    )


def _licence(about: dict[str, Any]) -> str:
    card = about.get("cardData")
    licence = card.get("license") if isinstance(card, dict) else None
    if licence == "other" and isinstance(card, dict):
        licence = card.get("license_name", licence)
    return licence[:80] if isinstance(licence, str) else ""
