"""GGUF files: the same model under published names, INT4 where it may be, refused where unknown."""

import dataclasses
import json
import struct

import gguf
import numpy as np
import pytest
import torch
from gguf_files import NUM_TOKENS, TOKENIZER, config_of, gguf_tensors, write_gguf
from tiny_causal import random_weights

from bilin_engine.checkpoints import int4, streaming
from bilin_engine.checkpoints.gguf_config import Origin
from bilin_engine.checkpoints.gguf_file import BLOCKS, GgufTensor
from bilin_engine.checkpoints.gguf_import import (
    GgufCheckpoint,
    ImportSettings,
    _in_order,
    import_gguf,
)
from bilin_engine.checkpoints.model_folder import ModelFolder, write_model_folder
from bilin_engine.checkpoints.streaming import ConversionStopped, verify
from bilin_engine.config.base import TensorSpec
from bilin_engine.errors import BadRequestError, BilinError, ModelBrokenError, UnsupportedModelError
from bilin_engine.library import read_description
from bilin_engine.runners.base import PrefillRow
from bilin_engine.runners.load import load_runner
from bilin_engine.tokenizers.gguf_vocabulary import SPLITS, read_tokenizer
from bilin_engine.tokenizers.huggingface import HuggingFaceTokenizer, character_of_byte
from bilin_engine.tokenizers.load import load_tokenizer

PLAIN = ImportSettings(target="plain")
IDS = [5, 17, 3, 60, 42, 42, 9, 61]
TEXTS = ["Hello, world! It's 2026.", "你好，世界", " two  spaces\n\nand lines ", "a1b22c333", "🦜é"]


def logits(folder) -> torch.Tensor:
    runner = load_runner(folder, dtype="float32", num_threads=1)
    return runner.prefill([PrefillRow(0, IDS, list(range(len(IDS))), 0)], "all")[0]


@pytest.mark.parametrize(
    ("case", "is_fused"),
    [
        ("llama", False),
        ("llama 3", False),
        ("llama linear", False),
        ("llama tied with biases", False),
        ("qwen2", False),
        ("qwen2 tied yarn", False),
        ("qwen3", False),
        ("qwen3 tied with biases", False),
        ("glm4", False),
        ("glm4 without bias", True),
        ("glm4 yarn", False),
        ("glm", True),
        ("glm wide heads", False),
    ],
)
def test_plain_weights_are_the_model_they_were_made_of(tmp_path, case, is_fused):
    """Turned rows, fused matrices, scaled positions: the logits are equal, not close."""
    config = config_of(case)
    if case == "llama 3":  # GGUF does not keep the context, which is found among published ones
        assert config.rope.scaling is not None
        scaling = dataclasses.replace(config.rope.scaling, original_context=8192)
        config = dataclasses.replace(config, rope=dataclasses.replace(config.rope, scaling=scaling))
    source = write_gguf(tmp_path / "m.gguf", case, is_fused=is_fused, config=config)
    result = import_gguf(source, tmp_path / "dst", PLAIN)
    with ModelFolder(result) as model:
        assert model.config == config
    write_model_folder(tmp_path / "expected", config, random_weights(config).items())
    assert torch.equal(logits(result), logits(tmp_path / "expected"))
    verify(result)


@pytest.mark.parametrize("block", [2048, 1 << 20])
def test_q4_0_is_kept_without_loss(tmp_path, monkeypatch, block):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", block)
    source = write_gguf(tmp_path / "m.gguf", "llama", kind="Q4_0")
    result = import_gguf(source, tmp_path / "dst", ImportSettings())
    config = config_of("llama")
    number = gguf.GGMLQuantizationType.Q4_0
    stored = {
        name: torch.from_numpy(gguf.dequantize(gguf.quantize(value, number), number))
        for name, value in gguf_tensors(config, random_weights(config)).items()
        if value.ndim > 1
    }
    with ModelFolder(result) as model:
        for index in range(config.num_layers):
            layer = f"model.layers.{index}"
            down = dequantized(model, f"{layer}.mlp.down_proj")
            assert torch.equal(down, stored[f"blk.{index}.ffn_down.weight"])
            keys = dequantized(model, f"{layer}.self_attn.k_proj")
            turned = keys.unflatten(0, (-1, 2, 8)).transpose(1, 2).flatten(0, 2)
            assert torch.equal(turned, stored[f"blk.{index}.attn_k.weight"])
    description = read_description(result)
    assert description.quantization_error == 0.0
    assert description.source == "GGUF file m.gguf (matrices: 16 Q4_0)"
    assert description.licence == "mit"


def dequantized(model: ModelFolder, module: str) -> torch.Tensor:
    packed, scales = (model.tensor(f"{module}.weight_{part}") for part in ("packed", "scale"))
    k = packed.shape[1] * 8
    return int4.dequantize(int4.QuantizedWeight(int4.unpack(packed, k, 4), scales, 4))


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_other_types_are_quantized_anew_and_the_error_is_said(tmp_path, kind):
    source = write_gguf(tmp_path / "m.gguf", "qwen2", kind=kind)
    result = import_gguf(source, tmp_path / "dst", ImportSettings())
    number = gguf.GGMLQuantizationType[kind]
    config = config_of("qwen2")
    squares = [0.0, 0.0]
    with ModelFolder(result) as model:
        weights = gguf_tensors(config, random_weights(config))
        for index in range(config.num_layers):
            for ours, theirs in {"self_attn.o_proj": "attn_output", "mlp.up_proj": "ffn_up",
                                 "mlp.gate_proj": "ffn_gate", "mlp.down_proj": "ffn_down",
                                 "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
                                 "self_attn.v_proj": "attn_v"}.items():  # fmt: skip
                value = weights[f"blk.{index}.{theirs}.weight"]
                value = gguf.dequantize(gguf.quantize(value, number), number)
                found = dequantized(model, f"model.layers.{index}.{ours}").numpy()
                squares[0] += float(np.square(found - value).sum())
                squares[1] += float(np.square(value).sum())
    error = (squares[0] / squares[1]) ** 0.5
    assert 0.01 < error < 0.12
    assert read_description(result).quantization_error == pytest.approx(error, rel=1e-3)


def test_a_stop_keeps_the_work_and_the_error_counts_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 4096)
    source = write_gguf(tmp_path / "m.gguf", "llama", kind="Q8_0", parts=6)
    source = min(tmp_path.glob("*.gguf"))
    whole = import_gguf(source, tmp_path / "whole", ImportSettings())
    left = 20

    def should_stop() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    with pytest.raises(ConversionStopped):
        import_gguf(source, tmp_path / "dst", ImportSettings(), should_stop=should_stop)
    again = import_gguf(source, tmp_path / "dst", ImportSettings())
    for path in whole.glob("*.safetensors"):
        assert (again / path.name).read_bytes() == path.read_bytes()
    errors = [read_description(folder).quantization_error for folder in (whole, again)]
    assert errors[0] == errors[1] > 0


@pytest.mark.parametrize(
    ("settings", "bits", "group"),
    [
        (ImportSettings(), 4, 32),
        (ImportSettings(group_size=64), 4, 64),
        (ImportSettings(target="int8"), 8, 32),
    ],
)
def test_settings_are_kept(tmp_path, settings, bits, group):
    source = write_gguf(tmp_path / "m.gguf", "glm4", kind="Q4_0", tensors=None)
    if group == 64:
        with pytest.raises(UnsupportedModelError, match="group_size 64 does not divide"):
            import_gguf(source, tmp_path / "dst", settings)
        return
    result = import_gguf(source, tmp_path / "dst", settings)
    with ModelFolder(result) as model:
        assert model.config.quantization is not None
        (scheme,) = model.config.quantization.schemes
        assert (scheme.bits, scheme.group_size) == (bits, group)


# --- Blocks: the formulas of ggml-quants.c, value by value ---------------------------------------


def half(data: bytes) -> float:
    return float(np.frombuffer(data, np.float16)[0])


def scale_and_minimum(scales: bytes, j: int) -> tuple[int, int]:
    """get_scale_min_k4: eight pairs of six bits in twelve bytes."""
    if j < 4:
        return scales[j] & 63, scales[j + 4] & 63
    return (
        (scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4,
        (scales[j + 4] >> 4) | (scales[j] >> 6) << 4,
    )


def q4_k(block: bytes) -> list[float]:
    d, dmin, scales, codes = half(block[:2]), half(block[2:4]), block[4:16], block[16:]
    values = []
    for part in range(8):
        scale, minimum = scale_and_minimum(scales, part)
        for i in range(32):
            code = codes[32 * (part // 2) + i] >> (4 * (part % 2)) & 15
            values.append(d * scale * code - dmin * minimum)
    return values


def q5_k(block: bytes) -> list[float]:
    d, dmin, scales = half(block[:2]), half(block[2:4]), block[4:16]
    high, codes = block[16:48], block[48:]
    values = []
    for part in range(8):
        scale, minimum = scale_and_minimum(scales, part)
        for i in range(32):
            code = codes[32 * (part // 2) + i] >> (4 * (part % 2)) & 15
            code += 16 * (high[i] >> part & 1)
            values.append(d * scale * code - dmin * minimum)
    return values


def q6_k(block: bytes) -> list[float]:
    low, high, scales, d = block[:128], block[128:192], block[192:208], half(block[208:])
    values = []
    for i in range(256):
        part, place = i // 128, i % 128
        quarter, at = place // 32, place % 32
        code = low[64 * part + 32 * (quarter % 2) + at] >> (4 * (quarter // 2)) & 15
        code |= (high[32 * part + at] >> (2 * quarter) & 3) << 4
        scale = struct.unpack("b", scales[i // 16 : i // 16 + 1])[0]
        values.append(d * scale * (code - 32))
    return values


@pytest.mark.parametrize(("kind", "formula"), [("Q4_K", q4_k), ("Q5_K", q5_k), ("Q6_K", q6_k)])
def test_k_quants_are_what_ggml_says(tmp_path, kind, formula):
    """A model 256 wide, its down projections of random blocks with sane scales."""
    config = config_of("llama", hidden_size=64, inner_hidden_size=256)
    rng = np.random.default_rng(3)
    size = BLOCKS[kind][1]
    name = "blk.0.ffn_down.weight"
    blocks = rng.integers(0, 256, (64, size), dtype=np.uint8)
    place = slice(208, 210) if kind == "Q6_K" else slice(0, 2)
    blocks[:, place] = rng.uniform(0.001, 0.01, 64).astype(np.float16).view(np.uint8).reshape(64, 2)
    if kind != "Q6_K":
        blocks[:, 2:4] = blocks[:, 0:2]
    tensors = gguf_tensors(config, random_weights(config))
    del tensors[name]
    source = write_with_blocks(tmp_path, config, tensors, name, blocks, kind)
    with GgufCheckpoint(source) as checkpoint:
        spec = next(s for s in config.tensors() if s.name == "model.layers.0.mlp.down_proj.weight")
        found = checkpoint.rows(spec, 3, 9)
    expected = torch.tensor([formula(bytes(block)) for block in blocks[3:9]])
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


def write_with_blocks(tmp_path, config, tensors, name, blocks, kind):
    original = gguf.quantize

    def given(value, number):
        return blocks if number.name == kind else original(value, number)

    gguf.quantize = given
    try:
        tensors[name] = np.zeros((64, 256), np.float32)
        return write_gguf(
            tmp_path / "k.gguf", "llama", config=config, tensors=tensors, kinds={name: kind}
        )
    finally:
        gguf.quantize = original


# --- Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "mamba"}, "architecture 'mamba'; .* llama, qwen2, qwen3, glm4, chatglm"),
        ({"metadata": {"expert_count": 8}}, "expert_count is 8"),
        ({"metadata": {"attention.sliding_window": 4096}}, "attention.sliding_window is 4096"),
        ({"metadata": {"logit_scale": 2.0}}, "keys that Bilin does not know .* logit_scale"),
        ({"metadata": {"rope.scaling.type": "longrope"}}, "rope.scaling.type is .longrope"),
        ({"metadata": {"attention.value_length": 32}}, "attention.value_length"),
        ({"metadata": {"rope.scaling.attn_factor": 2.0}}, "rope.scaling.attn_factor is 2"),
        ({"pre": "viking"}, "tokenizer.ggml.pre is 'viking', a way to split text that Bilin"),
    ],
)
def test_what_is_not_known_is_refused_by_name(tmp_path, changes, words):
    source = write_gguf(tmp_path / "m.gguf", "llama", **changes)
    with pytest.raises(UnsupportedModelError, match=words):
        import_gguf(source, tmp_path / "dst", ImportSettings())
    assert not (tmp_path / "dst").exists()


def test_positions_that_are_stretched_in_two_ways_are_refused(tmp_path):
    config = config_of("llama 3")
    assert config.rope.scaling is not None
    scaling = dataclasses.replace(config.rope.scaling, original_context=8192)
    config = dataclasses.replace(config, rope=dataclasses.replace(config.rope, scaling=scaling))
    both = {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0}
    source = write_gguf(tmp_path / "m.gguf", "llama 3", config=config, metadata=both)
    with pytest.raises(UnsupportedModelError, match=r"rope_freqs.weight and rope.scaling.type lin"):
        import_gguf(source, tmp_path / "dst", ImportSettings())


def test_missing_and_needless_tensors_are_named(tmp_path):
    config = config_of("llama")
    tensors = gguf_tensors(config, random_weights(config))
    more = {**tensors, "blk.0.attn_q_norm.weight": np.ones(16, np.float32)}
    with pytest.raises(UnsupportedModelError, match=r"blk\.0\.attn_q_norm\.weight', which llama"):
        import_gguf(write_gguf(tmp_path / "a.gguf", "llama", tensors=more), tmp_path / "d", PLAIN)
    fewer = {n: v for n, v in tensors.items() if n != "blk.1.ffn_up.weight"}
    with pytest.raises(ModelBrokenError, match=r"holds no tensor blk\.1\.ffn_up\.weight"):
        import_gguf(write_gguf(tmp_path / "b.gguf", "llama", tensors=fewer), tmp_path / "d", PLAIN)
    wide = {**tensors, "output_norm.weight": np.ones(32, np.float32)}
    with pytest.raises(ModelBrokenError, match=r"output_norm\.weight has the shape \[32\]"):
        import_gguf(write_gguf(tmp_path / "c.gguf", "llama", tensors=wide), tmp_path / "d", PLAIN)
    factors = {**tensors, "rope_freqs.weight": np.full(8, 3.0, np.float32)}
    with pytest.raises(UnsupportedModelError, match=r"rope_freqs\.weight is not Llama 3's way"):
        import_gguf(
            write_gguf(tmp_path / "e.gguf", "llama", tensors=factors), tmp_path / "d", PLAIN
        )


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0"])
def test_weights_that_are_no_numbers_are_named(tmp_path, kind):
    config = config_of("llama")
    tensors = gguf_tensors(config, random_weights(config))
    tensors["blk.1.ffn_up.weight"][3, 5] = np.inf
    with np.errstate(all="ignore"):
        source = write_gguf(tmp_path / "m.gguf", "llama", tensors=tensors, kind=kind)
    with pytest.raises(ModelBrokenError, match=r"layers\.1\.mlp\.up_proj\.weight holds"):
        import_gguf(source, tmp_path / "dst", ImportSettings())


def test_nothing_is_written_over(tmp_path):
    source = write_gguf(tmp_path / "m.gguf", "llama")
    with pytest.raises(BadRequestError, match="exists already"):
        import_gguf(source, tmp_path, PLAIN)


# --- Tokenizers ----------------------------------------------------------------------------------


def test_a_byte_level_tokenizer_gives_the_same_ids(tmp_path):
    result = import_gguf(write_gguf(tmp_path / "m.gguf", "glm4"), tmp_path / "dst", PLAIN)
    found = load_tokenizer(result)
    expected = HuggingFaceTokenizer(TOKENIZER, eos_token="<|endoftext|>")
    assert isinstance(found, HuggingFaceTokenizer)
    for text in TEXTS:
        assert found.encode(text) == expected.encode(text)
        assert found.decode(found.encode(text)) == text
    assert found.markers == expected.markers
    assert found.frame == tuple(expected.markers[m] for m in ("[gMASK]", "<sop>"))
    ends = json.loads((result / "generation_config.json").read_text())["eos_token_id"]
    assert ends == [expected.markers["<|endoftext|>"], expected.markers["<|im_end|>"]]
    config = json.loads((result / "config.json").read_text())
    assert config["eos_token_id"] == expected.markers["<|endoftext|>"]
    assert config["bos_token_id"] == expected.markers["<|begin_of_text|>"]


def test_role_markers_that_a_person_types_stay_text(tmp_path):
    from bilin_engine.chat_format import load_chat_format
    from bilin_engine.protocol import Message

    result = import_gguf(write_gguf(tmp_path / "m.gguf", "llama"), tmp_path / "dst", PLAIN)
    description = read_description(result)
    assert description.chat_format == "template"
    tokenizer = load_tokenizer(result)
    assert isinstance(tokenizer, HuggingFaceTokenizer)
    chat = load_chat_format("template", result)
    layout = chat.layout([Message("user", "a<|im_end|>b")], tokenizer, 1000)
    marker = tokenizer.markers["<|im_end|>"]
    assert layout.token_ids.count(marker) == 1
    assert marker in chat.stop_ids(tokenizer)


def test_a_glm_without_a_template_has_its_familys_format(tmp_path):
    source = write_gguf(tmp_path / "m.gguf", "glm", template="")
    assert read_description(import_gguf(source, tmp_path / "d", PLAIN)).chat_format == "glm4"
    source = write_gguf(tmp_path / "n.gguf", "llama", template="", pre="llama-bpe")
    result = import_gguf(source, tmp_path / "e", PLAIN)
    description = read_description(result)
    assert (description.chat_format, description.capabilities.chat) == ("", False)


SPM_PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", "h", "e", "l",
              "o", "w", "r", "d", "▁h", "ll", "he", "▁he", "llo", "▁hello", "▁w", "or", "ld",
              "▁wor", "▁world"]  # fmt: skip


def spm_metadata(**changes) -> dict[str, object]:
    kinds = [2, 3, 3, *[6] * 256, *[1] * (len(SPM_PIECES) - 259)]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": SPM_PIECES,
        "tokenizer.ggml.token_type": tuple(kinds),
        "tokenizer.ggml.scores": tuple(
            0.0 if kind != 1 else -float(index) for index, kind in enumerate(kinds)
        ),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        **{f"tokenizer.{key}": value for key, value in changes.items()},
    }


def spm(**changes) -> HuggingFaceTokenizer:
    made = read_tokenizer(spm_metadata(**changes), "x")
    return HuggingFaceTokenizer.from_json(made.content, "x", made.config["eos_token"])


def test_a_sentencepiece_tokenizer_merges_by_score():
    tokenizer = spm()
    pieces = [tokenizer.token_text(i) for i in tokenizer.encode("hello world")]
    assert pieces == ["▁hello", "▁world"]
    pieces = [tokenizer.token_text(i) for i in tokenizer.encode("hellw")]
    assert pieces == ["▁he", "ll", "w"]  # "ll" is likelier than what "▁he" could go on with
    assert tokenizer.encode_after("h") == [SPM_PIECES.index("h")]
    assert tokenizer.encode("é") == [SPM_PIECES.index("▁"), 3 + 0xC3, 3 + 0xA9]
    assert tokenizer.decode(tokenizer.encode("hello world é\n")) == "hello world é\n"
    assert tokenizer.frame == (1,)
    assert tokenizer.encode("</s>")[0] != 2


def test_a_space_before_the_first_word_is_as_the_file_says():
    assert spm(**{"ggml.add_space_prefix": False}).encode("h") == [SPM_PIECES.index("h")]
    assert spm(**{"ggml.add_bos_token": False}).frame == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ggml.model": "bert"}, "tokenizer.ggml.model is 'bert'"),
        ({"ggml.pre": "odd"}, "tokenizer.ggml.pre is 'odd'"),
        ({"ggml.surprise": 1}, r"has tokenizer\.ggml\.surprise, which Bilin does not know"),
        ({"ggml.precompiled_charsmap": (1, 2)}, "precompiled_charsmap"),
        ({"ggml.remove_extra_whitespaces": True}, "remove_extra_whitespaces is true"),
        ({"ggml.tokens": ["a", "a"]}, "the token 'a' is there twice"),
        ({"ggml.tokens": ["a"]}, "token_type has 278 items for 1 tokens"),
        ({"ggml.tokens": ("a", 1)}, "tokens is no list of str"),
        ({"ggml.tokens": "abc"}, "tokens is no list of str"),
        ({"ggml.scores": (1.0,)}, "scores has 1 items"),
        ({"ggml.scores": ()}, "has no tokenizer.ggml.scores"),
        ({"ggml.eos_token_id": 99999}, "eos_token_id is no id of 278"),
        ({"ggml.eos_token_id": -1}, "names no tokenizer.ggml.eos_token_id"),
        ({"ggml.tokens": ["x" * 5000, *SPM_PIECES[1:]]}, "a token has 5000 characters"),
        ({"chat_template": 3}, "chat_template is no text"),
        ({"ggml.model": "gpt2", "ggml.merges": ["h q"]}, "the merge 'h q' is of no two tokens"),
        ({"ggml.model": "gpt2", "ggml.merges": ["h"]}, "the merge 'h' is of no two tokens"),
    ],
)
def test_vocabularies_that_contradict_themselves_are_refused(changes, words):
    with pytest.raises(BilinError, match=words):
        read_tokenizer(spm_metadata(**changes), "x")


def byte_level_metadata(merges: list[str], **changes) -> dict[str, object]:
    """The tokens: all 256 bytes, and what the merges give."""
    tokens = [*character_of_byte().values(), *(merge.replace(" ", "") for merge in merges)]
    tokens = [*dict.fromkeys(tokens), "<|endoftext|>"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "chatglm-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": (*[1] * (len(tokens) - 1), 3),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
        **{f"tokenizer.{key}": value for key, value in changes.items()},
    }


def test_a_token_that_no_two_others_make_is_taken_as_a_word():
    """llama.cpp wrote up to seven parts as one merge for GLM-4."""
    parts = " ".join(character_of_byte()[byte] for byte in " 王".encode())
    made = read_tokenizer(byte_level_metadata([parts]), "x")
    tokenizer = HuggingFaceTokenizer.from_json(made.content, "x", made.config["eos_token"])
    assert tokenizer.encode(" 王") == [256]
    assert len(tokenizer.encode("王")) == 3


def test_the_name_of_a_template_is_no_template():
    metadata = byte_level_metadata(["a b"], chat_template="chatglm4")
    assert read_tokenizer(metadata, "x").chat_template == ""


@pytest.mark.parametrize("pre", SPLITS)
def test_every_way_to_split_keeps_the_text(tmp_path, pre):
    source = write_gguf(tmp_path / "m.gguf", "llama", pre=pre)
    with GgufCheckpoint(source) as checkpoint:
        made = checkpoint.tokenizer
    tokenizer = HuggingFaceTokenizer.from_json(made.content, "x", made.config["eos_token"])
    assert tokenizer.vocab_size <= NUM_TOKENS
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_rows_that_alternate_are_found_inside_a_fused_tensor():
    """q and k of one tensor: k's rows begin where q's end, and each head's halves alternate."""
    origin = Origin(GgufTensor("blk.0.attn_qkv.weight", "F32", (12, 1), 0, 48), first=8, heads=1)
    spec = TensorSpec("k_proj.weight", (4, 1))
    found = _in_order(origin, spec, 1, 4, lambda a, b: torch.arange(a, b).unsqueeze(1))
    assert found.flatten().tolist() == [10, 9, 11]
