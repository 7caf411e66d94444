"""Tools of the repository that are not in the wheel."""
