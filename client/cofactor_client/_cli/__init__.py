"""The `cofactor` command line."""
