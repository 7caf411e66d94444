"""Train recipes: gradient descent, blends, checkpoints and searches for settings."""
