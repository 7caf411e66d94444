"""Compare warm starts with full training."""
