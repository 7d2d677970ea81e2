"""The models on this machine: a list, one of them in detail, where it would lie, the work queue."""
