"""What stands for a GGUF file beside a scripted llama.cpp: a vocabulary's size and a text's tokens.

Every token is as likely as any other, so a text costs log2(vocab_size) bits a token.
"""

import json
from pathlib import Path


class PeerFile:
    """vocab_size and token_ids of a file that `write` made; `note` appends to a log beside it."""

    def __init__(self, path: Path) -> None:
        self._log = path.with_suffix(".log")
        facts = json.loads(path.read_text())
        self.vocab_size: int = facts["vocab_size"]
        self.token_ids: list[int] = facts["token_ids"]

    def note(self, **facts: int) -> None:
        with self._log.open("a") as log:
            log.write(json.dumps(facts) + "\n")

    def notes(self) -> list[dict[str, int]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


def write(path: Path, vocab_size: int, token_ids: list[int]) -> PeerFile:
    path.write_text(json.dumps({"vocab_size": vocab_size, "token_ids": token_ids}))
    return PeerFile(path)


def read(path: str) -> PeerFile:
    return PeerFile(Path(path))
