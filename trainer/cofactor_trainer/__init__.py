"""Train recommenders and export them for the server."""

import os

# Turn off ONNX Runtime's telemetry, for the privacy of users. It reads the variable when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
