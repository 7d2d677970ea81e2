"""The engine of Bilin 比邻: a supervisor without torch, and worker processes with torch. Never Qt."""

__version__ = "0.1.0"
