"""Take calls from gRPC to a handler and back: threads, limits, coalescing, errors, health."""
