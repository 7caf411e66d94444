"""Cofactor's server."""
