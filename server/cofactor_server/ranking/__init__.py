"""Rank, filter, diversify and explain with plain arrays, without gRPC and ONNX Runtime."""
