"""What Surprise reaches on the same splits, in an environment of its own (requirements.txt)."""
