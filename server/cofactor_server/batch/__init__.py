"""Write recommendations and embeddings of a version to Parquet files, without a running server."""
