"""Which library of CPU kernels is taken, and what is said where there is none."""

import json
import shutil

import pytest

from bilin_kernels import cpu_compile, cpu_library
from bilin_kernels.cpu_compile import TARGETS, CpuLibraryError, compile_all, target_for

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in cpu_compile.COMPILERS), reason="no C compiler"
)
V4, V3 = TARGETS


def test_the_best_set_of_instructions_is_taken():
    assert target_for(V4.needs | {"sse2"}) == V4
    assert target_for(V4.needs - {"avx512_vnni"}) == V3
    with pytest.raises(CpuLibraryError, match="the processor lacks avx2, fma"):
        target_for(V3.needs - {"avx2", "fma"})


def test_a_machine_without_a_compiler_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(CpuLibraryError, match=r"no C compiler was found .*install gcc or clang"):
        cpu_library.library_path(V3, shipped=tmp_path, cache_dir=tmp_path / "cache")


@needs_compiler
def test_what_the_compiler_says_is_told(monkeypatch, tmp_path):
    (tmp_path / "step.c").write_text("int broken( {")
    monkeypatch.setattr(cpu_compile, "SOURCE_DIR", tmp_path)
    with pytest.raises(CpuLibraryError, match=r"cannot compile the CPU kernels: .*error"):
        cpu_compile.compile_library(V3, tmp_path / "out.so")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A wheel's folder of a source that compiles in no time."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "source").mkdir()
    (folder / "source" / "step.c").write_text("int bilin_answer(void) { return 42; }\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_compile, "SOURCE_DIR", folder / "source")
        compile_all(folder / "libraries")
    return folder


@needs_compiler
def test_a_wheel_s_library_is_taken_if_it_is_of_these_sources(monkeypatch, tmp_path, small):
    monkeypatch.setattr(cpu_compile, "SOURCE_DIR", small / "source")
    shipped = shutil.copytree(small / "libraries", tmp_path / "shipped")
    path = cpu_library.library_path(V3, shipped=shipped, cache_dir=tmp_path / "cache")
    assert path == shipped / "step.x86-64-v3.so"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CpuLibraryError, match="is damaged: its sha256 is not the manifest's"):
        cpu_library.library_path(V3, shipped=shipped, cache_dir=tmp_path / "cache")
    manifest = json.loads((shipped / "manifest.json").read_text())
    (shipped / "manifest.json").write_text(json.dumps({**manifest, "source_hash": "another"}))
    compiled = cpu_library.library_path(V3, shipped=shipped, cache_dir=tmp_path / "cache")
    assert compiled.parent == tmp_path / "cache"


@needs_compiler
def test_what_was_compiled_once_is_kept(monkeypatch, tmp_path, small):
    monkeypatch.setattr(cpu_compile, "SOURCE_DIR", small / "source")
    first = cpu_library.library_path(V3, shipped=tmp_path, cache_dir=tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cpu_library.library_path(V3, shipped=tmp_path, cache_dir=tmp_path / "cache") == first


@needs_compiler
def test_a_cached_library_that_was_cut_short_is_compiled_again(tmp_path):
    """Loading it would end the process with SIGBUS."""
    place = {"shipped": tmp_path / "shipped", "cache_dir": tmp_path}
    path = cpu_library.library_path(V3, **place)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])  # what a full disk or a power cut leaves
    assert cpu_library.library_path(V3, **place) == path
    assert path.stat().st_size > 1000


def test_a_disk_that_lets_nothing_be_run_is_a_reason_and_no_end(monkeypatch):
    def refused():
        raise OSError("failed to map segment from shared object")

    monkeypatch.setattr(cpu_library, "_open", refused)
    cpu_library.why_not.cache_clear()
    try:
        assert "failed to map" in cpu_library.why_not()
    finally:
        cpu_library.why_not.cache_clear()
