"""What the tests of new items share."""
