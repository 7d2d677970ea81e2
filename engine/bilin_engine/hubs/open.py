"""A repository as a source: its address, its token, its hub's language."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bilin_engine.hubs.base import HubSource, check_name, check_revision
from bilin_engine.hubs.connection import Connection
from bilin_engine.hubs.huggingface import HuggingFace
from bilin_engine.hubs.modelscope import ModelScope
from bilin_engine.hubs.tokens import TokenFile, default_token_file, endpoint_of
from bilin_engine.protocol import Repository


@contextmanager
def open_repository(
    repository: Repository,
    token_file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[HubSource]:
    """Opens nothing before it is asked something. Raises BadRequestError for what is no address."""
    check_name(repository.name)
    check_revision(repository.revision)
    endpoint = endpoint_of(repository.hub, repository.endpoint, environment)
    tokens = TokenFile(token_file or default_token_file())
    token = tokens.find(repository.hub, repository.endpoint, environment)
    secret = {"Authorization": f"Bearer {token}"} if token else {}
    if token and repository.hub == "modelscope":
        secret["Cookie"] = f"m_session_id={token}"
    connection = Connection(endpoint, secret, repository.proxy)
    try:
        if repository.hub == "modelscope":
            yield ModelScope(repository, connection)
        else:
            yield HuggingFace(repository, connection)
    finally:
        connection.close()
