"""Parse and check requests: ids become rows here, and nothing behind this package sees an unchecked id or number."""
