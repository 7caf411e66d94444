"""Parse and check requests. Ids become rows here; the code behind this package gets only checked rows and numbers."""
