"""csrc/cpu/step.c against a layer put together from reference.py in float64."""

import ctypes
import itertools

import pytest
import torch
from cpu_kernels import needs_cpu_kernels

from bilin_kernels import cpu_ops, packing, reference
from bilin_kernels.cpu_step import CpuStep, StepLayer, StepNorm, StepShape
from bilin_kernels.decode_ops import HeadLayout, HeadNorms

pytestmark = needs_cpu_kernels

WIDTH, INNER, LAYERS, LONGEST = 64, 96, 2, 150


class Case:
    """A random model of two layers with memory for some slots, and the same in float64."""

    def __init__(self, heads: HeadLayout, *, has_head_norms: bool = False, **shape) -> None:
        self.generator = torch.Generator().manual_seed(7)
        self.heads = heads
        self.shape = StepShape(heads=heads, max_length=LONGEST, **shape)
        parts = 1 if self.shape.gating == "none" else 2
        context = heads.num_heads * heads.head_dim
        sizes = [(heads.width, WIDTH), (WIDTH, context), (parts * INNER, WIDTH), (WIDTH, INNER)]
        self.weights = [[self.linear(n, k, bits) for n, k in sizes] for bits in (4, 8)]
        self.norms = [[self.norm(), self.norm()] for _ in range(LAYERS)]
        self.final = self.norm()
        self.head_norms = [self.norm_of_heads() if has_head_norms else None for _ in range(LAYERS)]
        layers = [
            StepLayer(norms[0], norms[1], *(weight for weight, _ in weights), heads=of_heads)
            for norms, weights, of_heads in zip(
                self.norms, self.weights, self.head_norms, strict=True
            )
        ]
        self.step = CpuStep(self.shape, layers, self.final)

    def linear(self, n: int, k: int, bits: int):
        half = 2 ** (bits - 1)
        codes = torch.randint(-half, half, (n, k), dtype=torch.int8, generator=self.generator)
        scales = (torch.rand(n, k // 32, generator=self.generator) / (half * k**0.5)).half()
        bias = torch.randn(n, generator=self.generator) / 8
        exact = reference.dequantize(codes, scales, torch.float32).double()
        if bits == 8:
            return cpu_ops.prepack_int8(codes, scales, bias), (exact, bias)
        return cpu_ops.prepack_int4(packing.pack_int4(codes), scales, bias), (exact, bias)

    def norm(self) -> StepNorm:
        vector = torch.rand(3, WIDTH, generator=self.generator) + 0.5
        is_sandwich = self.shape.is_rms and self.shape.keeps_sum
        return StepNorm(
            vector[0].contiguous(),
            None if self.shape.is_rms else vector[1].contiguous(),
            vector[2].contiguous() if is_sandwich else None,
        )

    def norm_of_heads(self) -> HeadNorms:
        query, key = torch.rand(2, self.heads.head_dim, generator=self.generator) + 0.5
        return HeadNorms(query, key, 1e-6)

    def memory(self, slots: int) -> torch.Tensor:
        shape = (slots, LAYERS, 2, self.heads.num_kv_heads, LONGEST, self.heads.head_dim)
        return torch.randn(shape, generator=self.generator).to(self.shape.kv_dtype)

    def expected(self, embedded, cos, sin, memory, lengths):
        """(x, memory) in float64, by reference.py."""
        heads = self.heads
        memory, stream, delta = memory.double(), None, embedded.double()
        for index, (weights, norms) in enumerate(zip(self.weights, self.norms, strict=True)):
            exact = [pair for _, pair in weights]
            stream, x = self.normed(norms[0], stream, delta)
            row = self.product(x, exact[0])
            q = self.places(row, 0, heads.q_stride, heads.num_heads)
            k = self.places(row, heads.k_offset, heads.k_stride, heads.num_kv_heads)
            v = self.places(row, heads.v_offset, heads.v_stride, heads.num_kv_heads)
            of_heads = self.head_norms[index]
            if of_heads is not None:
                q = reference.norm_heads(q, of_heads.query, of_heads.epsilon)
                k = reference.norm_heads(k, of_heads.key, of_heads.epsilon)
            q = reference.rotate(q, cos.double(), sin.double(), heads.pair)
            k = reference.rotate(k, cos.double(), sin.double(), heads.pair)
            rows = []
            for token, length in enumerate(lengths):
                memory[token, index, 0, :, length] = k[token]
                memory[token, index, 1, :, length] = v[token]
                keys, values = memory[token, index, :, :, : length + 1]
                rows.append(reference.decode_attention(q[token], keys, values).flatten())
            delta = self.product(torch.stack(rows), exact[1])
            stream, x = self.normed(norms[1], stream, delta)
            inner = reference.linear(
                x, exact[2][0], bias=exact[2][1], activation=self.shape.activation,
                gating=self.shape.gating,
            )  # fmt: skip
            delta = self.product(inner, exact[3])
        _, x = self.normed(self.final, stream, delta)
        return x, memory

    def places(self, row, start, stride, count):
        at = [start + i * stride for i in range(count)]
        return torch.stack([row[:, a : a + self.heads.head_dim] for a in at], dim=1)

    def product(self, x, exact):
        return reference.linear(x, exact[0], bias=exact[1])

    def normed(self, norm, stream, delta):
        total, y = reference.add_norm(
            delta, norm.weight, bias=norm.bias, residual=stream, alpha=self.shape.alpha,
            inner_weight=norm.inner_weight, epsilon=self.shape.epsilon, is_rms=self.shape.is_rms,
        )  # fmt: skip
        return total if self.shape.keeps_sum else y, y

    def run(self, embedded, cos, sin, memory, lengths):
        blocks = [memory[slot].data_ptr() for slot in range(len(lengths))]
        self.step.begin(embedded, cos, sin, blocks, lengths)
        for index in range(LAYERS):  # one at a time; together: the test below
            self.step.layers(index, 1)
        return self.step.end().clone()

    def inputs(self, tokens: int):
        embedded = torch.randn(tokens, WIDTH, generator=self.generator)
        angles = torch.rand(tokens, self.heads.head_dim, generator=self.generator)
        return embedded, angles.cos(), angles.sin()


def one_of(inputs, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    embedded, cos, sin = (value[index : index + 1] for value in inputs)
    return embedded, cos, sin


DEEP_NORM = {"is_rms": False, "alpha": 1.7, "keeps_sum": False, "activation": "gelu",
             "gating": "up_gate", "epsilon": 1e-5}  # fmt: skip
SANDWICH = {"is_rms": True, "alpha": 1.0, "keeps_sum": True, "activation": "silu",
            "gating": "gate_up", "epsilon": 1e-6}  # fmt: skip
PLAIN = {**DEEP_NORM, "activation": "gelu_tanh", "gating": "none"}
LAYOUTS = {
    "per head": HeadLayout.per_head(num_heads=4, head_dim=32, pair=16),
    "shared keys": HeadLayout.in_blocks(num_heads=6, num_kv_heads=2, head_dim=64, pair=1),
    "wide": HeadLayout.in_blocks(num_heads=2, num_kv_heads=1, head_dim=256, pair=128),
    "one key head": HeadLayout.in_blocks(num_heads=40, num_kv_heads=1, head_dim=16, pair=4),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("shape", "kv_dtype"),
    [(DEEP_NORM, torch.float32), (SANDWICH, torch.float16), (PLAIN, torch.bfloat16)],
    ids=["DeepNorm", "sandwich", "no gate"],
)
def test_a_step_is_its_parts(layout, shape, kv_dtype):
    case = Case(LAYOUTS[layout], kv_dtype=kv_dtype, **shape)
    lengths = [0, 1, 31, 32, 33, 149]
    memory, inputs = case.memory(len(lengths)), case.inputs(len(lengths))
    x, seen = case.expected(*inputs, memory, lengths)
    got = case.run(*inputs, memory, lengths)
    # Activations are rounded to 16 bits eight times on the way, keys and values once.
    tolerance = {torch.float32: 2e-3, torch.float16: 4e-3, torch.bfloat16: 3e-2}[kv_dtype]
    assert (got.double() - x).abs().max() < tolerance * x.abs().max()
    assert (memory.double() - seen).abs().max() < tolerance * seen.abs().max()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_heads_are_normalized_before_they_turn(layout):
    case = Case(LAYOUTS[layout], has_head_norms=True, kv_dtype=torch.float32, **SANDWICH)
    lengths = [0, 31, 149]
    memory, inputs = case.memory(len(lengths)), case.inputs(len(lengths))
    x, seen = case.expected(*inputs, memory, lengths)
    got = case.run(*inputs, memory, lengths)
    assert (got.double() - x).abs().max() < 2e-3 * x.abs().max()
    assert (memory.double() - seen).abs().max() < 2e-3 * seen.abs().max()


def test_a_step_has_the_same_bits_for_any_threads_and_neighbours():
    case = Case(LAYOUTS["shared keys"], kv_dtype=torch.float32, **SANDWICH)
    lengths = [5, 70, 3]
    memory, inputs = case.memory(3), case.inputs(3)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(case.run(*inputs, memory.clone(), lengths))
    finally:
        torch.set_num_threads(threads)
    alone = [
        case.run(*one_of(inputs, i), memory[i : i + 1].clone(), [lengths[i]]) for i in range(3)
    ]
    for one, other in itertools.pairwise([*results, torch.cat(alone)]):
        assert torch.equal(one, other)


def test_layers_together_are_layers_one_at_a_time():
    case = Case(LAYOUTS["shared keys"], kv_dtype=torch.float32, **SANDWICH)
    memory, inputs = case.memory(1), case.inputs(1)
    one_at_a_time = case.run(*inputs, memory.clone(), [5])
    case.step.begin(*inputs, [memory.data_ptr()], [5])
    case.step.layers(0, LAYERS)
    assert torch.equal(case.step.end(), one_at_a_time)


def test_a_step_writes_one_token_and_nothing_else():
    case = Case(LAYOUTS["per head"], kv_dtype=torch.float32, **DEEP_NORM)
    memory = case.memory(1)
    before = memory.clone()
    case.run(*case.inputs(1), memory, [9])
    changed = (memory != before).nonzero()
    assert set(changed[:, 4].tolist()) == {9}
    assert len(changed) == LAYERS * 2 * 4 * 32


def test_memory_behind_a_slot_is_not_read():
    case = Case(LAYOUTS["per head"], kv_dtype=torch.float32, **DEEP_NORM)
    memory = case.memory(1)
    memory[:, :, :, :, 10:] = float("nan")
    assert case.run(*case.inputs(1), memory, [9]).isfinite().all()


def test_exponentials_of_any_score_are_right():
    """Scores that differ by hundreds: the maximum follows, the small ones vanish."""
    heads = HeadLayout.per_head(num_heads=1, head_dim=32, pair=16)
    case = Case(heads, kv_dtype=torch.float32, **DEEP_NORM)
    memory = case.memory(1) * 60
    inputs = case.inputs(1)
    x, _ = case.expected(*inputs, memory, [100])
    got = case.run(*inputs, memory, [100])
    assert (got.double() - x).abs().max() < 5e-3 * x.abs().max()


def test_what_a_step_does_not_compute_is_refused():
    with pytest.raises(ValueError, match="head_dim 24"):
        Case(HeadLayout.per_head(num_heads=2, head_dim=24, pair=12), kv_dtype=torch.float32,
             **DEEP_NORM)  # fmt: skip
    with pytest.raises(ValueError, match=r"keys and values of torch\.int8"):
        Case(LAYOUTS["per head"], kv_dtype=torch.int8, **DEEP_NORM)
    case = Case(LAYOUTS["per head"], kv_dtype=torch.float32, **DEEP_NORM)
    with pytest.raises(ValueError, match="embedded of shape"):
        case.step.begin(torch.ones(1, 8), torch.ones(1, 32), torch.ones(1, 32), [0], [0])


def test_structures_are_as_long_as_c_says(tmp_path):
    """ctypes' idea of the structures is the compiler's."""
    import subprocess

    from bilin_kernels import cpu_compile, cpu_step

    source = tmp_path / "sizes.c"
    source.write_text(
        f'#include "{cpu_compile.SOURCE_DIR}/step.c"\n'
        "long bilin_size(int which) {\n"
        "  const long sizes[] = {sizeof(struct linear), sizeof(struct layer),\n"
        "                        sizeof(struct model), sizeof(struct state)};\n"
        "  return sizes[which];\n}\n"
    )
    library = tmp_path / "sizes.so"
    target = cpu_compile.TARGETS[-1]
    subprocess.run(
        [cpu_compile.find_compiler(), "-O0", "-shared", "-fPIC", *target.flags, str(source), "-o",
         str(library), "-lm"],
        check=True,
    )  # fmt: skip
    size = ctypes.CDLL(str(library)).bilin_size
    size.restype = ctypes.c_long
    ours = (cpu_ops.LinearStructure, cpu_step._Layer, cpu_step._Model, cpu_step._State)
    assert [size(i) for i in range(4)] == [ctypes.sizeof(one) for one in ours]
