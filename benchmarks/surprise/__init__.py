"""Train and judge Surprise's models on the same splits, in an environment of its own (requirements.txt)."""
