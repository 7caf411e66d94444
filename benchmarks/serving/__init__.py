"""Load-test the server beside bare echoes and its peers: `python -m benchmarks.serving.run`."""
