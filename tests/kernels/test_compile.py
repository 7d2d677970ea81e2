"""Every kernel compiles for every architecture, without a GPU, into the instructions meant."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from bilin_kernels import compile as compiling
from bilin_kernels.compile import ARCHITECTURES, CompileError, compile_all, compile_source
from bilin_kernels.plan import plan_gemm
from bilin_kernels.sass import disassemble, find_disassembler

# Those of the desks Bilin is made for (2080 Ti, 3090); all the others take a minute more.
FIRST = (75, 86)
GOLDEN = json.loads((Path(__file__).parents[1] / "data/kernels/compiled.json").read_text())


def examine(arch, disassembler, cache, defines=()):
    """What the compiler and the disassembler say of every kernel, kept for unchanged sources."""
    version = compiling.compiler_version()
    key = f"kernels/{compiling.source_hash()}/{version}/{arch}/{disassembler is not None}{defines}"
    facts = cache.get(key, None)
    if facts is None:
        facts = {}
        for source in compiling.sources():
            compiled = compile_source(source, arch, defines)
            code = disassemble(compiled.cubin, disassembler) if disassembler else {}
            for kernel in compiled.kernels:
                sass = asdict(code[kernel.name]) if disassembler else None
                facts[kernel.name] = {**asdict(kernel), "source": source, "sass": sass}
        cache.set(key, facts)
    return facts


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "arch",
    [pytest.param(a, marks=[] if a in FIRST else [pytest.mark.slow]) for a in ARCHITECTURES],
)
def test_registers_spills_and_instructions(arch, pytestconfig):
    """Against tests/data/kernels/compiled.json; make_compiled.py there renews it."""
    golden = GOLDEN["kernels"][str(arch)]
    disassembler = find_disassembler()
    facts = examine(arch, disassembler, pytestconfig.cache)
    assert facts.keys() == golden.keys()
    assert [name for name, kernel in facts.items() if kernel["spill_bytes"]] == []
    # Another patch release of the compiler may shift a register or two.
    grown = {n: k["registers"] for n, k in facts.items() if k["registers"] > golden[n][0] + 4}
    assert grown == {}, "more registers than before"
    assert all(kernel["shared_bytes"] <= 48 * 1024 for kernel in facts.values())

    if disassembler is None:
        pytest.skip("no nvdisasm to read instructions with: pip install nvidia-cuda-nvdisasm")
    for name, kernel in facts.items():
        _, loop_length, tensor_steps = golden[name]
        counts, loop = kernel["sass"]["counts"], kernel["sass"]["loop"]
        assert not {"LDL", "STL"} & counts.keys(), f"{name} keeps something in memory"
        assert kernel["sass"]["loop_length"] <= loop_length * 1.03, f"{name}'s main loop grew"
        assert loop.get("HMMA", 0) == tensor_steps, name
        if kernel["source"] == "w4a16":
            check_gemm(arch, name, loop)
        if kernel["source"] == "decode_attention":
            check_attention(arch, name, kernel["sass"])
        if kernel["source"] in ("norm", "rope_kv"):
            assert counts.get("LDG.E.128", 0) >= 3, name
            # a slot's address is data, which makes its store a generic one
            assert counts.get("STG.E.128", 0) + counts.get("ST", 0) >= 1, name
        if kernel["source"] in ("dequantize", "read_ceiling"):
            assert counts.get("LDG.E.128", 0) >= 1, name
        if kernel["source"] == "dequantize":
            assert counts.get("STG.E.128", 0) == 4, name


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_turing_build_compiles_for_hopper_to_be_checked_there(pytestconfig):
    disassembler = find_disassembler()
    facts = examine(90, disassembler, pytestconfig.cache, ("BILIN_TURING",))
    assert {name for name in facts if "_f16" in name} == {
        name for name in GOLDEN["kernels"]["75"] if "_f16" in name
    }
    assert [name for name, kernel in facts.items() if kernel["spill_bytes"]] == []
    if disassembler is None:
        pytest.skip("no nvdisasm to read instructions with: pip install nvidia-cuda-nvdisasm")
    for name, kernel in facts.items():
        assert "LDGSTS" not in kernel["sass"]["counts"], name
        if "a16_" in name:  # two steps of k 8 each for one of k 16
            here, there = kernel["sass"]["loop"]["HMMA"], GOLDEN["kernels"]["90"][name][2]
            assert here == 2 * there, name


def check_gemm(arch, name, loop):
    """16-byte loads, tensor cores, and no more work on the weights than laid out in w4a16.cu."""
    pieces = (4 if "_r4_" in name else 2) * (2 if "_n1" in name or name.startswith("w8") else 1)
    asynchronous = loop.get("LDGSTS", 0)
    if arch == 75:
        assert asynchronous == 0, name
        assert loop["LDG.E.128"] >= pieces, name
    else:
        assert asynchronous == pieces, name
        assert loop["LDS.128"] == pieces, name
    # per piece and lane: 4 words, 2 times 2 masks each and a shift; 3 more shifts for bfloat16
    words = 4 * pieces
    wide = "_bf16_" in name
    assert loop["LOP3"] <= (8 if wide else 4) * words + 20, name
    assert loop["SHF"] <= (3 if wide else 1) * words + 12, name
    assert not {"F2F", "F2I", "I2F"} & loop.keys(), f"{name} converts one by one"


def check_attention(arch, name, sass):
    """A step of 16 positions: 16-byte loads, tensor cores, and no shared memory for v."""
    units = 2 if "_d128" in name else 1
    steps_of_k = 2 if arch == 75 else 1  # two m16n8k8 for one m16n8k16
    assert sass["counts"]["HMMA"] == 16 * units * steps_of_k, name
    if arch == 75:  # its loop is not told apart from the jumps around it
        return
    assert sass["loop"]["LDG.E.128"] == 8 * units, name
    assert not {"LDS", "LDS.128", "STS", "BAR"} & sass["loop"].keys(), name
    assert sass["loop"]["MUFU"] <= 10, name


def test_every_planned_kernel_exists():
    names = GOLDEN["kernels"]["90"].keys()
    for m in (1, 8, 9, 16, 17, 32, 128):
        for n, k, groups in ((64, 128, 1), (64, 256, 4), (64, 256, 8), (151552, 4096, 32)):
            for bits in (4, 8) if k // groups != 32 else (4,):
                for dtype in ("f16", "bf16"):
                    plan = plan_gemm(m, n, k, groups, bits=bits, dtype=dtype, num_sms=132)
                    assert plan.kernel in names


def test_folder_for_the_wheel(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "sources", lambda: ["dequantize", "read_ceiling"])
    manifest_path = compile_all(tmp_path, [75, 90], jobs=1)
    manifest = json.loads(manifest_path.read_text())
    assert manifest["source_hash"] == compiling.source_hash()
    assert manifest["architectures"] == [75, 90]
    assert manifest["compiler"].startswith("nvrtc ")
    assert len(manifest["files"]) == 4
    for file in manifest["files"]:
        code = (tmp_path / file["file"]).read_bytes()
        assert hashlib.sha256(code).hexdigest() == file["sha256"]
        assert code[:4] == b"\x7fELF"
        assert file["kernels"]
        assert all(kernel["spill_bytes"] == 0 for kernel in file["kernels"])


def test_error_holds_the_compilers_words_and_leaves_no_manifest(tmp_path, monkeypatch):
    broken = tmp_path / "csrc"
    broken.mkdir()
    (broken / "broken.cu").write_text("__global__ void f() { undeclared = 1; }")
    monkeypatch.setattr(compiling, "SOURCE_DIR", broken)
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text("{}")
    with pytest.raises(CompileError, match=r'broken\.cu for sm_90.*(\n.*)*"undeclared"'):
        compile_all(out, [90])
    assert not (out / "manifest.json").exists()


def test_hash_follows_every_source(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "SOURCE_DIR", tmp_path)
    (tmp_path / "a.cu").write_text("one")
    first = compiling.source_hash()
    (tmp_path / "b.cuh").write_text("")
    second = compiling.source_hash()
    (tmp_path / "a.cu").write_text("two")
    assert len({first, second, compiling.source_hash()}) == 3
