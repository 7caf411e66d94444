"""Read the columns of a table of items as typed attributes."""
