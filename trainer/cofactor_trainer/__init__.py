"""Cofactor's trainer."""
