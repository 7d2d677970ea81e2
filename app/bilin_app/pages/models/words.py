"""Numbers as people read them, in the window's language. No sentence: nothing to translate."""

from PySide6.QtCore import QLocale

GIB = 2**30
MIB = 2**20


def whole(value: float) -> str:
    """As "2,048"."""
    return QLocale().toString(round(value))


def real(value: float, places: int) -> str:
    """As "1,312.5"."""
    return QLocale().toString(value, "f", places)


def disk_size(size_bytes: int) -> str:
    """As file managers count: "26 MB", "67.2 GB"."""
    if size_bytes >= 10**9:
        return f"{real(size_bytes / 10**9, 1)} GB"
    if size_bytes >= 10**6:
        return f"{whole(size_bytes / 10**6)} MB"
    return f"{whole(max(1, size_bytes / 1000)) if size_bytes else 0} kB"


def memory(used_bytes: int, total_bytes: int) -> str:
    """As "20.1 / 24.0 GiB"."""
    return f"{real(used_bytes / GIB, 1)} / {real(total_bytes / GIB, 1)} GiB"


def parameters(count: int) -> str:
    """As "128.7B", "9.4B", "7.0M", "70K"."""
    if count >= 10**9:
        return f"{real(count / 10**9, 1)}B"
    if count >= 10**6:
        return f"{real(count / 10**6, 1)}M"
    if count >= 10**3:
        return f"{whole(count / 10**3)}K"
    return str(count) if count else "—"


def rate(bytes_per_s: float) -> str:
    """As "310 MB/s", "1.4 MB/s", "320 kB/s"."""
    if bytes_per_s >= 10**7:
        return f"{whole(bytes_per_s / 10**6)} MB/s"
    if bytes_per_s >= 10**6:
        return f"{real(bytes_per_s / 10**6, 1)} MB/s"
    return f"{whole(max(1, bytes_per_s / 1000))} kB/s"


def tokens_per_s(value: float) -> str:
    """Two or three digits, never "0"."""
    if value >= 100:
        return whole(value)
    return real(value, 1) if value >= 1 else QLocale().toString(value, "g", 2)


def seconds(value: float) -> str:
    """As "12", "0.6", "0.02": never "0.0"."""
    if value >= 10:
        return whole(value)
    return real(value, 1) if value >= 0.1 else real(max(0.01, value), 2)


def device_model(label: str) -> str:
    """A product name without its maker."""
    for maker in ("NVIDIA GeForce ", "NVIDIA "):
        label = label.removeprefix(maker)
    return label
