"""An architecture as a decode step sees it: the same eight parts a layer, whatever the family.

    norm with residual | QKV | rotary positions and append | attention
    output | norm with residual | up, gated | down

The models' own `forward` is the specification; decode_step.py makes of this what a CUDA graph
captures, cpu_step.py what the processor's kernels compute in one call a layer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bilin_engine.errors import UnsupportedModelError
from bilin_engine.layers.norm import LayerNorm, RMSNorm
from bilin_engine.layers.parallel import (
    ColumnParallelLinear,
    RowParallelLinear,
    StackedLinear,
    VocabParallelEmbedding,
)
from bilin_engine.layers.rotary import (
    NeighbourRotation,
    RotaryTable,
    RotaryTable2D,
    Rotation,
    Rotation2D,
)
from bilin_engine.models.base import Model
from bilin_engine.models.causal import CausalModel, GroupedAttention
from bilin_engine.models.chatglm6b import ChatGLM6B
from bilin_engine.models.glm4 import SandwichLayer
from bilin_engine.models.glm130b import GLM130B
from bilin_kernels.decode_ops import HeadLayout, HeadNorms
from bilin_kernels.packing import Gating
from bilin_kernels.reference import Activation

# (position_ids [T], tokens the slots hold [T]) -> the rotation of the step's tokens.
Rotate = Callable[[torch.Tensor, torch.Tensor], Rotation | NeighbourRotation | Rotation2D]


@dataclass(frozen=True, slots=True)
class LayerParts:
    """One layer. output_norm, down_norm: a sandwich's, of what attention and MLP add.

    head_norms: of queries and keys before they turn.
    """

    input_norm: LayerNorm | RMSNorm
    query_key_value: ColumnParallelLinear | StackedLinear
    output: RowParallelLinear
    output_norm: RMSNorm | None
    post_norm: LayerNorm | RMSNorm
    up: ColumnParallelLinear | StackedLinear
    down: RowParallelLinear
    down_norm: RMSNorm | None
    head_norms: HeadNorms | None = None


@dataclass(frozen=True, slots=True)
class StepParts:
    """A model. alpha, keeps_sum: of its norms (decode_ops.add_norm). gating: of `up`'s halves."""

    layers: list[LayerParts]
    final_norm: LayerNorm | RMSNorm
    embedding: VocabParallelEmbedding
    head: VocabParallelEmbedding
    rotate: Rotate
    heads: HeadLayout
    alpha: float
    keeps_sum: bool
    activation: Activation
    gating: Gating


def parts_of(model: Model) -> StepParts:
    """Raises UnsupportedModelError for an architecture that has no decode step."""
    if isinstance(model, GLM130B | ChatGLM6B):
        return _deep_norm(model)
    if isinstance(model, CausalModel):
        return _pre_norm(model)
    raise UnsupportedModelError(f"{model.config.architecture} has no decode step of its own")


def _deep_norm(model: GLM130B | ChatGLM6B) -> StepParts:
    """GLM-130B (GeGLU, the value half first) and ChatGLM-6B (no gate, two rotations)."""
    config = model.config
    is_gated = isinstance(model, GLM130B)
    layers = [
        LayerParts(
            input_norm=layer.input_layernorm,
            query_key_value=layer.attention.query_key_value,
            output=layer.attention.dense,
            output_norm=None,
            post_norm=layer.post_attention_layernorm,
            up=layer.mlp.dense_h_to_4h,
            down=layer.mlp.dense_4h_to_h,
            down_norm=None,
        )
        for layer in model.layers
    ]
    return StepParts(
        layers=layers,
        final_norm=model.final_layernorm,
        embedding=model.word_embeddings,
        head=model.word_embeddings,
        rotate=_rotate_by_id(model.rotary),
        heads=HeadLayout.per_head(
            num_heads=model.num_heads,
            head_dim=config.head_dim,
            pair=config.head_dim // (2 if is_gated else 4),
        ),
        alpha=(2 * config.num_layers) ** 0.5,
        keeps_sum=False,
        activation="gelu" if is_gated else "gelu_tanh",
        gating="up_gate" if is_gated else "none",
    )


def _rotate_by_id(rotary: RotaryTable | RotaryTable2D) -> Rotate:
    if isinstance(rotary, RotaryTable):
        return lambda position_ids, _lengths: rotary.at(position_ids)
    # The block is index - position, and 0 in the prompt: models/chatglm6b.py.
    return lambda position_ids, lengths: rotary.at(
        position_ids, (lengths - position_ids).clamp(min=0)
    )


def _pre_norm(model: CausalModel) -> StepParts:
    """LLaMA, Qwen2/3, GLM-4 and ChatGLM2/3: SwiGLU, the gate first."""
    config = model.config
    layers = [
        LayerParts(
            input_norm=layer.input_layernorm,
            query_key_value=layer.attention.query_key_value,
            output=layer.attention.output,
            output_norm=(
                layer.post_self_attn_layernorm if isinstance(layer, SandwichLayer) else None
            ),
            post_norm=layer.post_attention_layernorm,
            up=layer.mlp.gate_up,
            down=layer.mlp.down,
            down_norm=layer.post_mlp_layernorm if isinstance(layer, SandwichLayer) else None,
            head_norms=_head_norms(layer.attention),
        )
        for layer in model.layers
    ]
    return StepParts(
        layers=layers,
        final_norm=model.final_norm,
        embedding=model.embedding,
        head=model.head,
        rotate=lambda position_ids, _lengths: model.rotary.at(position_ids),
        heads=HeadLayout.in_blocks(
            num_heads=model.num_heads,
            num_kv_heads=model.num_kv_heads,
            head_dim=config.head_dim,
            pair=1 if model.has_neighbour_pairs else config.head_dim // 2,
        ),
        alpha=1.0,
        keeps_sum=True,
        activation="silu",
        gating="gate_up",
    )


def _head_norms(attention: GroupedAttention) -> HeadNorms | None:
    query, key = attention.query_norm, attention.key_norm
    if query is None or key is None:
        return None
    return HeadNorms(query.weight.contiguous(), key.weight.contiguous(), query.epsilon)
