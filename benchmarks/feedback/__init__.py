"""What the feedback log costs."""
