"""csrc/w4a16.cu and csrc/dequantize.cu, on the shim, against reference.py in float64."""

import itertools
from dataclasses import dataclass

import pytest
import torch

from bilin_kernels import ops, packing, plan, reference
from bilin_kernels.workspace import Workspace

F16, BF16 = torch.float16, torch.bfloat16

# Products of weights and 16-bit x are exact in float32; what differs are the float32 sums. A sum of
# some hundred terms of either sign comes out within a few times 2^-24 of the float64 norm.
SUM_ERROR = 1e-6
# x of mean 1 makes the sums of the unsigned codes, which the offset then takes away, about 16 times
# larger than the result.
SHIFTED_SUM_ERROR = 2e-5


@dataclass(frozen=True)
class Case:
    m: int = 1
    n: int = 48
    k: int = 320
    groups: int = 1
    dtype: torch.dtype = F16
    bits: int = 4
    split: int = 1
    tiles: int = 2
    gating: str = "none"
    activation: str = "none"
    bias: bool = False
    alpha: float | None = None
    out: torch.dtype = torch.float32
    x: str = "normal"

    def __str__(self):
        changed = {k: v for k, v in vars(self).items() if v != getattr(Case, k)}
        return ",".join(f"{k}={v}" for k, v in changed.items()).replace("torch.", "") or "default"


def make_x(case, generator):
    x = torch.randn(case.m, case.k, generator=generator)
    if case.x == "outliers":  # one value in a hundred fifty times too large, as in GLM-130B
        x[torch.rand(x.shape, generator=generator) < 0.01] *= 50
    elif case.x == "shifted":
        x += 1
    elif case.x == "tiny":
        x *= 1e-5  # float16 subnormals
    return x.to(case.dtype)


def run(launcher, case, descending=False):
    """Returns (y, the same in float64, the launch's plan)."""
    generator = torch.Generator().manual_seed(case.m + 7 * case.n + 11 * case.k)
    x = make_x(case, generator)
    scales = (torch.rand(case.n, case.groups, generator=generator) + 0.1).to(case.dtype)
    low = -8 if case.bits == 4 else -128
    values = torch.randint(low, -low, (case.n, case.k), generator=generator, dtype=torch.int8)
    if case.bits == 4:
        packed = packing.prepack_int4(packing.pack_int4(values), scales, case.gating)
    else:
        packed = packing.prepack_int8(values, scales)
    bias = torch.randn(case.n, generator=generator).to(case.dtype) if case.bias else None
    residual = None
    if case.alpha is not None:
        residual = torch.randn(case.m, packed.outputs, generator=generator).to(case.dtype)
    made = plan.plan_gemm(
        case.m,
        case.n,
        case.k,
        case.groups,
        bits=case.bits,
        dtype=ops.DTYPES[case.dtype],
        num_sms=launcher.num_sms(x.device),
        split=case.split,
        tiles_per_block=case.tiles,
    )
    y = torch.full((case.m, packed.outputs), float("nan"), dtype=case.out)
    workspace = Workspace(x.device)
    workspace.reserve(made.workspace_floats, made.num_counters)
    launcher.descending = descending
    reads = [x, packed.weight, packed.scales, bias, residual]
    with launcher.tensors(reads, [y, workspace.sums, workspace.counters]):
        ops.launch_gemm(
            launcher,
            made,
            y,
            x,
            packed.weight,
            packed.scales,
            case.n,
            bias,
            residual,
            case.alpha or 0.0,
            ops.GATINGS[case.gating],
            ops.ACTIVATIONS[case.activation],
            workspace,
        )
    launcher.descending = False
    assert not workspace.counters.any()  # ready for the next launch
    weight = values.view(case.n, case.groups, -1) * scales.double().unsqueeze(-1)
    expected = reference.linear(
        x,
        weight.view(case.n, case.k),
        bias=bias,
        activation=case.activation,
        gating=case.gating,
        residual=residual,
        alpha=case.alpha or 0.0,
        out_dtype=torch.float64,
    )
    return y, expected, made


def check(launcher, case):
    y, expected, _ = run(launcher, case)
    assert not y.isnan().any(), "an output was not written"
    difference = (y.double() - expected).abs()
    relative = SHIFTED_SUM_ERROR if case.x == "shifted" else SUM_ERROR
    # a product of two halves, or a GELU, carries the error of both
    if case.gating != "none" or case.activation != "none":
        relative *= 4
    if case.out == torch.float32:
        assert difference.norm() <= relative * expected.norm()
    else:  # one rounding of the result: half a unit in the last place
        rounding = expected.abs() * (2.0**-11 if case.out == F16 else 2.0**-8)
        slack = 8 * relative * expected.abs().amax() + 2.0**-24
        assert bool((difference <= rounding + slack).all())


def cases_of_m_and_groups():
    for m, (k, groups) in itertools.product(
        (1, 2, 3, 7, 8, 9, 16, 31, 32), ((256, 1), (320, 5), (256, 8), (384, 2))
    ):
        yield Case(m=m, k=k, groups=groups)


CASES = [
    *cases_of_m_and_groups(),
    Case(),
    Case(dtype=BF16),
    Case(k=64),
    Case(n=16, k=64),
    Case(n=16, k=64, tiles=4),
    Case(m=8, n=144, k=192, tiles=4),
    Case(m=5, n=64, k=2112, tiles=4),
    Case(m=33, n=32),
    Case(m=70, n=32, k=128),
    Case(m=3, k=640, split=2),
    Case(m=9, k=640, split=4, groups=10),
    Case(m=1, n=80, k=1024, split=8, tiles=4),
    Case(m=2, k=320, split=3),
    Case(m=4, k=384, groups=3, dtype=BF16),
    Case(m=17, k=256, groups=8, dtype=BF16),
    Case(m=12, k=256, groups=4, dtype=BF16, split=2),
    *(Case(m=3, k=512, groups=g, x=x) for g in (1, 4) for x in ("outliers", "shifted", "tiny")),
    *(Case(m=3, k=512, dtype=BF16, x=x) for x in ("outliers", "shifted", "tiny")),
    Case(m=8, bias=True),
    Case(m=8, bias=True, out=F16),
    Case(m=8, bias=True, dtype=BF16, out=BF16),
    Case(m=3, alpha=11.83, bias=True, out=F16),
    Case(m=3, alpha=0.5, dtype=BF16, out=BF16, split=2),
    *(Case(m=2, activation=a, x="tiny") for a in ("gelu", "gelu_tanh", "silu")),
    *(
        Case(m=2, n=96, gating=g, activation=a, bias=True, x="tiny")
        for g in ("gate_up", "up_gate")
        for a in ("gelu", "gelu_tanh", "silu")
    ),
    Case(m=8, n=128, k=256, tiles=4, gating="gate_up", activation="silu", out=F16, x="tiny"),
    Case(m=20, n=64, k=256, gating="up_gate", activation="gelu", split=2, alpha=2.0, x="tiny"),
    *(Case(m=m, bits=8, dtype=d) for m in (1, 9, 32) for d in (F16, BF16)),
    Case(m=2, bits=8, groups=5, bias=True, out=F16),
    Case(m=3, bits=8, k=640, split=3, x="outliers"),
    Case(m=3, bits=8, k=512, x="shifted"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_reference(ampere, case):
    check(ampere, case)


@pytest.mark.parametrize("case", [c for c in CASES if c.dtype == F16], ids=str)
def test_turing_equals_reference(turing, case):
    check(turing, case)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize("m", [1, 2, 3, 7, 8, 9, 16, 31, 32])
def test_equals_reference_over_the_whole_matrix(ampere, turing, m, dtype):
    for n, k, split in itertools.product((16, 48, 64, 112), (64, 128, 192, 1088), (1, 2, 4)):
        for group_size, x in itertools.product((k, 64, 32), ("normal", "outliers", "shifted")):
            units = -(-k // (128 if m <= 8 else 64))
            if k % group_size or split > units:
                continue
            case = Case(m=m, n=n, k=k, groups=k // group_size, dtype=dtype, split=split, x=x)
            check(ampere, case)
            if dtype == F16:
                check(turing, case)


REPEATED = [
    Case(m=3, k=1088, groups=17),
    Case(m=2, k=1024, split=3, tiles=4),
    Case(m=16, k=640, split=4, bias=True, out=F16),
    Case(m=2, n=96, gating="gate_up", activation="silu", split=2),
]


@pytest.mark.parametrize("case", REPEATED, ids=str)
@pytest.mark.parametrize("machine", ["ampere", "turing"])
def test_same_bits_in_any_order_of_threads(machine, case, request):
    launcher = request.getfixturevalue(machine)
    first = run(launcher, case)[0]
    assert torch.equal(first, run(launcher, case, descending=True)[0])


def test_large_values_neither_overflow_nor_vanish(ampere):
    """65504 * 8 * k leaves float16 far behind: the sums are float32, only the result is rounded."""
    x = torch.full((1, 128), 65504.0, dtype=F16)
    values = torch.full((16, 128), -8, dtype=torch.int8)
    packed = packing.prepack_int4(packing.pack_int4(values), torch.full((16, 1), 2.0**-14).half())
    made = plan.plan_gemm(1, 16, 128, 1, bits=4, dtype="f16", num_sms=4)
    y = torch.empty(1, 16)
    with ampere.tensors([x, packed.weight, packed.scales], [y]):
        ops.launch_gemm(
            ampere, made, y, x, packed.weight, packed.scales, 16,
            workspace=Workspace(x.device),
        )  # fmt: skip
    assert torch.equal(y, torch.full((1, 16), -8.0 * 128 * 65504 / 2**14))


@pytest.mark.parametrize("machine", ["ampere", "turing"])
@pytest.mark.parametrize(
    ("bits", "groups", "dtype", "gating", "first"),
    [
        (4, 1, F16, "none", 0),
        (4, 3, BF16, "none", 16),
        (4, 6, F16, "none", 32),
        (4, 1, F16, "up_gate", 32),
        (8, 1, F16, "none", 16),
        (8, 3, BF16, "none", 0),
    ],
)
def test_dequantize_is_exact(machine, bits, groups, dtype, gating, first, request):
    launcher = request.getfixturevalue(machine)
    generator = torch.Generator().manual_seed(bits)
    n, k = 64, 192
    scales = (torch.rand(n, groups, generator=generator) + 0.01).to(dtype)
    values = torch.randint(-8, 8, (n, k), generator=generator, dtype=torch.int8)
    if bits == 4:
        packed = packing.prepack_int4(packing.pack_int4(values), scales, gating)
    else:
        values = (values * 16 + 5).to(torch.int8)
        packed = packing.prepack_int8(values, scales)
    expected = reference.dequantize(values, scales, dtype)
    order = packing._gated_rows(n, gating, values.device)
    if order is not None:
        expected = expected[order]
    out = torch.full((n - first, k), float("nan"), dtype=dtype)
    with launcher.tensors([packed.weight, packed.scales], [out]):
        ops.launch_dequantize(launcher, out, packed.weight, packed.scales, bits, first)
    assert torch.equal(out, expected[first:])


def test_read_ceiling_reads_every_byte(ampere):
    """The kernel only stores when everything it read adds up to one value: so it reads it all."""
    for count in (1, 255, 5000, 70001):
        data = torch.zeros(4 * count, dtype=torch.int32)
        data[-1] = 0xDEADBEEF - (1 << 32)
        sink = torch.zeros(1, dtype=torch.int32)
        with ampere.tensors([data], [sink]):
            ops.launch_read_ceiling(ampere, data, sink, blocks=3)
        assert sink.item() == data[-1].item()
