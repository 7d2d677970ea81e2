"""Numbers as people read them. No sentence: nothing here needs a translation."""

GIB = 2**30
MIB = 2**20


def disk_size(size_bytes: int) -> str:
    """As file managers count: "26 MB", "67.2 GB"."""
    if size_bytes >= 10**9:
        return f"{size_bytes / 10**9:.1f} GB"
    if size_bytes >= 10**6:
        return f"{size_bytes / 10**6:.0f} MB"
    return f"{max(1, round(size_bytes / 1000)) if size_bytes else 0} kB"


def memory(used_bytes: int, total_bytes: int) -> str:
    """As "20.1 / 24.0 GiB"."""
    return f"{used_bytes / GIB:.1f} / {total_bytes / GIB:.1f} GiB"


def parameters(count: int) -> str:
    """As "128.7B", "9.4B", "7.0M", "70K"."""
    if count >= 10**9:
        return f"{count / 10**9:.1f}B"
    if count >= 10**6:
        return f"{count / 10**6:.1f}M"
    if count >= 10**3:
        return f"{count / 10**3:.0f}K"
    return str(count) if count else "—"


def rate(bytes_per_s: float) -> str:
    """As "310 MB/s"."""
    return f"{bytes_per_s / 10**6:,.0f} MB/s"


def tokens_per_s(value: float) -> str:
    """Two or three digits, never "0"."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def seconds(value: float) -> str:
    """As "12", "0.6", "0.02": never "0.0"."""
    if value >= 10:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.1 else f"{max(0.01, value):.2f}"


def device_model(label: str) -> str:
    """A product name without its maker."""
    for maker in ("NVIDIA GeForce ", "NVIDIA "):
        label = label.removeprefix(maker)
    return label
