"""The GUI process of Bilin 比邻: never torch; it sees the engine through its protocol."""

__version__ = "0.1.0"
