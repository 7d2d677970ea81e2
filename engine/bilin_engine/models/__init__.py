"""Architectures, one a file, each readable as its specification."""
