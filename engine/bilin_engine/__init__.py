"""The engine of Bilin 比邻: a supervisor without torch, worker processes with it. Never Qt."""

__version__ = "0.1.0"
