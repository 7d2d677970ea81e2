"""Parts that architectures share: norm, rotary, attention, linear."""
