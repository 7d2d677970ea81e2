"""GLM-130B's architecture, trainable: the readable twin of `models/glm130b.py` with gradients.

Tensor names are the checkpoint's (glm.md 2.2), so exporting renames nothing. Sources: glm.md 1.2
to 1.6 for the maths, 8 for the initialisation and the gradient shrink.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from bilin_engine.pretrain.samples import IGNORED, PADDING_BLOCK

_ROPE_BASE = 10000.0
_GPU_KERNELS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]  # flash takes no mask


@dataclass(frozen=True, slots=True)
class GlmSize:
    """Widths of a GLM. inner_size: of one half of the GLU; context: tokens, for the export."""

    vocab_size: int = 8192
    hidden_size: int = 256
    num_layers: int = 6
    num_heads: int = 4
    inner_size: int = 704
    context: int = 512

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            message = (
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )
            raise ValueError(message)

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def alpha(self) -> float:
        """DeepNorm's factor on the normalised residual."""
        return (2 * self.num_layers) ** 0.5

    @property
    def num_parameters(self) -> int:
        """All weights, embedding counted once."""
        h, inner = self.hidden_size, self.inner_size
        linears = 3 * h * h + 3 * h + h * h + h + 2 * inner * h + 2 * inner + h * inner + h
        return self.vocab_size * h + self.num_layers * (linears + 4 * h) + 2 * h


class _Linear(nn.Linear):
    """A linear that can compute with INT4-rounded weights while its own stay exact.

    fake_quant_group: columns that share a scale; 0 = off. The gradient passes straight through.
    """

    fake_quant_group: int = 0

    def forward(self, input: Tensor) -> Tensor:
        """y = x W^T + b, W rounded where asked."""
        weight = self.weight
        if self.fake_quant_group:
            weight = weight + (round_int4(weight.detach(), self.fake_quant_group) - weight.detach())
        return functional.linear(input, weight, self.bias)


def round_int4(weight: Tensor, group_size: int) -> Tensor:
    """What INT4 storage gives back: codes -7 to 7 times a float16 scale per group of a row."""
    groups = weight.float().unflatten(1, (-1, group_size))
    scales = (groups.abs().amax(dim=-1, keepdim=True) / 7).half().float()
    codes = (groups / scales.clamp_min(2.0**-24)).round().clamp(-7, 7)
    return (codes * scales).flatten(1).to(weight.dtype)


class _Attention(nn.Module):
    """Multi-head attention, q, k and v interleaved per head."""

    def __init__(self, size: GlmSize) -> None:
        super().__init__()
        self.query_key_value = _Linear(size.hidden_size, 3 * size.hidden_size)
        self.dense = _Linear(size.hidden_size, size.hidden_size)
        self._num_heads, self._head_dim = size.num_heads, size.head_dim

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], visible: Tensor, wanted: Tensor | None
    ) -> Tensor:
        """x: [B, T, hidden]; rope: cos and sin [B, 1, T, D]; visible: bool [B, 1, T, T].

        wanted: int64 [N], positions of the flattened [B T] to return as [N, hidden]; None for all.
        """
        rows, length, _ = x.shape
        qkv = self.query_key_value(x).view(rows, length, self._num_heads, 3 * self._head_dim)
        q, k, v = qkv.transpose(1, 2).split(self._head_dim, dim=-1)
        q, k = _rotate(q, rope).to(v.dtype), _rotate(k, rope).to(v.dtype)
        # On the CPU the flash kernel's backward pass takes a quarter longer than plain matmuls at
        # these lengths (measured: 1840 and 2240 tokens per processor second).
        kernels = [SDPBackend.MATH] if x.device.type == "cpu" else _GPU_KERNELS
        with sdpa_kernel(kernels):
            y = functional.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        y = y.transpose(1, 2).reshape(rows, length, -1)
        return self.dense(_take(y, wanted))


class _Mlp(nn.Module):
    """GeGLU, value half first: W_down (u * gelu(g))."""

    def __init__(self, size: GlmSize) -> None:
        super().__init__()
        self.dense_h_to_4h = _Linear(size.hidden_size, 2 * size.inner_size)
        self.dense_4h_to_h = _Linear(size.inner_size, size.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, hidden]."""
        value, gate = self.dense_h_to_4h(x).chunk(2, dim=-1)
        return self.dense_4h_to_h(value * functional.gelu(gate))


class _Layer(nn.Module):
    """One block: the residual is the normalised tensor, times alpha."""

    def __init__(self, size: GlmSize) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(size.hidden_size)
        self.attention = _Attention(size)
        self.post_attention_layernorm = nn.LayerNorm(size.hidden_size)
        self.mlp = _Mlp(size)
        self._alpha = size.alpha

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        visible: Tensor,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """x: [B, T, hidden]; wanted: as in `_Attention.forward`."""
        a = self.input_layernorm(x)
        attended = self.attention(a, rope, visible, wanted)
        b = self.post_attention_layernorm(self._alpha * _take(a, wanted) + attended)
        return self._alpha * b + self.mlp(b)


class _Transformer(nn.Module):
    def __init__(self, size: GlmSize) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(size.vocab_size, size.hidden_size)
        self.layers = nn.ModuleList(_Layer(size) for _ in range(size.num_layers))
        self.final_layernorm = nn.LayerNorm(size.hidden_size)


class TrainableGlm(nn.Module):
    """A GLM for training. `state_dict` keys are the checkpoint's tensor names.

    embedding_gradient: share of the embedding's gradient that is kept (glm.md 8: 0.1).
    """

    def __init__(self, size: GlmSize, *, embedding_gradient: float = 0.1) -> None:
        super().__init__()
        self.size = size
        self.transformer = _Transformer(size)
        self._embedding_gradient = embedding_gradient
        self._initialise()

    @property
    def blocks(self) -> list[_Layer]:
        """The layers in order."""
        return [layer for layer in self.transformer.layers if isinstance(layer, _Layer)]

    def _initialise(self) -> None:
        """DeepNorm: Xavier-normal, times (2N)^-1/2 for value, output and MLP; biases 0.

        The embedding's deviation is 0.3 hidden_size^-1/2. The final state resembles the input
        embedding at first, so with tied weights a token begins by predicting itself: at full
        deviation with a logit of hidden_size^1/2, and a loss far above log(vocab_size).
        """
        size = self.size
        shrink = (2 * size.num_layers) ** -0.5
        nn.init.normal_(self.transformer.word_embeddings.weight, std=0.3 * size.hidden_size**-0.5)
        for layer in self.blocks:
            for module in layer.modules():
                if isinstance(module, nn.Linear):
                    nn.init.zeros_(module.bias)
            # Fan-in and fan-out of one of q, k, v, not of the fused matrix.
            std = (2 / (2 * size.hidden_size)) ** 0.5
            fused = layer.attention.query_key_value.weight.data.view(
                size.num_heads, 3, size.head_dim, size.hidden_size
            )
            nn.init.normal_(fused[:, :2], std=std)
            nn.init.normal_(fused[:, 2], std=std * shrink)
            nn.init.xavier_normal_(layer.attention.dense.weight, gain=shrink)
            std = (2 / (size.hidden_size + size.inner_size)) ** 0.5
            nn.init.normal_(layer.mlp.dense_h_to_4h.weight, std=std * shrink)
            nn.init.xavier_normal_(layer.mlp.dense_4h_to_h.weight, gain=shrink)

    def set_fake_quantization(self, group_size: int) -> None:
        """INT4 rounding in every linear from now on; 0 = off."""
        for module in self.modules():
            if isinstance(module, _Linear):
                module.fake_quant_group = group_size

    def hidden(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        block_ids: Tensor,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Final states [B, T, hidden]; int64 arguments [B, T], see samples.Arrays.

        wanted: int64 [N], positions of the flattened [B T]; only these are returned, [N, hidden].
        Half the positions and more carry no loss: nobody reads them after the last attention.
        """
        kept = self._embedding_gradient
        x = functional.embedding(input_ids, self.transformer.word_embeddings.weight)
        x = x * kept + x.detach() * (1 - kept)
        rope = rotary_tables(position_ids, self.size.head_dim)
        visible = visibility(block_ids)
        *layers, last_layer = self.blocks
        for layer in layers:
            x = layer(x, rope, visible)
        return self.transformer.final_layernorm(last_layer(x, rope, visible, wanted))

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, block_ids: Tensor, targets: Tensor
    ) -> Tensor:
        """Sum over the targets of -log p, float32. targets: [B, T], IGNORED where there is none."""
        targets = targets.flatten()
        wanted = (targets != IGNORED).nonzero().flatten()
        x = self.hidden(input_ids, position_ids, block_ids, wanted)
        logits = functional.linear(x, self.transformer.word_embeddings.weight)
        return functional.cross_entropy(logits.float(), targets[wanted], reduction="sum")

    def logits(self, input_ids: Tensor, position_ids: Tensor, block_ids: Tensor) -> Tensor:
        """float32 [B, T, V]."""
        x = self.hidden(input_ids, position_ids, block_ids)
        return functional.linear(x, self.transformer.word_embeddings.weight).float()


def _take(x: Tensor, wanted: Tensor | None) -> Tensor:
    """The rows `wanted` of [B, T, hidden] as [N, hidden]; x itself for None."""
    return x if wanted is None else x.flatten(0, 1).index_select(0, wanted)


def visibility(block_ids: Tensor) -> Tensor:
    """bool [B, 1, T, T]: row i sees the prefix, and its own block up to itself.

    Padding sees padding, so that no row is empty.
    """
    length = block_ids.shape[1]
    rows, columns = block_ids.unsqueeze(2), block_ids.unsqueeze(1)
    causal = torch.ones(length, length, dtype=torch.bool, device=block_ids.device).tril()
    in_prefix = (columns == 0) & (rows != PADDING_BLOCK)
    return (in_prefix | ((rows == columns) & causal)).unsqueeze(1)


def rotary_tables(position_ids: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """cos and sin, float32 [B, 1, T, D], for the half-split convention."""
    exponents = torch.arange(0, head_dim, 2, device=position_ids.device, dtype=torch.float32)
    angles = position_ids.float().unsqueeze(-1) * _ROPE_BASE ** (-exponents / head_dim)
    angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rope
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
