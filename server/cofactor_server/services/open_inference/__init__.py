"""Implement the Open Inference Protocol (KServe v2) on top of Predict and Recommend."""
