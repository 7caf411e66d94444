"""Rank the items of a version together with those that an overlay adds, and without those that it removes."""
