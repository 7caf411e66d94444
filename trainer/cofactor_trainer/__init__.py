"""Cofactor's trainer."""

import os

# ONNX Runtime reads it when it is imported. What a service computes is nobody else's business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
