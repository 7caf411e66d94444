"""Generator of the gateway's OpenAPI document."""
