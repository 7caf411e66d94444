"""Implement the RPCs: unpack a request, rank on the version that it asks for, pack the response."""
