"""The sub-commands of `cofactor-train`, one module each."""
