"""Run the ONNX graphs of a version with ONNX Runtime."""
