"""Networks and hosts that fail."""
