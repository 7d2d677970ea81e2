"""INT4 kernels of Bilin 比邻: CUDA C++ and their reference. Knows nothing of app and engine."""

__version__ = "0.1.0"
