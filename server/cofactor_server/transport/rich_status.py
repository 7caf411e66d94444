"""End calls with a gRPC status that carries google.rpc error details.

grpcio-status would not help: the request id would have to be added to the trailing metadata that its to_status()
builds. That saves no line, and a failed call takes 25 instead of 20 microseconds.
"""

from __future__ import annotations

import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]

from cofactor_server.errors import DOMAIN, InvalidField, RequestError
from cofactor_server.observability.request_ids import REQUEST_ID_KEY

DETAILS_KEY = "grpc-status-details-bin"


def rich_status(error: RequestError, request_id: str) -> status_pb2.Status:
    """Return the error as google.rpc.Status."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata),
        error_details_pb2.RequestInfo(request_id=request_id),
    ]
    if error.field:
        problem = error.problem if isinstance(error, InvalidField) else str(error)
        bad_request = error_details_pb2.BadRequest()
        bad_request.field_violations.add(field=error.field, description=problem, reason=error.reason)
        details.append(bad_request)
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(error.retry_after_s * 1000))
        details.append(retry)
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=str(error))
    for detail in details:
        status.details.add().Pack(detail)
    return status


def abort(context: grpc.ServicerContext, error: RequestError, request_id: str) -> None:
    """End the call with the error; never returns."""
    status = rich_status(error, request_id)
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()), (REQUEST_ID_KEY, request_id)))
    context.abort(grpc.StatusCode[error.code], status.message)
