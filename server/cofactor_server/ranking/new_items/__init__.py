"""The rows of items that a version was not trained on."""
