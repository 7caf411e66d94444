"""Hold a trained model as plain arrays, and score with numpy."""
