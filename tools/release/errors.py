"""The error that ends a release."""

from __future__ import annotations


class ReleaseError(Exception):
    """A release that cannot be made; the message says what to do."""
