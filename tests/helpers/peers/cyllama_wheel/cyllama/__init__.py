"""cyllama as far as the comparison uses it; see peer_file.py for what it computes."""

__version__ = "8.8"
