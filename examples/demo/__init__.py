"""Train on MovieLens, export, serve, and call every RPC: `make demo`."""
