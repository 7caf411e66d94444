"""Define the graphs of a version as torch modules and write them as ONNX."""
