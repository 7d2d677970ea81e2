"""Devices to plan for: real ones as read elsewhere, or invented ones ("4x24GiB").

A card's bandwidth and arithmetic rate are data-sheet values until this machine measured its own;
a plan says which it used, or that a person gave them.
"""

import re
from dataclasses import dataclass
from typing import Literal

from bilin_engine.errors import BadRequestError

GIB = 1024**3
DeviceKind = Literal["cuda", "cpu"]
BandwidthSource = Literal["data_sheet", "measured", "given"]


@dataclass(frozen=True, slots=True)
class PlanDevice:
    """One device to plan for.

    name: "cuda:0", "cpu". free_bytes: total less what other programs hold now.
    bandwidth: bytes/s of reading memory. rate: flop/s of fp16 (CPU: bf16) matrix products.
    bandwidth_source: a table, a measurement on this device, or a person. decode_bytes_s and
    prefill_tok_s: what the model that is planned reached here alone; 0.0 = not measured.
    """

    name: str
    label: str
    kind: DeviceKind
    total_bytes: int
    free_bytes: int
    bandwidth: float
    rate: float
    bandwidth_source: BandwidthSource = "data_sheet"
    decode_bytes_s: float = 0.0
    prefill_tok_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Card:
    """Data-sheet values: GB/s and dense fp16 Tflop/s with fp32 accumulation."""

    name: str
    bandwidth_gb_s: float
    rate_tflop_s: float


# Kept to cards people run language models on; matched by name (longest first) or by memory size.
CARDS = (
    Card("RTX 2080 Ti", 616, 54),
    Card("RTX 3060", 360, 25),
    Card("RTX 4060 Ti", 288, 44),
    Card("RTX 4080", 717, 97),
    Card("Tesla T4", 320, 33),
    Card("RTX 3080", 760, 59),
    Card("RTX 4090", 1008, 165),
    Card("RTX 3090", 936, 71),
    Card("RTX 3090 Ti", 1008, 80),
    Card("RTX 5080", 960, 113),
    Card("RTX 5090", 1792, 210),
    Card("A100 40GB", 1555, 312),
    Card("L40S", 864, 181),
    Card("L20", 864, 119),
    Card("RTX A6000", 768, 77),
    Card("RTX 6000 Ada", 960, 181),
    Card("A100", 2039, 312),
    Card("A800", 2039, 312),
    Card("RTX PRO 6000", 1792, 250),
    Card("H100 PCIe", 2039, 600),
    Card("H100", 3350, 800),
    Card("H800", 3350, 800),
    Card("H20", 4000, 148),
    Card("H200", 4800, 800),
)
_BY_MEMORY = {11: "RTX 2080 Ti", 12: "RTX 3060", 16: "RTX 4080", 24: "RTX 3090", 40: "A100 40GB"}
_BY_MEMORY |= {10: "RTX 3080", 32: "RTX 5090", 48: "L40S", 80: "H100", 96: "RTX PRO 6000"}
_BY_MEMORY |= {141: "H200"}
_UNKNOWN_GPU = Card("an unknown card", 400, 30)
CPU_BANDWIDTH = 60e9
CPU_RATE = 0.4e12


def card_for(label: str, total_bytes: int) -> Card:
    """The table's card for a driver's product name, else for the memory size, else a slow guess.

    A laptop's GPU is named after a desktop's card and reads about half as fast: a guess, too.
    """
    if "laptop" in label.casefold():
        return _UNKNOWN_GPU
    for card in sorted(CARDS, key=lambda c: -len(c.name)):
        if all(re.search(rf"\b{word}(?!\d)", label, re.IGNORECASE) for word in card.name.split()):
            return card
    size = round(total_bytes / GIB)
    named = _BY_MEMORY.get(size)
    return next((c for c in CARDS if c.name == named), _UNKNOWN_GPU)


def cuda_device(index: int, label: str, total_bytes: int, free_bytes: int) -> PlanDevice:
    """A GPU with the table's figures for its name."""
    card = card_for(label, total_bytes)
    return PlanDevice(
        name=f"cuda:{index}",
        label=label,
        kind="cuda",
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        bandwidth=card.bandwidth_gb_s * 1e9,
        rate=card.rate_tflop_s * 1e12,
    )


def cpu_device(
    total_bytes: int, free_bytes: int, *, label: str = "CPU", bandwidth: float | None = None
) -> PlanDevice:
    """The processor with its memory; `bandwidth` where a person gave it."""
    return PlanDevice(
        name="cpu",
        label=label,
        kind="cpu",
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        bandwidth=bandwidth or CPU_BANDWIDTH,
        rate=CPU_RATE,
        bandwidth_source="data_sheet" if bandwidth is None else "given",
    )


_ITEM = re.compile(
    r"(?:(?P<count>\d{1,2})\s*[x×*]\s*)?"
    r"(?:(?P<cpu>cpu)\s*[:=]?\s*)?"
    r"(?P<size>\d{1,4}(?:\.\d{1,2})?)\s*(?P<unit>GiB|GB|G|MiB)"
    r"(?:\s*@\s*(?P<bandwidth>\d{1,5})(?:\s*GB/s)?)?",
    re.IGNORECASE,
)
_UNIT_BYTES = {"gib": GIB, "g": GIB, "gb": 10**9, "mib": 1024**2}
MAX_DEVICES = 64


def parse_devices(text: str) -> tuple[PlanDevice, ...]:
    """Invented devices: "4x24GiB", "24GiB,11GiB", "1x80GiB,cpu:64GiB", "2x24GiB@1008" (GB/s).

    Raises BadRequestError naming the part that cannot be read.
    """
    devices: list[PlanDevice] = []
    for item in text.split(","):
        match = _ITEM.fullmatch(item.strip())
        if match is None:
            raise BadRequestError(
                f'"{item.strip()}" is no device; write for example 4x24GiB, 24GiB,11GiB, '
                "2x24GiB@1008 (GB/s) or 24GiB,cpu:64GiB"
            )
        total = int(float(match["size"]) * _UNIT_BYTES[match["unit"].lower()])
        count = int(match["count"] or 1)
        if total == 0 or count == 0 or len(devices) + count > MAX_DEVICES:
            raise BadRequestError(
                f'"{item.strip()}": 1 to {MAX_DEVICES} devices with memory are needed'
            )
        bandwidth = float(match["bandwidth"]) * 1e9 if match["bandwidth"] else None
        if bandwidth == 0:
            raise BadRequestError(f'"{item.strip()}": 1 GB/s or more is needed')
        if match["cpu"]:
            if count > 1 or any(device.kind == "cpu" for device in devices):
                raise BadRequestError(f'"{item.strip()}": one cpu is enough')
            devices.append(cpu_device(total, total, bandwidth=bandwidth))
            continue
        for _ in range(count):
            index = sum(device.kind == "cuda" for device in devices)
            devices.append(_invented(index, total, bandwidth))
    return tuple(devices)


def _invented(index: int, total: int, bandwidth: float | None) -> PlanDevice:
    card = card_for("", total)
    size = f"{total / GIB:g} GiB"
    label = size if card is _UNKNOWN_GPU else f"{size}, as {card.name}"
    return PlanDevice(
        name=f"cuda:{index}",
        label=label,
        kind="cuda",
        total_bytes=total,
        free_bytes=total,
        bandwidth=bandwidth or card.bandwidth_gb_s * 1e9,
        rate=card.rate_tflop_s * 1e12,
        bandwidth_source="data_sheet" if bandwidth is None else "given",
    )
