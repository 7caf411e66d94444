"""Compare rankings that are learnt from events."""
