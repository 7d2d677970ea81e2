"""Where a model's forward pass runs: the seam between generation and placement."""
