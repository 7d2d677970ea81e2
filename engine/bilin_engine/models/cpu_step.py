"""One token of one slot on the CPU, in the fewest torch calls: a small model's time goes there.

The models' own `forward` is the specification, and gives the same bits: this is its arithmetic
without the general case around it (several slots, prefixes, ranks). A layer is some twenty calls
instead of sixty; each costs two or three microseconds, whatever it computes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from bilin_engine.layers.int4_cpu import Int4CpuLinear
from bilin_engine.layers.norm import RMSNorm
from bilin_engine.models.base import Model, Poll
from bilin_engine.models.causal import CausalModel, PreNormLayer
from bilin_engine.models.glm4 import SandwichLayer


@dataclass(frozen=True, slots=True)
class _Layer:
    input_norm: RMSNorm
    query_key_value: Int4CpuLinear
    query_key_value_bias: torch.Tensor | None
    output: Int4CpuLinear
    output_bias: torch.Tensor | None
    output_norm: RMSNorm | None  # the sandwich's, of what attention adds
    post_norm: RMSNorm
    gate_up: Int4CpuLinear
    gate_up_bias: torch.Tensor | None
    down: Int4CpuLinear
    down_bias: torch.Tensor | None
    down_norm: RMSNorm | None


class CpuStep:
    """The decode step of a causal model with INT4 weights, whole on the CPU; shares its weights."""

    def __init__(self, model: CausalModel, layers: list[_Layer]) -> None:
        self._model = model
        self._layers = layers
        dim = model.config.head_dim
        self._head_dim = dim
        self._num_turned = (model.num_heads + model.num_kv_heads) * dim
        self._num_query = model.num_heads * dim

    @classmethod
    def of(cls, model: Model) -> "CpuStep | None":
        """The step of a model, or None for one that it does not know."""
        if not isinstance(model, CausalModel) or model.embedding.num_ranks > 1:
            return None
        layers = [_layer_of(layer) for layer in model.layers]
        whole = [layer for layer in layers if layer is not None]
        return cls(model, whole) if len(whole) == len(layers) else None

    def __call__(
        self, token_id: int, position_id: int, block: torch.Tensor, length: int, poll: Poll
    ) -> torch.Tensor:
        """float32 logits [1, V]; appends to `block` [layers, 2, G, max_length, D] at `length`."""
        model = self._model
        rotate = model.rotary.at(torch.tensor([position_id]))
        x = model.embedding.embed(torch.tensor([token_id]))
        for index, layer in enumerate(self._layers):
            poll()
            mixed = layer.query_key_value.few(layer.input_norm(x)).float()
            if layer.query_key_value_bias is not None:
                mixed += layer.query_key_value_bias
            turned = rotate(mixed[:, : self._num_turned].view(1, -1, self._head_dim))
            attended = self._attend(turned[0], mixed[0], block[index], length)
            added = layer.output.few(attended)
            x = _add(x, added, layer.output_bias, layer.output_norm)
            mixed = layer.gate_up.few(layer.post_norm(x)).float()
            if layer.gate_up_bias is not None:
                mixed += layer.gate_up_bias
            gate, up = mixed.chunk(2, dim=1)
            added = layer.down.few(F.silu(gate).mul_(up))
            x = _add(x, added, layer.down_bias, layer.down_norm)
        poll()
        return model.head.logits(model.final_norm(x))

    def _attend(
        self, turned: torch.Tensor, mixed: torch.Tensor, cache: torch.Tensor, length: int
    ) -> torch.Tensor:
        """`attend` for one token. turned: [H + G, D]. mixed: what the values are the end of."""
        num_heads, dim = self._model.num_heads, self._head_dim
        cache[0, :, length] = turned[num_heads:]
        cache[1, :, length] = mixed[self._num_turned :].view(-1, dim)
        known = cache[:, :, : length + 1].unsqueeze(1)
        # The heads of a group are rows of one product, and keys are read once for all.
        query = turned[:num_heads].view(1, self._model.num_kv_heads, -1, dim).to(cache.dtype)
        return F.scaled_dot_product_attention(query, known[0], known[1]).view(1, -1)


def _add(
    x: torch.Tensor, added: torch.Tensor, bias: torch.Tensor | None, norm: RMSNorm | None
) -> torch.Tensor:
    """X plus what a linear gave, in bfloat16."""
    if bias is None and norm is None:
        return x + added
    value = added.float()
    if bias is not None:
        value += bias
    return x + (value if norm is None else norm(value))


def _layer_of(layer: PreNormLayer) -> _Layer | None:
    attention, mlp = layer.attention, layer.mlp
    linears = [*attention.linears, *mlp.linears]
    packed = [linear for linear in linears if isinstance(linear, Int4CpuLinear)]
    if len(linears) != 4 or len(packed) != 4:
        return None
    is_sandwich = isinstance(layer, SandwichLayer)
    return _Layer(
        input_norm=layer.input_layernorm,
        query_key_value=packed[0],
        query_key_value_bias=attention.query_key_value.bias,
        output=packed[1],
        output_bias=attention.output.bias,
        output_norm=layer.post_self_attn_layernorm if is_sandwich else None,
        post_norm=layer.post_attention_layernorm,
        gate_up=packed[2],
        gate_up_bias=mlp.gate_up.bias,
        down=packed[3],
        down_bias=mlp.down.bias,
        down_norm=layer.post_mlp_layernorm if is_sandwich else None,
    )
