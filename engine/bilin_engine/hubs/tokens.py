"""Access tokens: from the environment, or typed by a person and kept in a file of mode 0600.

A token belongs to one address. The environment's goes to the hub's own address, or to the one that
the environment names beside it; never to a mirror that was typed somewhere.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from bilin_engine.errors import BadRequestError, BilinError
from bilin_engine.hubs.base import DEFAULT_ENDPOINTS, ENDPOINT_VARIABLES, check_endpoint
from bilin_engine.protocol import Hub
from bilin_engine.whole_file import write_whole

TOKEN_VARIABLES: dict[Hub, tuple[str, ...]] = {
    "hugging_face": ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
    "modelscope": ("MODELSCOPE_API_TOKEN",),
}
MAX_TOKEN_CHARS = 500


def default_token_file() -> Path:
    """Where typed tokens lie when nothing else is said; it may not exist yet."""
    import platformdirs

    return platformdirs.user_config_path("bilin", appauthor=False) / "hub_tokens.json"


def endpoint_of(hub: Hub, endpoint: str, environment: Mapping[str, str]) -> str:
    """The address to ask: the one given, the environment's, or the hub's own."""
    return check_endpoint(
        endpoint or environment.get(ENDPOINT_VARIABLES[hub], "") or DEFAULT_ENDPOINTS[hub]
    )


class TokenFile:
    """Typed tokens, by address."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, hub: Hub, endpoint: str, environment: Mapping[str, str]) -> str:
        """The token for an address, "" for none: a typed one first."""
        endpoint = endpoint_of(hub, endpoint, environment)
        typed = self._read().get(f"{hub} {endpoint}", "")
        if typed:
            return typed
        own = environment.get(ENDPOINT_VARIABLES[hub], "").rstrip("/") or DEFAULT_ENDPOINTS[hub]
        if endpoint != own:
            return ""
        found = (environment.get(name, "").strip() for name in TOKEN_VARIABLES[hub])
        return next((token for token in found if token), "")

    def keep(self, hub: Hub, endpoint: str, token: str, environment: Mapping[str, str]) -> None:
        """Keeps a typed token for an address; "" forgets it. Raises BilinError."""
        token = token.strip()
        if len(token) > MAX_TOKEN_CHARS or not token.isascii() or any(c.isspace() for c in token):
            raise BadRequestError(
                f"a token is one word of up to {MAX_TOKEN_CHARS} letters, digits and signs"
            )
        tokens = self._read()
        tokens.pop(key := f"{hub} {endpoint_of(hub, endpoint, environment)}", None)
        if token:
            tokens[key] = token
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, msgspec.json.encode(tokens))
        except OSError as error:
            raise BilinError(f"{self._path} cannot be written: {error.strerror}") from error

    def _read(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return {}
