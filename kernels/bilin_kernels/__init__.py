"""INT4 kernels of Bilin 比邻: CUDA C++ and their reference. Knows nothing of app and engine."""

__version__ = "0.1.0"

# Raised with any change of packing.py's kernel order. It lies here because a wheel is built, and
# with it the kernels are compiled, where torch is not installed.
LAYOUT_VERSION = 1
