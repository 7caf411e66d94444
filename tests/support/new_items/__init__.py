"""Share models and references between the tests of new items."""
