"""Implementation of the `cofactor` command. cofactor_client.__main__ starts it."""
