"""Exceptions that a call may raise.

    CofactorError
    └── RpcError                        any status other than OK; see `status`
        ├── InvalidArgumentError        the request is wrong; `field_violations` name the fields
        ├── NotFoundError
        │   ├── UserNotFoundError       USER_NOT_FOUND
        │   ├── ItemNotFoundError       ITEM_NOT_FOUND
        │   ├── ModelNotFoundError      MODEL_NOT_FOUND
        │   └── RuleSetNotFoundError    RULE_SET_NOT_FOUND
        ├── FailedPreconditionError     a valid request that does not fit the model served now
        │   ├── EmbeddingSpaceMismatchError     EMBEDDING_SPACE_MISMATCH: embed the user again
        │   └── NoKnownItemsError       NO_KNOWN_ITEMS: the model knows none of the rated items
        ├── UnimplementedError
        │   ├── NewItemsUnsupportedError        NEW_ITEMS_UNSUPPORTED
        │   ├── NewUsersUnsupportedError        NEW_USERS_UNSUPPORTED
        │   └── ItemMapUnsupportedError         ITEM_MAP_UNSUPPORTED
        ├── ResourceExhaustedError      the server is over its limit; wait for `retry_delay`
        ├── DeadlineExceededError       no response within the timeout
        ├── UnavailableError            no server is reachable or ready, after three attempts
        ├── UnauthenticatedError        the token is missing or wrong
        ├── PermissionDeniedError       the token does not allow this
        ├── CancelledError              the call was cancelled
        └── InternalError               an error in the server; find `request_id` in its log

The reason (google.rpc.ErrorInfo.reason) selects the class if it is known, otherwise the status code does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # no stubs are published

_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class FieldViolation:
    """One wrong field of a request.

    Attributes:
        field: path of the field, such as "ratings[2].rating".
        description: the error and the accepted values.
    """

    field: str
    description: str


@dataclass(frozen=True)
class ErrorDetails:
    """Details of a failure that the server sends besides status and message.

    Attributes:
        reason: google.rpc.ErrorInfo.reason, such as "USER_NOT_FOUND"; empty if the server sent none.
        metadata: google.rpc.ErrorInfo.metadata.
        field_violations: google.rpc.BadRequest.field_violations.
        request_id: id of the call in the server's log; empty if the server sent none.
        retry_delay: seconds to wait before another attempt, or None.
    """

    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: tuple[FieldViolation, ...] = ()
    request_id: str = ""
    retry_delay: float | None = None


class CofactorError(Exception):
    """Base class of all exceptions that this package raises about a call."""


class RpcError(CofactorError):
    """A call that failed.

    Attributes:
        message: one sentence that explains the failure.
        status: the gRPC status code.
        details: details that the server sent; `reason`, `field_violations`, `request_id` and `retry_delay` are
            shortcuts to its fields.
    """

    def __init__(self, message: str, status: grpc.StatusCode, details: ErrorDetails | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.details = details or ErrorDetails()

    def __reduce__(self) -> tuple[type[RpcError], tuple[str, grpc.StatusCode, ErrorDetails]]:
        # By default pickle rebuilds an exception from its message alone, which fails in a process pool.
        return type(self), (self.message, self.status, self.details)

    @property
    def reason(self) -> str:
        """The reason, such as "USER_NOT_FOUND"; may be empty."""
        return self.details.reason

    @property
    def field_violations(self) -> tuple[FieldViolation, ...]:
        """The wrong fields of the request; empty for other failures."""
        return self.details.field_violations

    @property
    def request_id(self) -> str:
        """The id of the call in the server's log; may be empty."""
        return self.details.request_id

    @property
    def retry_delay(self) -> float | None:
        """Seconds that the server asks to wait before another attempt, or None."""
        return self.details.retry_delay


class InvalidArgumentError(RpcError):
    """The request is wrong for any model."""


class NotFoundError(RpcError):
    """The user, item or model that the request names does not exist."""


class UserNotFoundError(NotFoundError):
    """The model does not know the user."""


class ItemNotFoundError(NotFoundError):
    """The model does not know the item."""


class ModelNotFoundError(NotFoundError):
    """The server has no such model, version or label."""


class RuleSetNotFoundError(NotFoundError):
    """The model has no rule set of that name."""


class FailedPreconditionError(RpcError):
    """The request is valid but does not fit the model that is served now."""


class EmbeddingSpaceMismatchError(FailedPreconditionError):
    """The embedding belongs to other factor tables than the model's. Embed the user again."""


class NoKnownItemsError(FailedPreconditionError):
    """The model knows none of the rated items."""


class UnimplementedError(RpcError):
    """The server or the model does not support the call."""


class NewUsersUnsupportedError(UnimplementedError):
    """The model was exported without the graph that folds in new users."""


class NewItemsUnsupportedError(UnimplementedError):
    """The model was exported without the graph that embeds new items."""


class ItemMapUnsupportedError(UnimplementedError):
    """The model was exported without a map of its items."""


class ResourceExhaustedError(RpcError):
    """The server is over its limit, or a message was too large."""


class DeadlineExceededError(RpcError):
    """No response arrived within the timeout."""


class UnavailableError(RpcError):
    """No server was reachable, or none was ready."""


class UnauthenticatedError(RpcError):
    """The token is missing or wrong."""


class PermissionDeniedError(RpcError):
    """The token does not allow this."""


class CancelledError(RpcError):
    """The call was cancelled."""


class InternalError(RpcError):
    """The server failed. Find `request_id` in its log for the cause."""


_BY_REASON: dict[str, type[RpcError]] = {
    "USER_NOT_FOUND": UserNotFoundError,
    "ITEM_NOT_FOUND": ItemNotFoundError,
    "MODEL_NOT_FOUND": ModelNotFoundError,
    "RULE_SET_NOT_FOUND": RuleSetNotFoundError,
    "EMBEDDING_SPACE_MISMATCH": EmbeddingSpaceMismatchError,
    "NO_KNOWN_ITEMS": NoKnownItemsError,
    "NEW_ITEMS_UNSUPPORTED": NewItemsUnsupportedError,
    "NEW_USERS_UNSUPPORTED": NewUsersUnsupportedError,
    "ITEM_MAP_UNSUPPORTED": ItemMapUnsupportedError,
}
_BY_STATUS: dict[grpc.StatusCode, type[RpcError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.CANCELLED: CancelledError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.UNKNOWN: InternalError,
    grpc.StatusCode.DATA_LOSS: InternalError,
}
_STATUS_OF_REASON: dict[str, grpc.StatusCode] = {
    "INVALID_FIELD": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_FILTER_EXPRESSION": grpc.StatusCode.INVALID_ARGUMENT,
    "MALFORMED_REQUEST": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_PAGE_TOKEN": grpc.StatusCode.INVALID_ARGUMENT,
    "USER_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "ITEM_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "MODEL_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "RULE_SET_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "RULE_SET_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "EMBEDDING_SPACE_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "NO_KNOWN_ITEMS": grpc.StatusCode.FAILED_PRECONDITION,
    "PAGE_TOKEN_EXPIRED": grpc.StatusCode.FAILED_PRECONDITION,
    "RATINGS_UNSUPPORTED": grpc.StatusCode.FAILED_PRECONDITION,
    "PROBABILITIES_UNSUPPORTED": grpc.StatusCode.FAILED_PRECONDITION,
    "NEW_ITEMS_UNSUPPORTED": grpc.StatusCode.UNIMPLEMENTED,
    "NEW_USERS_UNSUPPORTED": grpc.StatusCode.UNIMPLEMENTED,
    "ITEM_MAP_UNSUPPORTED": grpc.StatusCode.UNIMPLEMENTED,
    "QUEUE_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED,
    "NOT_SERVING": grpc.StatusCode.UNAVAILABLE,
    "DEVICE_FAILED": grpc.StatusCode.UNAVAILABLE,
    "RATE_LIMITED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "ERASURE_UNAVAILABLE": grpc.StatusCode.FAILED_PRECONDITION,
    "REPOSITORY_READ_ONLY": grpc.StatusCode.FAILED_PRECONDITION,
    "FEEDBACK_LOG_OFF": grpc.StatusCode.FAILED_PRECONDITION,
    "FEEDBACK_QUEUE_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "FEEDBACK_LOG_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "INTERNAL": grpc.StatusCode.INTERNAL,
}
"""The status of each reason in docs/errors.md. A failed entry of a batch has a reason but no status."""


def rpc_error(status: grpc.StatusCode, message: str, metadata: Iterable[tuple[str, Any]] | None) -> RpcError:
    """Build the exception of a failed call from its status, message and trailing metadata."""
    details = _error_details(metadata or ())
    error_class = _BY_REASON.get(details.reason) or _BY_STATUS.get(status, RpcError)
    return error_class(message or f"the call failed with {status.name}", status, details)


def entry_exception(reason: str, message: str) -> RpcError:
    """Build the exception of one failed entry of a batch, the same that a single call would have raised.

    A reason that this client does not know, from a newer server, becomes a plain RpcError with status UNKNOWN.
    """
    details = ErrorDetails(reason=reason)
    status = _STATUS_OF_REASON.get(reason)
    if status is None:
        return RpcError(message, grpc.StatusCode.UNKNOWN, details)
    error_class = _BY_REASON.get(reason) or _BY_STATUS[status]
    return error_class(message, status, details)


def _error_details(metadata: Iterable[tuple[str, Any]]) -> ErrorDetails:
    status = status_pb2.Status()
    for key, value in metadata:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:  # garbled by a proxy; status and message are still right
                return ErrorDetails()
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    request, retry = error_details_pb2.RequestInfo(), error_details_pb2.RetryInfo()
    has_retry_delay = False
    for detail in status.details:
        detail.Unpack(info) or detail.Unpack(bad_request) or detail.Unpack(request)
        has_retry_delay = detail.Unpack(retry) or has_retry_delay
    return ErrorDetails(
        reason=info.reason,
        metadata=dict(info.metadata),
        field_violations=tuple(FieldViolation(v.field, v.description) for v in bad_request.field_violations),
        request_id=request.request_id or info.metadata.get("request_id", ""),
        retry_delay=retry.retry_delay.ToTimedelta().total_seconds() if has_retry_delay else None,
    )
