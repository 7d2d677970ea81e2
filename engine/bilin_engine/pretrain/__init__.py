"""Pre-training of a GLM: objective, data, training loop, export to an INT4 model folder."""
