"""Record events and served lists in an SQLite file, for the next training (docs/feedback.md)."""
