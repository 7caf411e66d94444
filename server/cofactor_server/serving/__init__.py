"""Load model versions, and encode and cache their responses."""
