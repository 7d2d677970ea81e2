"""A library's model folders, as small as a folder can be that is listed without a problem."""

import hashlib
import json
from pathlib import Path

import msgspec

from bilin_engine.config import GLMConfig
from bilin_engine.library import (
    DESCRIPTION_FILE,
    Capabilities,
    FileRecord,
    ModelDescription,
    ModelNames,
)
from bilin_engine.protocol import MeasuredSpeed

CONFIG = GLMConfig.create(
    num_layers=1, hidden_size=64, num_attention_heads=4, inner_hidden_size=96, vocab_size=512,
    max_sequence_length=256,
)  # fmt: skip


def make_model(parent: Path, name: str, *, has_tokenizer: bool = True) -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    content = json.dumps(CONFIG.to_json()).encode()
    (folder / "config.json").write_bytes(content)
    if has_tokenizer:
        (folder / "tokenizer_config.json").write_text("{}")
    record = FileRecord(len(content), hashlib.sha256(content).hexdigest())
    description = ModelDescription(
        id="tiny", names=ModelNames(name, name), family="GLM-130B", languages=("zh",),
        capabilities=Capabilities(chat=True), chat_format="qa", licence="MIT", source="a test",
        files={"config.json": record},
    )  # fmt: skip
    (folder / DESCRIPTION_FILE).write_bytes(msgspec.json.encode(description))
    return folder


def speed(machine, rate, at=1.0):
    return MeasuredSpeed(
        at=at, machine=machine, devices=("cpu",), decode_tok_s=rate, prefill_tok_s=100.0,
        prompt_tokens=16, bytes_per_token=1000, read_bytes_s=2e10,
    )  # fmt: skip
