"""Reads machine code: which instructions a kernel has, and how many its main loop spends a weight.

Needs `nvdisasm` (pip: nvidia-cuda-nvdisasm; or the CUDA toolkit's). No GPU, no driver.
"""

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

# What the code here is meant to contain, by the beginning of the instruction's name.
_FAMILIES = (
    "HMMA", "LOP3", "SHF", "LDG.E.128", "LDG", "LDGSTS", "LDS.128", "STG.E.128", "LDL", "STL",
    "MUFU", "SHFL", "BAR",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sass:
    """The code of one kernel.

    counts: instructions by family (see `family`) in the whole kernel. loop: the same for the
    innermost loop with the most tensor-core instructions; empty if there is none. loop_length: all
    its instructions.
    """

    name: str
    counts: dict[str, int]
    loop: dict[str, int]
    loop_length: int


def find_disassembler() -> str | None:
    """Path of nvdisasm: on PATH, or of its wheel; None if neither is there."""
    if found := shutil.which("nvdisasm"):
        return found
    spec = importlib.util.find_spec("nvidia")
    for root in spec.submodule_search_locations or [] if spec else []:
        for path in sorted(Path(root).glob("*/bin/nvdisasm")):
            return str(path)
    return None


def disassemble(cubin: bytes, disassembler: str) -> dict[str, Sass]:
    """Kernels of a cubin by name. Raises CalledProcessError if nvdisasm refuses it."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run(
            [disassembler, "--print-code", file.name],
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout
    kernels = {}
    for section in re.split(r"^//-+ \.text\.", text, flags=re.MULTILINE)[1:]:
        name = section.split(None, 1)[0]
        kernels[name] = _read(name, section.splitlines())
    return kernels


def family(instruction: str) -> str:
    """LDG.E.128.CONSTANT -> LDG.E.128, HMMA.16816.F32 -> HMMA; others: up to the first dot."""
    matching = [f for f in _FAMILIES if instruction == f or instruction.startswith(f + ".")]
    if instruction.startswith("LDG.E") and ".128" in instruction:
        return "LDG.E.128"
    if instruction.startswith("STG.E") and ".128" in instruction:
        return "STG.E.128"
    if instruction.startswith("LDS") and ".128" in instruction:
        return "LDS.128"
    return max(matching, key=len, default=instruction.split(".")[0])


def _read(name: str, lines: list[str]) -> Sass:
    instructions: list[str] = []
    labels: dict[str, int] = {}
    jumps: list[tuple[int, str]] = []
    for line in lines:
        if label := re.match(r"^(\.L_\w+):", line):
            labels[label[1]] = len(instructions)
        elif code := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*)", line):
            if code[1] == "BRA" and (target := re.search(r"\((\.L_\w+)\)", code[2])):
                jumps.append((len(instructions), target[1]))
            instructions.append(code[1])
    loops = []
    for at, label in jumps:
        begin = labels.get(label, at)
        if begin < at:
            body = instructions[begin : at + 1]
            loops.append((sum(i.startswith("HMMA") for i in body), -len(body), body))
    body = max(loops)[2] if loops and max(loops)[0] else []
    return Sass(
        name,
        dict(Counter(family(i) for i in instructions)),
        dict(Counter(family(i) for i in body)),
        len(body),
    )
