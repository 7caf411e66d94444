"""Demo: train on MovieLens, export, serve, and call every RPC. `make demo` runs it."""
