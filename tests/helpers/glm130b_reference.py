"""GLM-130B in float64, slow and plain: one token and one head at a time, whole masks.

Written from the fact sheet (sections 1.2 to 1.6 and 3.5) alone; it shares no code with the engine.
`planted` puts in one well-known mistake, to show that a comparison notices it.
"""

import math

import torch

MISTAKES = (
    "glu_gate_first",
    "tanh_gelu",
    "qkv_in_blocks",
    "no_alpha",
    "residual_before_norm",
    "no_final_norm",
    "causal_prefix",
    "sop_in_prefix",
    "interleaved_rope",
    "epsilon",
)


class Reference:
    """weights: by the names of section 2.2. planted: one of MISTAKES, or none."""

    def __init__(self, weights, *, num_layers, num_heads, float16_rope=False, planted=""):
        assert planted in ("", *MISTAKES)
        self.weights = {name: tensor.double() for name, tensor in weights.items()}
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.float16_rope = float16_rope
        self.planted = planted
        self.hidden = self.weights["transformer.final_layernorm.weight"].shape[0]
        self.head_dim = self.hidden // num_heads
        self.alpha = (2 * num_layers) ** 0.5

    def logprobs(self, token_ids, position_ids, prompt_length):
        """Log-probs [T, V] at every position.

        prompt_length: n of section 3.5, `sop` included; columns 0 to n-2 are seen by all. 0 or 1
        = all causal.
        """
        x = [self.weights["transformer.word_embeddings.weight"][t] for t in token_ids]
        visible = self.mask(len(token_ids), prompt_length)
        for layer in range(self.num_layers):
            x = self.layer(x, position_ids, visible, f"transformer.layers.{layer}")
        if self.planted != "no_final_norm":
            x = [self.norm(row, "transformer.final_layernorm") for row in x]
        table = self.weights["transformer.word_embeddings.weight"]
        return torch.stack([torch.log_softmax(table @ row, dim=0) for row in x])

    def mask(self, length, prompt_length):
        columns = prompt_length if self.planted == "sop_in_prefix" else prompt_length - 1
        if self.planted == "causal_prefix":
            columns = 0
        return [[j < columns or j <= i for j in range(length)] for i in range(length)]

    def norm(self, row, name):
        epsilon = 1e-3 if self.planted == "epsilon" else 1e-5
        mean = row.mean()
        variance = ((row - mean) ** 2).mean()
        scaled = (row - mean) / torch.sqrt(variance + epsilon)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def linear(self, row, name):
        return self.weights[f"{name}.weight"] @ row + self.weights[f"{name}.bias"]

    def layer(self, x, position_ids, visible, name):
        alpha = 1.0 if self.planted == "no_alpha" else self.alpha
        a = [self.norm(row, f"{name}.input_layernorm") for row in x]
        attended = self.attention(a, position_ids, visible, f"{name}.attention")
        kept = x if self.planted == "residual_before_norm" else a
        m = [alpha * r + t for r, t in zip(kept, attended, strict=True)]
        b = [self.norm(row, f"{name}.post_attention_layernorm") for row in m]
        return [alpha * row + self.mlp(row, f"{name}.mlp") for row in b]

    def mlp(self, row, name):
        y = self.linear(row, f"{name}.dense_h_to_4h")
        half = y.shape[0] // 2
        u, g = y[:half], y[half:]
        if self.planted == "glu_gate_first":
            u, g = g, u
        if self.planted == "tanh_gelu":
            gelu = 0.5 * g * (1 + torch.tanh((2 / math.pi) ** 0.5 * (g + 0.044715 * g**3)))
        else:
            gelu = 0.5 * g * (1 + torch.erf(g / 2**0.5))
        return self.linear(u * gelu, f"{name}.dense_4h_to_h")

    def attention(self, x, position_ids, visible, name):
        d = self.head_dim
        mixed = [self.linear(row, f"{name}.query_key_value") for row in x]
        out = [torch.zeros(self.hidden, dtype=torch.float64) for _ in x]
        for head in range(self.num_heads):
            if self.planted == "qkv_in_blocks":
                parts = [[row[b * self.hidden + head * d :][:d] for row in mixed] for b in range(3)]
            else:
                parts = [[row[head * 3 * d + b * d :][:d] for row in mixed] for b in range(3)]
            queries = [self.rotate(q, p) for q, p in zip(parts[0], position_ids, strict=True)]
            keys = [self.rotate(k, p) for k, p in zip(parts[1], position_ids, strict=True)]
            for i, query in enumerate(queries):
                scores = torch.tensor(
                    [
                        float(query @ key) / d**0.5 if visible[i][j] else -10000.0
                        for j, key in enumerate(keys)
                    ],
                    dtype=torch.float64,
                )
                weights = torch.softmax(scores, dim=0)
                out[i][head * d : (head + 1) * d] = sum(
                    w * v for w, v in zip(weights, parts[2], strict=True)
                )
        return [self.linear(row, f"{name}.dense") for row in out]

    def rotate(self, vector, position):
        d = self.head_dim
        out = vector.clone()
        for j in range(d // 2):
            if self.float16_rope:
                inverse = torch.tensor(10000.0 ** (-2 * j / d)).half()
                angle = (torch.tensor(float(position)).half() * inverse).float()
                cos, sin = float(torch.cos(angle).half()), float(torch.sin(angle).half())
            else:
                angle = position * 10000.0 ** (-2 * j / d)
                cos, sin = math.cos(angle), math.sin(angle)
            first, second = (
                (2 * j, 2 * j + 1)
                if self.planted == "interleaved_rope"
                else (
                    j,
                    j + d // 2,
                )
            )
            out[first] = vector[first] * cos - vector[second] * sin
            out[second] = vector[second] * cos + vector[first] * sin
        return out
