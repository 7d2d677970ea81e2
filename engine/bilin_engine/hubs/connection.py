"""HTTP to one endpoint: redirects that are followed knowingly, a token that never travels on.

The token goes to the endpoint's own scheme, host and port, and over plain http only to this very
machine. Hosts that it redirects to are remembered, for people to see.
"""

import email.utils
import ipaddress
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies

import httpx2

from bilin_engine import __version__
from bilin_engine.errors import BadRequestError
from bilin_engine.hubs.base import HubBusyError, HubError

MAX_REDIRECTS = 6
MAX_JSON_BYTES = 32 * 1024**2
CONNECT_S = 15.0
READ_S = 30.0  # without a byte; a slow line that goes on is no fault
_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, unread. hosts: those on the way to it. etag: the hub's own word, if it has one.

    Storage that is redirected to has an ETag of its own, which may be another on another day.
    """

    response: httpx2.Response
    hosts: tuple[str, ...]
    etag: str


class Connection:
    """Requests to one endpoint. Threads may share it; `close` ends it."""

    def __init__(self, endpoint: str, secret: Mapping[str, str], proxy: str = "") -> None:
        """secret: headers for the endpoint alone. proxy "" = as the environment says."""
        self.endpoint = endpoint
        self._origin = _origin(httpx2.URL(endpoint))
        is_safe = endpoint.startswith("https://") or _is_this_machine(self._origin[1])
        self._secret = dict(secret) if is_safe else {}
        try:
            self._client = httpx2.Client(
                proxy=proxy or None,
                timeout=httpx2.Timeout(READ_S, connect=CONNECT_S, pool=None),
                headers={
                    "User-Agent": f"bilin/{__version__}",
                    "Accept-Encoding": "identity",  # ranges count the file's own bytes
                },
            )
        except (ValueError, httpx2.InvalidURL) as error:
            reason = f"{error}; SOCKS is written socks5://host:port"
            raise BadRequestError(
                f'the proxy "{_refused(proxy)}" is none; write it as http://host:port ({reason})'
            ) from error
        except ImportError as error:  # an environment from before socksio was asked for
            raise BadRequestError(
                f'the proxy "{_refused(proxy)}" needs socksio: pip install socksio, or name one as '
                "http://host:port"
            ) from error

    @property
    def has_secret(self) -> bool:
        """Whether the endpoint is sent a token."""
        return bool(self._secret)

    def close(self) -> None:
        """Ends all connections."""
        self._client.close()

    @contextmanager
    def open(
        self, url: str, what: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[Answer]:
        """GET, redirects followed.

        what: the thing asked for, for sentences. Raises HubBusyError and HubError; so does reading
        the response inside the block.
        """
        target, hosts, linked = httpx2.URL(url), [], ""
        for _ in range(MAX_REDIRECTS):
            hosts.append(target.host)
            request = self._client.build_request(
                "GET", target, headers={**(headers or {}), **self._secret_for(target)}
            )
            with _told(target.host, what, hosts):
                response = self._client.send(request, stream=True)
            linked = linked or response.headers.get("x-linked-etag", "")
            try:
                if response.status_code in _REDIRECTS and "location" in response.headers:
                    target = self._next(target, response.headers["location"], what)
                    continue
                _check_status(response, what, has_token=bool(self._secret_for(target)))
                with _told(target.host, what, hosts):
                    etag = linked or response.headers.get("etag", "")
                    plain = etag.removeprefix("W/").strip('"')
                    yield Answer(response, tuple(dict.fromkeys(hosts)), plain)
                return
            finally:
                response.close()
        raise HubError(f"{hosts[0]} redirects {what} in circles, by way of {', '.join(hosts)}")

    def json(self, url: str, what: str) -> tuple[Any, httpx2.Response]:
        """A JSON answer and its response. Raises as `open`."""
        content = bytearray()
        with self.open(url, what) as answer:
            response, host = answer.response, answer.hosts[-1]
            for block in response.iter_raw():
                content += block
                if len(content) > MAX_JSON_BYTES:
                    raise HubError(f"{host} answers {what} with over {MAX_JSON_BYTES} bytes")
        try:
            return json.loads(content), response
        except (ValueError, RecursionError) as error:
            kind = response.headers.get("content-type", "no type")
            raise HubError(
                f"{host} answers {what} with something that is no JSON ({kind}); is "
                f"{self.endpoint} the address of a hub?"
            ) from error

    def _secret_for(self, target: httpx2.URL) -> Mapping[str, str]:
        return self._secret if _origin(target) == self._origin else {}

    def _next(self, target: httpx2.URL, location: str, what: str) -> httpx2.URL:
        try:
            following = target.join(location)
        except httpx2.InvalidURL as error:
            raise HubError(f"{target.host} redirects {what} to {location[:120]!r}") from error
        is_lower = target.scheme == "https" and following.scheme != "https"
        if is_lower or following.scheme not in ("http", "https"):
            raise HubError(
                f"{target.host} redirects {what} to {following.scheme}://{following.host}, which "
                "is not encrypted; nothing was fetched from there"
            )
        return following


@contextmanager
def _told(host: str, what: str, hosts: list[str]) -> Iterator[None]:
    """Turns what the client raises into sentences that name the host."""
    way = f", to which {hosts[0]} sends for {what}," if hosts[0] != host else ""
    try:
        yield
    except httpx2.ConnectError as error:
        raise HubBusyError(f"{host}{way} cannot be reached: {error}") from error
    except httpx2.TimeoutException as error:
        raise HubBusyError(f"{host}{way} does not answer ({what})") from error
    except (httpx2.ProxyError, *_socks_errors()) as error:
        raise HubBusyError(f"the proxy does not let through to {host}: {error}") from error
    except httpx2.UnsupportedProtocol as error:
        raise HubError(f"{host}{way} has no address that can be asked: {error}") from error
    except httpx2.TransportError as error:
        raise HubBusyError(f"the connection to {host}{way} broke ({what}): {error}") from error


def _socks_errors() -> tuple[type[Exception], ...]:
    """What comes through from socksio, which is loaded with the first SOCKS proxy."""
    socksio = sys.modules.get("socksio")
    return (socksio.SOCKSError,) if socksio is not None else ()


def _refused(given: str) -> str:
    """The proxy that the client does not take, without a password: as given, else its variable."""
    if given:
        return _shown(given)
    found = getproxies()  # as httpx2 reads the environment
    for scheme in ("http", "https", "all"):
        address = found.get(scheme, "")
        try:
            httpx2.HTTPTransport(proxy=address if "://" in address else None).close()
        except (ValueError, httpx2.InvalidURL, ImportError):
            name = f"{scheme}_proxy"
            return f"{name if os.environ.get(name) else name.upper()}={_shown(address)}"
    return ""


def _shown(address: str) -> str:
    scheme, mark, rest = address.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"[:120]


def _check_status(response: httpx2.Response, what: str, *, has_token: bool) -> None:
    status, host = response.status_code, response.request.url.host
    if status < 400 or status == 416:
        return
    if status in _BUSY:
        wait_s = _retry_after_s(response.headers.get("retry-after", ""))
        raise HubBusyError(f"{host} is busy (HTTP {status}, {what})", wait_s=wait_s)
    if status == 401 and has_token:  # hubs refuse a wrong one for what is public, too
        raise HubError(
            f"{host} refuses the token that it is sent (HTTP 401): it is mistyped, has expired or "
            "was withdrawn. Enter another, or have it forgotten"
        )
    if status in (401, 403):
        raise HubError(
            f"{host} does not give out {what} (HTTP {status}): there is no such repository, or it "
            "is private or asks for its terms to be accepted. Enter a token of an account that may "
            "read it"
        )
    if status == 404:
        raise HubError(f"{host} has no {what} (HTTP 404); check how it is written, and the source")
    raise HubError(f"{host} refuses {what}: HTTP {status} {response.reason_phrase}".rstrip())


def _retry_after_s(value: str) -> float | None:
    """Seconds, of either form that HTTP has; None for anything else."""
    if value.strip().isdecimal():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
