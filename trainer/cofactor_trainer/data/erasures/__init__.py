"""Leave the ratings and events of erased users out of the training (docs/erasure.md)."""
