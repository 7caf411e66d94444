"""Decide who may call, and how often: TLS, tokens and rate limits."""
