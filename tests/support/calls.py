"""Call a method by its name, and decode the details of an error."""

from __future__ import annotations

from google.rpc import error_details_pb2, status_pb2


def call(api, method, request, **options):
    """Call a method of either service and return its response."""
    stub = api.catalog if hasattr(api.catalog, method) else api.recommender
    return getattr(stub, method)(request, timeout=20, **options)


def details_of(error):
    """Return the google.rpc details of an error by the name of their type, and its trailing metadata."""
    metadata = {item.key: item.value for item in error.trailing_metadata()}
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    details = {"metadata": metadata}
    for packed in status.details:
        type_name = packed.TypeName().rpartition(".")[2]
        message = getattr(error_details_pb2, type_name)()
        assert packed.Unpack(message)
        details[type_name] = message
    return details
