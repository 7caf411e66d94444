"""Rank, filter, diversify and explain: arrays in, arrays out, without gRPC and without ONNX Runtime."""
