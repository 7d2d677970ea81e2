"""The headless commands of `bilin-engine`."""
