"""Define the graphs of a version as torch modules, and export them to ONNX."""
