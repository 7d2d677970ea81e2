"""From a training run to a model folder that Bilin runs: INT4, described, with its log."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from bilin_engine.checkpoints.model_folder import write_model_folder
from bilin_engine.config import GLMConfig, GroupSize, QuantizationConfig
from bilin_engine.pretrain.card import CardFacts, model_card
from bilin_engine.pretrain.loss_picture import loss_picture
from bilin_engine.pretrain.model import GlmSize
from bilin_engine.pretrain.prepare import MIX_FILE
from bilin_engine.pretrain.published import is_model_folder
from bilin_engine.pretrain.run_folder import (
    NEW_RUN_EVENT,
    read_checkpoint,
    read_log_lines,
    read_settings,
    require_same_vocabulary,
    weights_hash,
)
from bilin_engine.pretrain.shards import SampleStore
from bilin_engine.pretrain.vocabulary import TOKENIZER_FILE
from bilin_engine.protocol import Example
from bilin_engine.tokenizers.load import TokenizerConfig
from bilin_engine.whole_file import file_sha256

LOG_FILE = "training_log.csv"
PICTURE_FILE = "training_loss.svg"
HASH_FILE = "training.json"
CARD_FILE = "MODEL_CARD.md"
BUNDLED_ID = "bilin-mini"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """What the folder says beside the weights.

    group_size: 0 = not quantized. measured: rows of the card's table of figures, (what, value).
    log_lines: rows of the log that are kept, evenly spaced.
    """

    model_id: str = BUNDLED_ID
    name_zh: str = "Bilin Mini 小模型"
    name_en: str = "Bilin Mini"
    group_size: GroupSize = 32
    examples: tuple[Example, ...] = ()
    measured: tuple[tuple[str, str], ...] = ()
    log_lines: int = 1500


def model_config(size: GlmSize) -> GLMConfig:
    """The config.json of a trained size."""
    return GLMConfig.create(
        num_layers=size.num_layers,
        hidden_size=size.hidden_size,
        num_attention_heads=size.num_heads,
        inner_hidden_size=size.inner_size,
        vocab_size=size.vocab_size,
        max_sequence_length=size.context,
        dtype="bfloat16",
    )


def export(run: Path, packed: Path, shards: Path, dst: Path, settings: ExportSettings) -> Path:
    """Writes the newest checkpoint of `run` to `dst`, which is replaced when the new one is whole.

    packed, shards: the folders with the vocabulary and the samples that the run was trained on.
    Raises ValueError where `dst` is there and no model folder that this function wrote, and where
    `packed` has another vocabulary or `shards` other samples than the run.
    """
    fresh, old = (dst.with_name(f"{dst.name}.{end}") for end in ("new", "old"))
    for folder in (dst, fresh, old):
        if folder.exists() and not is_model_folder(folder):
            message = (
                f"{folder} is no model folder that export wrote, so it is not replaced; "
                "name another OUT or remove it"
            )
            raise ValueError(message)
    checkpoint = read_checkpoint(run)
    weights = checkpoint.weights()
    train_settings = read_settings(run)
    vocabulary = file_sha256(packed / TOKENIZER_FILE)
    require_same_vocabulary(run, train_settings.vocabulary, packed, vocabulary)
    samples = train_settings.samples
    if samples and samples != file_sha256(SampleStore.open(shards).index):
        message = (
            f"{run} was not trained on the samples in {shards}, whose mix the card would give; "
            "name its own with --shards"
        )
        raise ValueError(message)
    lines = read_log_lines(run)[: checkpoint.log_lines]
    log = thin_log(lines, settings.log_lines)
    digest = weights_hash(weights)
    origin = {
        "weights_sha256": digest,
        "log": LOG_FILE,
        "settings": msgspec.to_builtins(train_settings),
    }
    files: dict[str, Path | bytes] = {
        TOKENIZER_FILE: packed / TOKENIZER_FILE,
        "tokenizer_config.json": msgspec.json.encode(
            TokenizerConfig(tokenizer_class="SentencePieceTokenizer", tokenizer_file=TOKENIZER_FILE)
        ),
        LOG_FILE: (f"# weights_sha256 {digest}\n{log}").encode(),
        PICTURE_FILE: loss_picture(log).encode(),
        HASH_FILE: msgspec.json.format(msgspec.json.encode(origin), indent=1),
    }
    mix = json.loads((shards / MIX_FILE).read_text(encoding="utf-8"))["loss_tokens"]
    size = train_settings.size
    facts = CardFacts(
        name_zh=settings.name_zh,
        name_en=settings.name_en,
        is_bundled=settings.model_id == BUNDLED_ID,
        num_parameters=size.num_parameters,
        num_layers=size.num_layers,
        hidden_size=size.hidden_size,
        vocab_size=size.vocab_size,
        context=size.context,
        loss_tokens=checkpoint.progress.loss_tokens,
        seconds=checkpoint.progress.seconds,
        device=checkpoint.progress.device or "CPU",
        has_earlier_runs=any(NEW_RUN_EVENT in line for line in lines),
        group_size=settings.group_size,
        weights_sha256=digest,
        mix={family: tokens / sum(mix.values()) for family, tokens in mix.items()},
        measured=settings.measured,
    )
    files[CARD_FILE] = model_card(facts).encode()
    quantization = (
        QuantizationConfig.uniform(4, settings.group_size) if settings.group_size else None
    )
    shutil.rmtree(fresh, ignore_errors=True)  # what a kill left
    write_model_folder(
        fresh,
        model_config(train_settings.size),
        _rounded(weights.items(), quantization),
        quantization=quantization,
        generation_config={"temperature": 0.0, "repetition_penalty": 1.0, "max_new_tokens": 128},
        extra_files=files,
        bilin_metadata=_metadata(settings),
    )
    if dst.exists():
        shutil.rmtree(old, ignore_errors=True)
        dst.rename(old)
    fresh.rename(dst)
    shutil.rmtree(old, ignore_errors=True)
    return dst


def _rounded(
    weights: Iterable[tuple[str, torch.Tensor]], quantization: QuantizationConfig | None
) -> Iterable[tuple[str, torch.Tensor]]:
    """Plain numbers are stored as bfloat16; what is quantized keeps float32 until then."""
    for name, tensor in weights:
        is_packed = quantization is not None and tensor.ndim == 2 and ".layers." in name
        yield name, tensor if is_packed else tensor.to(torch.bfloat16)


def _metadata(settings: ExportSettings) -> dict[str, object]:
    return {
        "id": settings.model_id,
        "names": {"zh": settings.name_zh, "en": settings.name_en},
        "family": "glm130b",
        "languages": ["zh", "en"],
        "capabilities": {"chat": True, "blanks": ["short", "long", "sentence"]},
        "chat_format": "qa",
        "examples": msgspec.to_builtins(settings.examples),
        "licence": "Apache-2.0",
        "source": "trained from scratch by bilin_engine.pretrain; sources in MODEL_CARD.md",
    }


def thin_log(lines: list[str], num_lines: int) -> str:
    """At most about `num_lines` rows, evenly spaced; the first, the last and all events stay."""
    header, *rows = [line.strip() for line in lines]
    stride = max(1, -(-len(rows) // num_lines))
    kept = [
        row
        for index, row in enumerate(rows)
        if index % stride == 0 or index == len(rows) - 1 or not row.endswith(",")
    ]
    return "\n".join([header, *kept]) + "\n"
