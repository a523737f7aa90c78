"""Live dashboard for computer-use agent benchmarks."""

__version__ = "0.1.0"
