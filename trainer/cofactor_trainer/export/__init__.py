"""Write, read, sign and publish version directories."""
