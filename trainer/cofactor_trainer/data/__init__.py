"""Read ratings and side information, number their ids, split them."""
