"""Hold the loaded model versions, and encode and cache their responses."""
