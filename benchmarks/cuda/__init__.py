"""The parts of benchmarks/cuda_machine.py."""
