"""csrc/norm.cu, rope_kv.cu and decode_attention.cu, on the shim, against reference.py."""

import itertools
from dataclasses import dataclass

import pytest
import torch

from bilin_kernels import decode_ops, reference
from bilin_kernels.decode_ops import HeadLayout, HeadNorms, SlotCache
from bilin_kernels.plan import plan_attention
from bilin_kernels.workspace import Workspace

F16, BF16 = torch.float16, torch.bfloat16
HALF_UNIT = {F16: 2.0**-11, BF16: 2.0**-8}  # of the last place, relative


def generator_of(*seed):
    return torch.Generator().manual_seed(sum(7**i * int(part) for i, part in enumerate(seed)))


# --- norm -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Norm:
    width: int
    rows: int = 1
    dtype: torch.dtype = F16
    is_rms: bool = False
    has_bias: bool = True
    has_residual: bool = True
    has_inner: bool = False
    keeps_sum: bool = False
    x: str = "normal"


NORMS = [
    # GLM-130B: DeepNorm; the very first one has no residual
    *(Norm(width, rows) for width, rows in ((4, 1), (64, 3), (100, 2), (516, 8), (4096, 1))),
    Norm(256, 2, has_residual=False),
    # LLaMA and GLM-4: pre-norm, and the sandwich
    *(
        Norm(w, 2, BF16, is_rms=True, has_bias=False, keeps_sum=True, has_inner=inner)
        for w, inner in itertools.product((64, 1028), (False, True))
    ),
    Norm(256, 2, is_rms=True, has_inner=True, has_residual=False, keeps_sum=True),
    *(Norm(512, 3, x=x, is_rms=rms) for x in ("outliers", "shifted") for rms in (True, False)),
    # the edges of one, two and three vectors a thread
    *(Norm(width) for width in (4100, 8192, 8196, 12288)),
]


def run_norm(launcher, case, descending=False):
    generator = generator_of(case.width, case.rows)
    shape = (case.rows, case.width)
    delta = torch.randn(shape, generator=generator)
    if case.x == "outliers":
        delta[torch.rand(shape, generator=generator) < 0.01] *= 1000
    elif case.x == "shifted":  # a mean of a thousand deviations
        delta = delta + 1000

    def vector():
        return torch.randn(case.width, generator=generator)

    options = {
        "bias": vector() if case.has_bias else None,
        "residual": torch.randn(shape, generator=generator) if case.has_residual else None,
        "alpha": 11.83 if case.has_residual else 1.0,
        "inner_weight": vector() if case.has_inner else None,
        "epsilon": 1e-5,
        "is_rms": case.is_rms,
    }
    weight = vector()
    stream = torch.full(shape, float("nan"))
    out = torch.full(shape, float("nan"), dtype=case.dtype)
    launcher.descending = descending
    reads = [delta, weight, options["bias"], options["residual"], options["inner_weight"]]
    with launcher.tensors(reads, [stream, out]):
        decode_ops.launch_add_norm(
            launcher, stream, out, delta, weight, keeps_sum=case.keeps_sum, **options
        )
    launcher.descending = False
    total, y = reference.add_norm(delta.double(), weight, **options)
    return stream, out, total if case.keeps_sum else y, y


@pytest.mark.parametrize("case", NORMS, ids=str)
def test_norm(ampere, case):
    stream, out, expected_stream, expected = run_norm(ampere, case)
    # Deviations from the mean are what is rounded: with a mean of 1000 they lose ten bits.
    error = 2e-6 if case.x != "shifted" or case.is_rms else 4e-4
    scale = expected.abs().amax()
    assert ((stream - expected_stream).abs() <= error * expected_stream.abs().amax()).all()
    assert ((out - expected).abs() <= HALF_UNIT[case.dtype] * expected.abs() + error * scale).all()


def test_norm_is_the_same_in_any_order_of_threads(ampere):
    case = Norm(1028, 3, has_inner=True)
    one, other = run_norm(ampere, case), run_norm(ampere, case, descending=True)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


# --- slots ----------------------------------------------------------------------------------------


def make_slots(lengths, kv_heads, head_dim, max_length, layers=2, fill=float("nan")):
    """Separate blocks of memory, as slots are, and the tables that point at them."""
    shape = (layers, 2, kv_heads, max_length, head_dim)
    blocks = [torch.full(shape, fill, dtype=F16) for _ in lengths]
    addresses = torch.tensor([block.data_ptr() for block in blocks])
    cache = SlotCache(addresses, torch.tensor(lengths), layers, kv_heads, max_length, head_dim)
    return blocks, cache


# --- rotary positions and append ------------------------------------------------------------------


@dataclass(frozen=True)
class Rope:
    lengths: tuple[int, ...] = (3,)
    head_dim: int = 64
    heads: int = 4
    kv_heads: int = 2
    pair: int = 32
    dtype: torch.dtype = F16
    layer: int = 1
    has_norms: bool = False


ROPES = [
    *(Rope(pair=pair, head_dim=d) for d in (64, 128) for pair in (1, d // 4, d // 2)),
    *(Rope(lengths=tuple(range(n))) for n in (2, 3, 5, 8)),
    Rope(lengths=(0, 8, 4), layer=0, dtype=BF16),  # an empty slot, a full one
    Rope(heads=16, kv_heads=1, pair=1, head_dim=128, dtype=BF16),
    Rope(heads=3, kv_heads=3),  # GLM-130B's rows: q, k, v head by head
    Rope(heads=5, kv_heads=5, head_dim=128, pair=64, lengths=(1, 2)),
    # Qwen3's norms; 3 * 8 and 9 * 8 threads leave a warp's other lanes without a head
    *(
        Rope(pair=pair, head_dim=d, has_norms=True)
        for d in (64, 128)
        for pair in (1, d // 4, d // 2)
    ),
    *(Rope(heads=n, kv_heads=n, has_norms=True, lengths=(0, 5)) for n in (1, 3)),
    Rope(heads=16, kv_heads=1, head_dim=128, pair=64, dtype=BF16, has_norms=True),
]


def layout_of(heads, kv_heads, head_dim, pair):
    if heads == kv_heads:
        return HeadLayout.per_head(num_heads=heads, head_dim=head_dim, pair=pair)
    return HeadLayout.in_blocks(
        num_heads=heads, num_kv_heads=kv_heads, head_dim=head_dim, pair=pair
    )


def rope_inputs(case, positions):
    generator = generator_of(case.heads, case.head_dim, len(case.lengths))
    layout = layout_of(case.heads, case.kv_heads, case.head_dim, case.pair)
    qkv = torch.randn(len(case.lengths), layout.width, generator=generator).to(case.dtype)
    angles = torch.rand(positions, case.head_dim, generator=generator) * 6.3
    rows = torch.randint(0, positions, (len(case.lengths),), generator=generator)
    rows[-1] = positions - 1
    return layout, qkv, angles.cos(), angles.sin(), rows


def head_norms_of(case):
    if not case.has_norms:
        return None
    weights = torch.rand(2, case.head_dim, generator=generator_of(case.head_dim)) + 0.5
    return HeadNorms(weights[0].clone(), weights[1].clone(), 1e-6)


@pytest.mark.parametrize("case", ROPES, ids=str)
def test_rope_append(ampere, case):
    layout, qkv, cos, sin, rows = rope_inputs(case, positions=2048)
    norms = head_norms_of(case)
    tokens, max_length = len(case.lengths), 9
    blocks, cache = make_slots(case.lengths, case.kv_heads, case.head_dim, max_length, fill=7.0)
    query = torch.full((tokens, case.heads, case.head_dim), float("nan"), dtype=F16)
    reads = [qkv, cos, sin, rows, cache.blocks, cache.lengths]
    if norms is not None:
        reads += [norms.query, norms.key]
    with ampere.tensors(reads, [query, *blocks]):
        decode_ops.launch_rope_append(
            ampere, query, qkv, layout, cos, sin, rows, cache, case.layer, norms
        )
    expected_blocks, expected_cache = make_slots(
        case.lengths, case.kv_heads, case.head_dim, max_length, fill=7.0
    )
    expected = decode_ops.rope_append(
        qkv, layout, cos, sin, rows, expected_cache, case.layer, norms=norms, backend="reference"
    )
    # one rounding each, of float32 values that differ by an addition's order
    torch.testing.assert_close(query, expected, rtol=2**-10, atol=2**-18)
    for block, wanted in zip(blocks, expected_blocks, strict=True):
        assert torch.equal(block == 7.0, wanted == 7.0), "something else was written"
        torch.testing.assert_close(block, wanted, rtol=2**-10, atol=2**-18)


def test_reference_rope_is_written_from_the_definition():
    """The specification itself: an angle a pair, straight from the formula, at a large position."""
    case = Rope(lengths=(2,), heads=2, kv_heads=2, head_dim=64, pair=32)
    position = 131071
    inverse = 10000.0 ** (-torch.arange(32, dtype=torch.float64) / 32)
    angle = position * inverse
    cos = torch.cat((angle.cos(), angle.cos())).float().unsqueeze(0)
    sin = torch.cat((-angle.sin(), angle.sin())).float().unsqueeze(0)
    qkv = torch.randn(1, 6 * 64, generator=generator_of(1)).half()
    blocks, cache = make_slots(case.lengths, 2, 64, 4, fill=0.0)
    layout = layout_of(2, 2, 64, 32)
    rows = torch.zeros(1, dtype=torch.int64)
    query = decode_ops.rope_append(qkv, layout, cos, sin, rows, cache, 1, backend="reference")
    q, k, v = (qkv.view(2, 3, 64)[:, i].double() for i in range(3))
    for got, x in ((query[0], q), (blocks[0][1, 0, :, 2], k)):
        a, b = x[:, :32], x[:, 32:]
        turned = torch.cat(
            (a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), dim=1
        )
        assert (got.double() - turned).abs().max() < 2e-3
    assert torch.equal(blocks[0][1, 1, :, 2], v.half())


# --- attention ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attend:
    lengths: tuple[int, ...] = (20,)  # before the new token
    ratio: int = 1
    kv_heads: int = 1
    head_dim: int = 64
    dtype: torch.dtype = F16
    splits: int = 1
    layer: int = 1
    x: str = "normal"


ATTENDS = [
    # steps of 16, splits of at least 128, and one more or less of everything
    *(Attend((n,), splits=4) for n in (0, 1, 14, 15, 16, 126, 127, 128, 129, 255, 300)),
    *(Attend((n,), 8, splits=2) for n in (0, 63, 130)),
    *(Attend((70,), r, kv_heads=2, head_dim=d) for r in (1, 8, 16, 24) for d in (64, 128)),
    Attend((150,), 24, head_dim=128, splits=2),
    Attend((9, 0, 140, 31), 3, kv_heads=2, splits=2, dtype=BF16),
    Attend(tuple(range(1, 9)), dtype=BF16),
    *(Attend((150,), 4, head_dim=128, splits=2, x=x) for x in ("outliers", "one", "low")),
]
WIDE = [
    Attend(lengths, ratio, kv_heads, d, dtype, splits, x=x)
    for lengths in ((0,), (1, 15, 16, 17), (511, 512, 513), tuple(range(120, 136, 2)))
    for ratio in (1, 8, 16, 24)
    for kv_heads in (1, 2)
    for d in (64, 128)
    for dtype, splits in ((F16, 1), (BF16, 3), (F16, 8))
    for x in ("normal", "outliers")
]


def run_attention(launcher, case, descending=False):
    """(out, the same in float64, what rounding may change)."""
    generator = generator_of(case.ratio, case.head_dim, len(case.lengths), case.lengths[0])
    heads, tokens = case.ratio * case.kv_heads, len(case.lengths)
    max_length = max(case.lengths) + 3
    blocks, cache = make_slots(case.lengths, case.kv_heads, case.head_dim, max_length)
    query = torch.randn(tokens, heads, case.head_dim, generator=generator)
    for block, length in zip(blocks, case.lengths, strict=True):
        # what lies behind the last token is NaN: nobody has written it
        written = block[case.layer, :, :, : length + 1]
        written.copy_(torch.randn(written.shape, generator=generator))
        if case.x == "outliers":
            written[torch.rand(written.shape, generator=generator) < 0.01] *= 50
        elif case.x == "one":  # one key far above all others
            written[0, :, length // 2] = 30
        elif case.x == "low":  # every score below where exp is 0
            written[0] = written[0].abs() * 20
    if case.x == "one":
        query = query.abs() + 1
    elif case.x == "low":
        query = -query.abs() * 20
    query = query.to(F16)
    out = torch.full((tokens, heads * case.head_dim), float("nan"), dtype=case.dtype)
    plan = plan_attention(
        tokens,
        heads,
        case.kv_heads,
        case.head_dim,
        max_length,
        num_sms=launcher.num_sms(query.device),
        splits=case.splits,
    )
    workspace = Workspace(query.device)
    workspace.reserve(plan.workspace_floats, plan.num_counters)
    workspace.sums.fill_(float("nan"))
    launcher.descending = descending
    reads = [query, cache.blocks, cache.lengths, *blocks]
    with launcher.tensors(reads, [out, workspace.sums, workspace.counters]):
        decode_ops.launch_decode_attention(launcher, plan, out, query, cache, case.layer, workspace)
    launcher.descending = False
    assert not workspace.counters.any()  # ready for the next launch
    expected, allowed = [], []
    for token, length in enumerate(case.lengths):
        k, v = blocks[token][case.layer, :, :, : length + 1].double()
        q = query[token].double()
        y = reference.decode_attention(q, k, v)
        # p is rounded to float16 (below 2^-14 by 2^-25 at most); scores carry float32's error of
        # sums as large as the largest of them, which exp makes relative
        weights = reference.decode_attention(q, k, v.abs())
        scores = q.abs().sum(1).max() * k.abs().max() / case.head_dim**0.5
        error = (2.0**-11 + 8 * 2.0**-24 * scores) * weights + 2.0**-25 * v.abs().sum(1).max()
        expected.append(y)
        allowed.append(error + HALF_UNIT[case.dtype] * y.abs() + 2.0**-24)
    shape = (tokens, heads * case.head_dim)
    return out, torch.stack(expected).view(shape), torch.stack(allowed).view(shape)


def check_attention(launcher, case):
    out, expected, allowed = run_attention(launcher, case)
    assert not out.isnan().any(), "something was not written, or read that nobody had written"
    assert ((out.double() - expected).abs() <= allowed).all()


@pytest.mark.parametrize("case", ATTENDS, ids=str)
def test_attention(ampere, case):
    check_attention(ampere, case)


@pytest.mark.parametrize("case", ATTENDS[::7], ids=str)
def test_attention_on_turing(turing, case):
    check_attention(turing, case)


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["ampere", "turing"])
@pytest.mark.parametrize("case", WIDE, ids=str)
def test_attention_widely(machine, case, request):
    check_attention(request.getfixturevalue(machine), case)


def test_attention_is_the_same_in_any_order_of_threads_and_blocks(ampere):
    case = Attend((300, 12), 4, head_dim=64, splits=3)
    assert torch.equal(
        run_attention(ampere, case)[0], run_attention(ampere, case, descending=True)[0]
    )


def test_a_slot_does_not_depend_on_its_neighbours(ampere):
    """Splits follow a slot's own length: beams of different lengths stay what they would be."""
    together = run_attention(ampere, Attend((200, 12), 4, splits=3))[0]
    case = Attend((200, 180), 4, splits=3)
    assert torch.equal(run_attention(ampere, case)[0][0], together[0])


def test_attention_plan():
    """GLM-130B on an H100: 96 blocks of heads in 3 splits; few key heads: many splits."""
    plan = plan_attention(1, 96, 96, 128, 2048, num_sms=132)
    assert plan.grid == (96, 3, 1)
    assert plan.workspace_floats == 96 * 3 * 16 * 132
    assert plan_attention(1, 48, 2, 128, 8192, num_sms=132).grid == (4, 32, 1)
    assert plan_attention(1, 48, 2, 128, 1024, num_sms=132).grid == (4, 8, 1)
    short = plan_attention(8, 96, 96, 128, 64, num_sms=132)
    assert (short.grid, short.workspace_floats) == ((96, 1, 8), 0)


# --- refusals -------------------------------------------------------------------------------------


def norm_arguments(**changes):
    options = {"epsilon": 1e-5, "is_rms": False, "keeps_sum": True, "dtype": F16}
    return {"delta": torch.zeros(2, 8), "weight": torch.zeros(8), **options, **changes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": torch.zeros(8)}, r"delta of shape \(8,\); use \(T, h\) with T >= 1"),
        ({"delta": torch.zeros(2, 6)}, "width 6; use a multiple of 4 up to 12288"),
        ({"delta": torch.zeros(2, 12292)}, "width 12292; use a multiple of 4 up to 12288"),
        ({"delta": torch.zeros(2, 8).half()}, r"delta is torch\.float16; use torch\.float32"),
        ({"weight": torch.zeros(4)}, r"weight of shape \(4,\); use \(8,\)"),
        ({"residual": torch.zeros(1, 8)}, r"residual of shape \(1, 8\); use \(2, 8\)"),
        ({"bias": torch.zeros(9)[1:]}, "bias begins at address .* aligned to 16 bytes"),
        ({"dtype": torch.float32}, r"dtype torch\.float32; use torch\.float16 or torch\.bfloat16"),
        ({"backend": "cuda"}, "backend cuda needs tensors on a CUDA device"),
    ],
)
def test_wrong_norm_is_named(change, message):
    arguments = norm_arguments(**{"backend": "reference", **change})
    with pytest.raises(ValueError, match=message):
        decode_ops.add_norm(arguments.pop("delta"), arguments.pop("weight"), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head_dim": 80, "pair": 40}, "head_dim 80 is not supported; use 64 or 128"),
        ({"kv_heads": 3}, "num_heads 4 is no multiple of num_kv_heads 3"),
        ({"pair": 2}, "pair 2 is not supported; use 1, 32 or 16"),
        ({"layer": 2}, "layer 2; the cache has layers 0 to 1"),
    ],
)
def test_wrong_heads_are_named(change, message):
    case = Rope(**change)
    layout, qkv, cos, sin, rows = rope_inputs(case, positions=4)
    _, cache = make_slots(case.lengths, case.kv_heads, case.head_dim, 9)
    with pytest.raises(ValueError, match=message):
        decode_ops.rope_append(qkv, layout, cos, sin, rows, cache, case.layer, backend="reference")


def test_wrong_head_norms_are_named():
    case = Rope(has_norms=True)
    layout, qkv, cos, sin, rows = rope_inputs(case, positions=4)
    _, cache = make_slots(case.lengths, case.kv_heads, case.head_dim, 9)
    norms = HeadNorms(torch.ones(64), torch.ones(32), 1e-6)
    with pytest.raises(ValueError, match=r"norms\.key of shape \(32,\); use \(64,\)"):
        decode_ops.rope_append(
            qkv, layout, cos, sin, rows, cache, case.layer, norms=norms, backend="reference"
        )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (torch.zeros(1, 4, 128).half(), "query has head_dim 128, the cache 64"),
        (torch.zeros(1, 3, 64).half(), "3 heads cannot share 2 key heads equally"),
        (torch.zeros(1, 4, 64), r"query is torch\.float32; use torch\.float16"),
        (torch.zeros(2, 4, 64).half(), r"blocks of shape \(1,\); use \(2,\)"),
    ],
)
def test_wrong_query_is_named(query, message):
    _, cache = make_slots((3,), 2, 64, 9)
    with pytest.raises(ValueError, match=message):
        decode_ops.decode_attention(query, cache, 0, dtype=F16, backend="reference")
