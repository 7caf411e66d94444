"""Errors as HTTP responses: problem details (RFC 9457) with the reason that gRPC callers get."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import grpc
import orjson

from cofactor_client.errors import RpcError
from cofactor_web.json_decoding import FieldError

CONTENT_TYPE = "application/problem+json"
CLIENT_CLOSED_REQUEST = 499  # not in the standard, but google.rpc.Code names it for CANCELLED
# google/rpc/code.proto says which HTTP status belongs to which code.
HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: CLIENT_CLOSED_REQUEST,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}


class Problem(Exception):  # noqa: N818 (RFC 9457 calls it a problem)
    """A request that is refused.

    Attributes:
        status: HTTP status.
        reason: reason for programs, such as "USER_NOT_FOUND"; may be empty.
        detail: one sentence for people.
        violations: (field, description) of the wrong fields.
        retry_after_s: seconds to wait before another attempt; None if that is not known.
        headers: further headers of the response.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        violations: tuple[tuple[str, str], ...] = (),
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.violations = violations
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["retry-after"] = str(max(1, math.ceil(retry_after_s)))

    def body(self, request_id: str) -> bytes:
        """Return the problem as JSON."""
        members: dict[str, Any] = {
            "type": f"urn:cofactor:error:{self.reason}" if self.reason else "about:blank",
            "title": _title(self.status),
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
            "violations": [{"field": field, "description": text} for field, text in self.violations],
            "requestId": request_id,
        }
        if self.retry_after_s is not None:
            members["retryAfterSeconds"] = self.retry_after_s
        return orjson.dumps(members)


def rpc_problem(error: RpcError) -> Problem:
    """Return the problem of a failed call."""
    reason = error.reason
    if not reason and error.status is grpc.StatusCode.UNAVAILABLE:
        return Problem(503, "SERVER_UNREACHABLE", "the gateway has no connection to the server; retry later")
    return Problem(
        HTTP_STATUS.get(error.status, 500),
        reason,
        error.message,
        violations=tuple((violation.field, violation.description) for violation in error.field_violations),
        retry_after_s=error.retry_delay,
        headers={"www-authenticate": "Bearer"} if error.status is grpc.StatusCode.UNAUTHENTICATED else None,
    )


def malformed(error: FieldError) -> Problem:
    """Return the problem of a body that is not what the message type of the request says."""
    return Problem(400, "MALFORMED_REQUEST", str(error), violations=((error.field, error.problem),))


def route_not_found(path: str) -> Problem:
    """Return the problem of an unknown path."""
    return Problem(404, "ROUTE_NOT_FOUND", f"there is nothing at {path[:128]!r}; /docs lists the routes")


def method_not_allowed(allowed: str) -> Problem:
    """Return the problem of a method that a route does not have. `allowed` is the header Allow."""
    return Problem(405, "METHOD_NOT_ALLOWED", f"this route takes {allowed}", headers={"allow": allowed})


def _title(status: int) -> str:
    return "Client Closed Request" if status == CLIENT_CLOSED_REQUEST else HTTPStatus(status).phrase
