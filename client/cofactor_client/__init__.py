"""Cofactor's client."""
