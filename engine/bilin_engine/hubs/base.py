"""The seam between a download and a hub: a listing, and the bytes of one file from an offset."""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote, urlsplit

from bilin_engine.errors import BadRequestError, BilinError
from bilin_engine.protocol import Hub

DEFAULT_ENDPOINTS: dict[Hub, str] = {
    "hugging_face": "https://huggingface.co",
    "modelscope": "https://modelscope.cn",
}
ENDPOINT_VARIABLES: dict[Hub, str] = {
    "hugging_face": "HF_ENDPOINT",
    "modelscope": "MODELSCOPE_ENDPOINT",
}
MAX_FILES = 20_000
_PART = r"[^\W_][\w.-]{0,95}"
_NAME = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[\w][\w./-]{0,199}")


class HubError(BilinError):
    """A hub did not give what was asked; asking again would not change that."""

    code = "hub_refused"


class HubBusyError(HubError):
    """A hub did not answer, or not now. wait_s: what it asked for, None where it did not say."""

    code = "hub_unreachable"

    def __init__(self, message: str, *, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file at the top of a repository. sha256, git_sha1: hex, "" where the hub has none."""

    name: str
    size_bytes: int
    sha256: str = ""
    git_sha1: str = ""

    @property
    def digest(self) -> str:
        """What tells this content from another, "" where nothing does."""
        if self.sha256:
            return f"sha256:{self.sha256}"
        return f"git:{self.git_sha1}" if self.git_sha1 else ""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files at the top of a repository. revision: a commit, "" where the hub names none.

    num_below: files in its folders, as far as they were listed; they are never fetched.
    """

    files: tuple[HubFile, ...]
    revision: str = ""
    licence: str = ""
    num_below: int = 0


@dataclass(frozen=True, slots=True)
class OpenRange:
    """An answer that is being read. start: the offset of its first byte, 0 = the whole file.

    etag: of these bytes, "" where there is none. hosts: the one asked, and those it sent to.
    """

    start: int
    etag: str
    hosts: tuple[str, ...]
    blocks: Iterator[bytes]


class HubSource(Protocol):
    """A repository on a hub. All methods raise HubError and HubBusyError; threads may share it."""

    @property
    def endpoint(self) -> str:
        """The address that is asked."""
        ...

    @property
    def has_token(self) -> bool:
        """Whether requests to the endpoint carry a token."""
        ...

    def list_files(self) -> Listing:
        """What lies at the top of the repository."""
        ...

    def open_range(self, file: HubFile, start: int, etag: str) -> AbstractContextManager[OpenRange]:
        """The bytes of a file from `start` on, or all of them where they are other ones now.

        etag: of the bytes before `start`. `OpenRange.start` says which it is.
        """
        ...


def check_name(name: str) -> str:
    """`name` as "owner/name". Raises BadRequestError."""
    if not _NAME.fullmatch(name) or ".." in name or any(p[-1] in ".-" for p in name.split("/")):
        raise BadRequestError(
            f'the repository "{name[:120]}" is none; write owner/name, as zai-org/GLM-4-9B-0414'
        )
    return name


def check_revision(revision: str) -> str:
    """A branch, tag or commit. Raises BadRequestError."""
    if revision and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise BadRequestError(
            f'the revision "{revision[:120]}" is none; write a branch, a tag or a commit'
        )
    return revision


def check_endpoint(endpoint: str) -> str:
    """An address as "https://host[:port][/path]". Raises BadRequestError."""
    url = urlsplit(endpoint.strip())
    is_plain = not (url.query or url.fragment or url.username or url.password)
    if url.scheme not in ("http", "https") or not url.hostname or not is_plain:
        raise BadRequestError(
            f'the address "{endpoint[:120]}" is none; write it as https://hf-mirror.com, without '
            "a user name, a question mark or a hash sign"
        )
    return endpoint.strip().rstrip("/")


@dataclass(frozen=True, slots=True)
class Link:
    """A page's address. hub: None = it is none, and `name` is the text as it is.

    endpoint: of a mirror, else "". revision: of a page below /tree/, /blob/ or /resolve/, else "".
    """

    hub: Hub | None
    name: str
    endpoint: str = ""
    revision: str = ""


def parse_link(text: str) -> Link:
    """What a page's address says.

    https://huggingface.co/zai-org/GLM-4-9B-0414/tree/main, https://modelscope.cn/models/a/b
    """
    url = urlsplit(text.strip())
    parts = [unquote(part) for part in url.path.split("/") if part]
    host = (url.hostname or "").removeprefix("www.")
    if url.scheme not in ("http", "https") or len(parts) < 2:
        return Link(None, text.strip())
    if host.startswith("modelscope.") and parts[0] == "models" and len(parts) > 2:
        return Link("modelscope", "/".join(parts[1:3]))
    if host in ("huggingface.co", "hf.co", "hf-mirror.com"):
        has_revision = len(parts) > 3 and parts[2] in ("tree", "blob", "resolve")
        return Link(
            "hugging_face",
            "/".join(parts[:2]),
            endpoint=f"{url.scheme}://{url.netloc}" if host == "hf-mirror.com" else "",
            revision=parts[3] if has_revision else "",
        )
    return Link(None, text.strip())


def check_listed(path: str, where: str) -> None:
    """Raises HubError for a path no repository can hold: it would lead out of a folder."""
    parts = path.split("/")
    has_control = any(unicodedata.category(c) in ("Cc", "Cs") for c in path)
    if has_control or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise HubError(
            f"the listing of {where} names {path[:120]!r}, which is no file of a repository; "
            "nothing was fetched"
        )
