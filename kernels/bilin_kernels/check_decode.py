"""What `check` says of the kernels between the linears: norm, rotary positions, attention.

Random inputs against reference.py in float64, outputs and memory that begin as NaN, every case
twice. Runs wherever a launcher does: on a GPU, and on the shim that stands for one in tests.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from bilin_kernels import decode_ops, reference
from bilin_kernels.decode_ops import HeadLayout, HeadNorms, SlotCache
from bilin_kernels.loader import Launcher
from bilin_kernels.plan import plan_attention

_UNIT = {torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}  # last place, relative


class WrongResultError(Exception):
    """A case gave a wrong result; the message says by how much."""


@dataclass(frozen=True, slots=True)
class NormCase:
    """One fused norm: GLM-130B's (LayerNorm, the normalized value goes on), or a sandwich's."""

    width: int
    rows: int
    dtype: torch.dtype
    is_sandwich: bool


@dataclass(frozen=True, slots=True)
class HeadCase:
    """A token in each of the slots: append, then attend. lengths: tokens held before.

    has_norms: queries and keys are normalized head by head before they turn.
    """

    lengths: tuple[int, ...]
    num_heads: int
    num_kv_heads: int
    head_dim: int
    pair: int
    dtype: torch.dtype = torch.float16
    x: str = "normal"
    has_norms: bool = False


def norm_cases() -> Iterator[NormCase]:
    """Every number of vectors a thread takes."""
    dtypes = (torch.float16, torch.bfloat16)
    for width, rows, dtype in itertools.product((64, 4096, 6144, 12288), (1, 8), dtypes):
        for is_sandwich in (False, True):
            yield NormCase(width, rows, dtype, is_sandwich)


def head_cases(*, short: bool) -> Iterator[HeadCase]:
    """Group sizes and head widths of the supported models, lengths at every edge."""
    lengths: list[tuple[int, ...]] = [(0,), (15, 16, 17), (127, 128, 129, 130, 3, 0, 1, 2)]
    if not short:
        lengths += [(2047,), (8191, 5), (511,) * 8]
    for many, (ratio, kv_heads), d in itertools.product(
        lengths, ((1, 4), (8, 2), (16, 2), (24, 2)), (64, 128)
    ):
        yield HeadCase(many, ratio * kv_heads, kv_heads, d, d // 2)
    yield HeadCase((300, 20), 32, 2, 128, 1, torch.bfloat16)
    yield HeadCase((300, 20), 8, 8, 64, 16, x="outliers")
    yield HeadCase((300, 20), 32, 8, 128, 64, torch.bfloat16, has_norms=True)
    yield HeadCase((0, 5, 17), 3, 3, 64, 32, has_norms=True)  # a last warp that is not full
    if not short:
        yield HeadCase((2000,), 96, 96, 128, 64)


def run_norm(case: NormCase, launcher: Launcher, device: torch.device) -> None:
    """Raises WrongResultError."""
    generator = torch.Generator(device).manual_seed(case.width + case.rows)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=device)

    delta, residual = random(case.rows, case.width), random(case.rows, case.width)
    weight = random(case.width)
    bias = None if case.is_sandwich else random(case.width)
    inner_weight = random(case.width) if case.is_sandwich else None
    alpha = 1.0 if case.is_sandwich else 11.83
    results = []
    for _ in range(2):
        stream = torch.full_like(delta, float("nan"))
        out = torch.full(delta.shape, float("nan"), dtype=case.dtype, device=device)
        decode_ops.launch_add_norm(
            launcher,
            stream,
            out,
            delta,
            weight,
            bias=bias,
            residual=residual,
            alpha=alpha,
            inner_weight=inner_weight,
            epsilon=1e-5,
            is_rms=case.is_sandwich,
            keeps_sum=case.is_sandwich,
        )
        results.append((stream, out))
    total, y = reference.add_norm(
        delta.double(),
        weight,
        bias=bias,
        residual=residual,
        alpha=alpha,
        inner_weight=inner_weight,
        epsilon=1e-5,
        is_rms=case.is_sandwich,
    )
    _same(results[0], results[1])
    _close("stream", results[0][0], total if case.is_sandwich else y, 4e-6)
    _close("x", results[0][1], y, _UNIT[case.dtype])


def run_heads(case: HeadCase, launcher: Launcher, device: torch.device) -> None:
    """Append and attend; raises WrongResultError."""
    generator = torch.Generator(device).manual_seed(sum(case.lengths) + case.num_heads)
    tokens, max_length, layer = len(case.lengths), max(case.lengths) + 2, 1
    options = {"num_heads": case.num_heads, "head_dim": case.head_dim, "pair": case.pair}
    if case.num_heads == case.num_kv_heads:
        heads = HeadLayout.per_head(**options)
    else:
        heads = HeadLayout.in_blocks(num_kv_heads=case.num_kv_heads, **options)
    shape = (2, 2, case.num_kv_heads, max_length, case.head_dim)
    slots = [
        torch.full(shape, float("nan"), dtype=torch.float16, device=device) for _ in case.lengths
    ]
    for slot, length in zip(slots, case.lengths, strict=True):
        held = slot[layer, :, :, :length]
        held.copy_(torch.randn(held.shape, generator=generator, device=device))
        if case.x == "outliers":
            held.mul_(torch.where(torch.rand_like(held) < 0.01, 50.0, 1.0))
    addresses = torch.tensor([slot.data_ptr() for slot in slots], device=device)
    lengths = torch.tensor(case.lengths, device=device)
    cache = SlotCache(addresses, lengths, 2, case.num_kv_heads, max_length, case.head_dim)
    qkv = torch.randn(tokens, heads.width, generator=generator, device=device).to(case.dtype)
    angles = torch.rand(2048, case.head_dim, generator=generator, device=device) * 6.3
    cos, sin = angles.cos(), angles.sin()
    rows = torch.randint(0, 2048, (tokens,), generator=generator, device=device)

    norms = None
    if case.has_norms:
        weights = torch.rand(2, case.head_dim, generator=generator, device=device) + 0.5
        norms = HeadNorms(weights[0], weights[1], 1e-6)

    query = torch.full(
        (tokens, case.num_heads, case.head_dim), float("nan"), dtype=torch.float16, device=device
    )
    decode_ops.launch_rope_append(launcher, query, qkv, heads, cos, sin, rows, cache, layer, norms)
    q, k, v = decode_ops.split_heads(qkv, heads)
    if norms is not None:
        q = reference.norm_heads(q, norms.query, norms.epsilon)
        k = reference.norm_heads(k, norms.key, norms.epsilon)
    _close("query", query, reference.rotate(q, cos[rows], sin[rows], heads.pair), 2.0**-10)
    k = reference.rotate(k, cos[rows], sin[rows], heads.pair)
    for token, (slot, length) in enumerate(zip(slots, case.lengths, strict=True)):
        _close("key", slot[layer, 0, :, length], k[token], 2.0**-10)
        _close("value", slot[layer, 1, :, length], v[token], 2.0**-10)
        unwritten = slot[layer, :, :, length + 1 :]
        if not (unwritten.isnan().all() and slot[0].isnan().all()):
            raise WrongResultError("the append wrote somewhere else")

    plan = plan_attention(
        tokens,
        case.num_heads,
        case.num_kv_heads,
        case.head_dim,
        max_length,
        num_sms=launcher.num_sms(device),
    )
    results = []
    for _ in range(2):
        out = torch.full(
            (tokens, case.num_heads * case.head_dim), float("nan"), dtype=case.dtype, device=device
        )
        decode_ops.launch_decode_attention(launcher, plan, out, query, cache, layer)
        results.append((out,))
    _same(results[0], results[1])
    expected = []
    for token, (slot, length) in enumerate(zip(slots, case.lengths, strict=True)):
        keys, values = slot[layer, :, :, : length + 1].double()
        expected.append(reference.decode_attention(query[token].double(), keys, values).flatten())
    # p is rounded to float16, the result to its own type
    _close("attention", results[0][0], torch.stack(expected), 2.0**-10 + _UNIT[case.dtype])


def _same(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> None:
    if not all(torch.equal(a, b) for a, b in zip(one, other, strict=True)):
        raise WrongResultError("two runs differ, or an output was not written")


def _close(what: str, got: torch.Tensor, expected: torch.Tensor, allowed: float) -> None:
    """Within `allowed` of the expected value, or of a tenth of the largest one."""
    difference = (got.double() - expected.double()).abs()
    scale = expected.double().abs().clamp(min=float(expected.double().abs().max()) / 10)
    worst = float((difference / scale).max())
    if not worst <= allowed:
        raise WrongResultError(f"{what}: relative error {worst:.2e}, allowed {allowed:.0e}")
