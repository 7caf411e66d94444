"""Write, verify, read, sign and publish version directories."""
