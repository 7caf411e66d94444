"""Train recipes: epochs, blends, checkpoints, searches."""
