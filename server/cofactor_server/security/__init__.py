"""Decide who may call: TLS, tokens, rate limits."""
