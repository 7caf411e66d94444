"""Cost of filter expressions."""
