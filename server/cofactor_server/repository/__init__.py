"""Read model repositories: find, verify, copy and follow version directories."""
