"""Index of candidates: build it, and measure its recall."""
