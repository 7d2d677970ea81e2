"""A model folder with random weights and a tokenizer of its own: small enough to load in a test."""

from pathlib import Path

import torch

from bilin_engine.checkpoints.model_folder import write_model_folder
from bilin_engine.config import GLMConfig, QuantizationConfig
from bilin_engine.tokenizers.load import TokenizerConfig, write_tokenizer_config
from bilin_engine.tokenizers.sentencepiece import SentencePieceTokenizer, train_sentencepiece

LINES = (
    "问：你好，你是谁？答：我是一个小模型，住在这台电脑里。",
    "Question: What can you do? Answer: I fill blanks and answer questions.",
    "凯旋门位于意大利米兰市古城堡旁，门高25米。",
    "The Starry Night is an oil-on-canvas painting in June 1889.",
    "0 1 2 3 4 5 6 7 8 9 : , . ? ! ( ) [ ]",
)


def write_tiny_model(models_dir: Path, model_id: str = "tiny", *, context: int = 256) -> Path:
    """Writes `models_dir/model_id`: two layers of width 64, INT4 in groups of 32."""
    models_dir.mkdir(parents=True, exist_ok=True)
    parts = models_dir / f".{model_id}-parts"
    parts.mkdir()
    train_sentencepiece(LINES, parts / "tokenizer.model", vocab_size=350)
    write_tokenizer_config(parts, TokenizerConfig(tokenizer_class="SentencePieceTokenizer"))
    vocab_size = SentencePieceTokenizer(parts / "tokenizer.model").vocab_size
    config = GLMConfig.create(
        num_layers=2,
        hidden_size=64,
        num_attention_heads=2,
        inner_hidden_size=128,
        vocab_size=-(-vocab_size // 64) * 64,
        max_sequence_length=context,
        dtype="float32",
    )
    generator = torch.Generator().manual_seed(1)
    folder = write_model_folder(
        models_dir / model_id,
        config,
        ((spec.name, _values(spec.name, spec.shape, generator)) for spec in config.tensors()),
        quantization=QuantizationConfig.uniform(4, 32),
        extra_files={path.name: path for path in parts.iterdir()},
        bilin_metadata={
            "id": model_id,
            "names": {"zh": "小", "en": "Tiny"},
            "family": "GLM-130B",
            "languages": ["zh", "en"],
            "capabilities": {"chat": True, "blanks": ["short", "long", "sentence"]},
            "chat_format": "qa",
            "licence": "Apache-2.0",
            "source": "random numbers",
        },
    )
    for path in parts.iterdir():
        path.unlink()
    parts.rmdir()
    return folder


def _values(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if "layernorm.weight" in name:
        return torch.ones(shape)
    return torch.randn(shape, generator=generator) * 0.2
