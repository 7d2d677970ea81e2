"""Writes compiled.json: registers and instruction counts of every kernel and architecture.

Run after a wanted change of csrc/: `python tests/data/kernels/make_compiled.py`. About a minute.
"""

import json
from pathlib import Path

from bilin_kernels.compile import ARCHITECTURES, compile_source, compiler_version, sources
from bilin_kernels.sass import disassemble, find_disassembler


def main() -> None:
    disassembler = find_disassembler()
    assert disassembler, "nvdisasm is needed: pip install nvidia-cuda-nvdisasm"
    kernels = {}
    for arch in ARCHITECTURES:
        kernels[str(arch)] = rows = {}
        for source in sources():
            compiled = compile_source(source, arch)
            code = disassemble(compiled.cubin, disassembler)
            for kernel in compiled.kernels:
                sass = code[kernel.name]
                rows[kernel.name] = [kernel.registers, sass.loop_length, sass.loop.get("HMMA", 0)]
    lines = ",\n".join(
        f' "{arch}": {{\n'
        + ",\n".join(f'  "{name}": {json.dumps(row)}' for name, row in sorted(rows.items()))
        + "\n }"
        for arch, rows in kernels.items()
    )
    Path(__file__).with_name("compiled.json").write_text(
        f'{{"compiler": "{compiler_version()}",\n'
        f'"columns": ["registers", "main loop", "tensor-core steps in it"],\n'
        f'"kernels": {{\n{lines}\n}}}}\n',
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
