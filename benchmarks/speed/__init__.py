"""What `python -m benchmarks` measures: speed and memory of this package beside PyTorch."""
