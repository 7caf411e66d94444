"""Read ratings and side information, replace ids by rows, and split ratings."""
