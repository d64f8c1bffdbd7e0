"""Tables and pictures, written from the result files by ``python -m benchmarks.evidence``."""
