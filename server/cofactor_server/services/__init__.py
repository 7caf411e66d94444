"""Answer the RPCs: unpack a request, ask the ranker of the version it means, pack the response."""
