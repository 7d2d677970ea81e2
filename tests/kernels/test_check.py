"""check.py and bench.py as far as they go without a GPU: the check itself runs on the shim."""

import dataclasses
import os
import re
import sys
from typing import Any

import pytest
import torch
from simt_launcher import SimtLauncher

from bilin_kernels import bench, bench_decode, bench_plans, check, check_decode, decode_ops, ops
from bilin_kernels.check import Case, WrongResultError, run_case, run_decode_case
from bilin_kernels.compile import CompileError

CPU = torch.device("cpu")
F16, BF16 = torch.float16, torch.bfloat16


@pytest.fixture(params=[(), ("BILIN_TURING",)], ids=["ampere", "turing"])
def launcher(request, simt_cache):
    launcher = SimtLauncher(simt_cache, defines=request.param)
    launcher.bounded = False  # run_case allocates by itself
    return launcher


SAMPLE = [
    *(case for i, case in enumerate(check.small_cases()) if i % 13 == 0),
    Case(5, 128, 512, 0, x="normal", epilogue="geglu"),
    Case(5, 128, 512, 128, x="normal", epilogue="residual", split=2),
    Case(8, 96, 512, bits=8),
]


@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_sample_of_the_check_passes(launcher, case, request):
    if "turing" in request.node.name and case.dtype == torch.bfloat16:
        case = dataclasses.replace(case, dtype=torch.float16)
    run_case(case, launcher, CPU)


DECODE_SAMPLE = [
    *(case for i, case in enumerate(check_decode.norm_cases()) if i % 5 == 0),
    *(case for i, case in enumerate(check_decode.head_cases(short=True)) if i % 7 == 0),
    *list(check_decode.head_cases(short=True))[-2:],
]


@pytest.mark.parametrize("case", DECODE_SAMPLE, ids=str)
def test_sample_of_the_decode_check_passes(launcher, case):
    run_decode_case(case, launcher, CPU)


def test_decode_check_sees_a_forgotten_token(launcher, monkeypatch):
    real = decode_ops.launch_decode_attention

    def with_a_fault(launcher, plan, out, query, cache, layer):
        shorter = dataclasses.replace(cache, lengths=(cache.lengths - 1).clamp(min=0))
        real(launcher, plan, out, query, shorter, layer)

    monkeypatch.setattr(decode_ops, "launch_decode_attention", with_a_fault)
    case = check_decode.HeadCase((15, 16, 17), 4, 4, 64, 32)
    with pytest.raises(WrongResultError, match="attention: relative error"):
        run_decode_case(case, launcher, CPU)


def test_decode_check_sees_a_wrong_pair(launcher, monkeypatch):
    real = decode_ops.launch_rope_append

    def with_a_fault(launcher, query, qkv, heads, *rest):
        real(launcher, query, qkv, dataclasses.replace(heads, pair=16), *rest)

    monkeypatch.setattr(decode_ops, "launch_rope_append", with_a_fault)
    case = check_decode.HeadCase((3,), 4, 4, 64, 32)
    with pytest.raises(WrongResultError, match="query: relative error"):
        run_decode_case(case, launcher, CPU)


def test_decode_check_sees_a_forgotten_norm(launcher, monkeypatch):
    real = decode_ops.launch_rope_append
    monkeypatch.setattr(decode_ops, "launch_rope_append", lambda *args: real(*args[:-1]))
    case = check_decode.HeadCase((3,), 4, 4, 64, 32, has_norms=True)
    with pytest.raises(WrongResultError, match="query: relative error"):
        run_decode_case(case, launcher, CPU)


def test_check_sees_one_wrong_bit(launcher, monkeypatch):
    real = ops.launch_gemm

    def with_a_fault(launcher, plan, y, x, weight, *rest):
        weight = weight.clone()
        weight[0, 0, 0, 0] ^= 1
        real(launcher, plan, y, x, weight, *rest)

    monkeypatch.setattr(ops, "launch_gemm", with_a_fault)
    with pytest.raises(WrongResultError, match="outputs are not exact"):
        run_case(Case(8, 16, 64), launcher, CPU)


def test_check_sees_an_unwritten_output(launcher, monkeypatch):
    real = ops.launch_gemm

    def of_fewer_rows(launcher, plan, y, x, *rest):
        real(launcher, plan, y, x[:2], *rest)

    monkeypatch.setattr(ops, "launch_gemm", of_fewer_rows)
    # torch.equal of NaN with NaN is already False
    with pytest.raises(WrongResultError, match=r"16 outputs were not written|two runs differ"):
        run_case(Case(3, 16, 64), launcher, CPU)


@pytest.fixture
def tiny_check(monkeypatch, simt_cache):
    """`run_all` of two products on the shim, as a card of 9.0; the dtypes its operators are of."""

    class CardLauncher(SimtLauncher):
        """Below 8.0 the plain build is the Turing one."""

        def __init__(self, defines=()):
            is_old = torch.cuda.get_device_capability() < (8, 0)
            super().__init__(simt_cache, ("BILIN_TURING",) if is_old else defines)
            self.bounded = False
            self._asked_for = defines

        def has_define(self, name):
            return name in self._asked_for

    dtypes = []
    monkeypatch.setattr(check, "CudaLauncher", CardLauncher)
    monkeypatch.setattr(check, "compiler_version", lambda: "nvrtc 13.0")
    monkeypatch.setattr(check, "small_cases", lambda: [Case(1, 16, 64), Case(1, 16, 64, 0, BF16)])
    monkeypatch.setattr(check, "norm_cases", list)
    monkeypatch.setattr(check, "head_cases", lambda **_: [])
    monkeypatch.setattr(check, "check_operators", lambda _, asked: dtypes.extend(asked))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    return dtypes


@pytest.mark.parametrize(
    ("capability", "own"), [((7, 5), [F16]), ((8, 0), [F16, BF16]), ((9, 0), [F16, BF16])]
)
def test_a_card_is_asked_for_bfloat16_from_8_0_on(tiny_check, monkeypatch, capsys, capability, own):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    assert check.run_all(CPU, short=True) == 0
    assert tiny_check == own
    told = capsys.readouterr().out
    assert f"this architecture: {len(own)} products" in told
    assert "Turing build: 1 products" in told
    assert ("no products and operators in bfloat16" in told) == (BF16 not in own)


@pytest.mark.usefixtures("tiny_check")
def test_without_a_compiler_the_turing_build_is_left_out(monkeypatch, capsys):
    def no_compiler(*_index):
        raise CompileError("compiling the CUDA kernels needs NVRTC")

    monkeypatch.setattr(check, "compiler_version", no_compiler)
    assert check.run_all(CPU, short=True) == 0
    told = capsys.readouterr().out
    assert "Turing build: not checked: compiling the CUDA kernels needs NVRTC\n" in told
    assert "Turing build: 1" not in told


def test_cases_cover_what_is_promised():
    small = list(check.small_cases())
    assert {c.m for c in small} >= {1, 2, 3, 7, 8, 9, 16, 31, 32}
    assert {c.group_size for c in small} == {0, 32, 64, 128}
    assert {c.split for c in small} == {None, 1, 2, 4}
    assert {c.x for c in small} == {"exact", "normal", "outliers", "shifted", "tiny"}
    assert {c.epilogue for c in small} == {"none", "bias", "geglu", "swiglu", "residual"}
    assert {(c.n, c.k) for c in check.model_cases()} >= {(65536, 12288), (12288, 1536)}


def test_shapes_to_be_timed_are_supported():
    shapes = bench.shapes(["130b", "9b", "32b"])
    assert len(shapes) == 16 + 8
    for shape in shapes:
        assert shape.n % (32 if shape.gating != "none" else 16) == 0
        assert shape.k % max(64, shape.group_size) == 0
    up = next(shape for shape in shapes if shape.name == "130b up")
    assert bench.random_weight(dataclasses.replace(up, n=64, k=128), CPU).outputs == 32


def test_layer_to_be_timed_computes():
    """The timed layer, small and on the reference: its bytes are its weights' and a little more."""
    linears = [
        bench.Shape("qkv", 3 * 128, 128),
        bench.Shape("out", 128, 128),
        bench.Shape("up", 2 * 192, 128, gating="up_gate"),
        bench.Shape("down", 128, 192),
    ]
    weights = [[bench.random_weight(shape, CPU) for shape in linears] for _ in range(3)]
    measured = bench_decode.layer(weights, context=20, tokens=2, device=CPU)
    assert all(call().isfinite().all() for call in measured.calls)
    least = sum(weight.size_bytes() for weight in weights[0]) + 2 * 2 * 20 * 128 * 2
    assert least < measured.size_bytes < 1.5 * least
    alone = bench_decode.attention(4, 2, 64, 20, 3, CPU)
    assert [tuple(call().shape) for call in alone.calls] == [(3, 256)] * 3
    assert alone.size_bytes == 3 * 2 * 2 * 20 * 64 * 2 + 2 * 3 * 256 * 2


class Ranked:
    """Stands in for Bench: computes each launch once; the later one came, the faster it was."""

    def __init__(self):
        self.device = CPU
        self.products = {}

    def add(self, shape, m, name, calls, _size_bytes):
        (call,) = calls
        self.products.setdefault(m, []).append(call().clone())
        return bench.Row(shape.name, shape.n, shape.k, m, name, 99 - len(self.products[m]), 1, 0.5)


@pytest.mark.parametrize("gating", ["none", "up_gate"])
def test_every_plan_to_be_ranked_computes_the_same(gating, simt_cache, monkeypatch, capsys):
    launcher = SimtLauncher(simt_cache)
    launcher.bounded = False  # rank allocates by itself
    monkeypatch.setattr(bench_plans, "default_launcher", lambda: launcher)
    monkeypatch.setattr(bench, "copies_needed", lambda *_: 1)
    ranked: Any = Ranked()
    bench_plans.rank(ranked, bench.Shape("small", 64, 2112, gating=gating))
    assert set(ranked.products) == {1, 8}
    for first, *others in ranked.products.values():
        assert first.isfinite().all()
        assert len(others) >= 5
        for other in others:
            assert torch.allclose(other, first, rtol=0.01, atol=0.01 * float(first.abs().max()))
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("plan.py") for line in lines) == 2
    assert "98.0 us" not in lines[0]  # the fastest comes first


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without a GPU")
@pytest.mark.parametrize(
    "program", [check.main, bench.main, bench_plans.main], ids=["check", "bench", "plans"]
)
def test_without_a_gpu_they_say_so_and_exit_with_2(program, capsys):
    assert program([]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"Nothing was {'checked' if program is check.main else 'measured'}: "
        "no CUDA device: torch.cuda.is_available() is False"
    ]


@pytest.mark.parametrize(
    ("program", "module"),
    [(check.main, check), (bench.main, bench), (bench_plans.main, bench)],
    ids=["check", "bench", "plans"],
)
def test_a_gpu_without_code_is_told_in_a_sentence_too(program, module, monkeypatch, capsys):
    def no_compiler(*_index):
        raise CompileError("compiling the CUDA kernels needs NVRTC")

    monkeypatch.setattr(module, "find_device", no_compiler)
    assert program([]) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(r"Nothing was \w+: compiling the CUDA kernels needs NVRTC\n", told)


@pytest.mark.parametrize(
    "full",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        Exception("CUDA_ERROR_OUT_OF_MEMORY: unable to allocate"),  # cuda.core's: no RuntimeError
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["torch", "cuda.core", "cuBLAS"],
)
def test_a_full_card_is_no_wrong_kernel(full, monkeypatch, capsys):
    def fails(*_):
        raise full

    monkeypatch.setattr(check, "find_device", lambda _: CPU)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "RTX 3090")
    monkeypatch.setattr(check, "run_all", fails)
    assert check.main([]) == 2
    assert capsys.readouterr().err == f"Not checked to the end: {full}\n"


def test_another_error_of_the_check_is_not_hidden(monkeypatch):
    def fails(_index):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(check, "find_device", fails)
    with pytest.raises(RuntimeError, match="illegal"):
        check.main([])


@pytest.mark.parametrize(
    ("tool", "own"), [("memcheck", " --report-api-errors no"), ("racecheck", "")]
)
def test_functions_that_a_driver_lacks_are_no_complaint(tool, own, tmp_path, monkeypatch):
    program = tmp_path / "compute-sanitizer"
    program.write_text('#!/bin/sh\necho "$@" > "$0.told"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert check.run_sanitizer([tool], 1) == 0
    checked = f"{sys.executable} -m bilin_kernels.check --short --device 1"
    told = (tmp_path / "compute-sanitizer.told").read_text()
    assert told == f"--tool {tool} --error-exitcode 9{own} {checked}\n"


@pytest.mark.gpu
@pytest.mark.timeout(300)
def test_on_the_gpu():
    assert check.main([]) == 0


@pytest.mark.gpu
@pytest.mark.timeout(300)
def test_on_the_gpu_under_the_sanitizer():
    assert check.main(["--short", "--sanitizer", "memcheck", "racecheck"]) == 0


@pytest.mark.parametrize("dtype", [F16, BF16])
def test_the_operators_products_fit_float16_whatever_a_card_draws(dtype):
    """Another number of multiprocessors gives other random numbers; infinity would be a failure."""
    for seed in range(40):
        *_, expected = check.operator_case(torch.Generator().manual_seed(seed), dtype)
        assert 100 < expected.abs().max() < 16_384, seed
