"""Answer the Open Inference Protocol (KServe v2) beside the own API."""
