"""Cofactor's server."""

import os

# Turn ONNX Runtime's telemetry off. It reads this variable when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
