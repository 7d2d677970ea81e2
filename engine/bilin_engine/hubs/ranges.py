"""One file from an offset, whatever the server makes of that: both hubs answer alike here."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from bilin_engine.hubs.base import HubBusyError, HubFile, OpenRange
from bilin_engine.hubs.connection import Connection

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@contextmanager
def open_range(
    connection: Connection, url: str, file: HubFile, start: int, etag: str
) -> Iterator[OpenRange]:
    """As `HubSource.open_range`.

    A server that ignores the range, or holds other bytes by now, is read from the beginning.
    If-Range is not sent: the hub answers for its own ETag, the storage behind it for another.
    """
    headers = {"Range": f"bytes={start}-"} if start else {}
    with connection.open(url, file.name, headers) as answer:
        response, hosts, found = answer.response, answer.hosts, answer.etag
        at = _start(response.status_code, response.headers.get("content-range", ""))
        if start and (at != start or (etag and found and found != etag)):
            at = None
        if at is not None:
            yield OpenRange(at, found, hosts, response.iter_raw())
            return
        if response.status_code == 200:
            yield OpenRange(0, found, hosts, response.iter_raw())
            return
    if not start:
        raise HubBusyError(f"{hosts[-1]} answers {file.name} with a part that was not asked for")
    with open_range(connection, url, file, 0, "") as opened:
        yield opened


def _start(status: int, content_range: str) -> int | None:
    """The first byte of an answer; None where it is none of the file's."""
    if status == 200:
        return 0
    match = _CONTENT_RANGE.fullmatch(content_range.strip())
    return int(match[1]) if status == 206 and match else None
