"""Model folders on disk: INT4 codes, safetensors, import of other layouts."""
