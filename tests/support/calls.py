"""Calls by the name of their method, and what an error of one carries."""

from __future__ import annotations

from google.rpc import error_details_pb2, status_pb2


def call(api, method, request, **options):
    """The answer of either service."""
    stub = api.catalog if hasattr(api.catalog, method) else api.recommender
    return getattr(stub, method)(request, timeout=20, **options)


def details_of(error):
    """The google.rpc details of an error, by the name of their type."""
    metadata = {item.key: item.value for item in error.trailing_metadata()}
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    found = {"metadata": metadata}
    for detail in status.details:
        kind = detail.TypeName().rpartition(".")[2]
        message = getattr(error_details_pb2, kind)()
        assert detail.Unpack(message)
        found[kind] = message
    return found
